"""Text of dialogues: surface form, the normaliser of both sides, whole runs of tokens.

Data join a value of several words with underscores ("curry_garden"); its surface form has blanks.
The normaliser is MAKER's for predictions (18907305772/MAKER, evaluation.py, `preprocess_text`):
markers removed, lower case, blanks around every ASCII punctuation character, blanks squeezed.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence

MARKERS = (
    "<sys> ", "<sys-api> ", " </s>", "<user>", "<api>", "<database>", "<sep_attributes>",
)  # fmt: skip
_SPACED = str.maketrans({mark: f" {mark} " for mark in string.punctuation})

Run = tuple[str, ...]


def surface(text: str) -> str:
    """The text with blanks for underscores.

    >>> surface("curry_garden serves indian food")
    'curry garden serves indian food'
    """
    return text.replace("_", " ")


def without_markers(text: str) -> str:
    """The text without the special markers that generators are trained with."""
    for marker in MARKERS:
        text = text.replace(marker, "")
    return text.strip()


def normalised(text: str) -> str:
    """The text as tokens separated by one blank; applying it twice changes nothing.

    >>> normalised("It's at 106 Regent Street.")
    "it ' s at 106 regent street ."
    """
    return " ".join(without_markers(text).lower().translate(_SPACED).split())


def plain_tokens(text: str) -> list[str]:
    """Tokens of retrieval: lower case, blanks for underscores, split at blanks.

    Punctuation stays attached, as in the rules that count values (see `records.values_in`).
    """
    return surface(text).lower().split()


def squeezed(value: object) -> str:
    """A value for comparison: lower case, without blanks and underscores."""
    return "".join(surface(str(value)).lower().split())


def contains_run(tokens: Sequence[str], run: Sequence[str]) -> bool:
    """Whether `run` occurs in `tokens` as neighbours in this order; an empty run does not."""
    return count_runs(tokens, run) > 0


def count_runs(tokens: Sequence[str], run: Sequence[str]) -> int:
    """Number of places of `tokens` at which `run` begins.

    >>> count_runs("a b a b".split(), ["a", "b"])
    2
    """
    size = len(run)
    if not size:
        return 0
    wanted = list(run)
    return sum(
        tokens[place] == run[0] and list(tokens[place : place + size]) == wanted
        for place in range(len(tokens) - size + 1)
    )


def value_runs(values: Iterable[str]) -> dict[Run, str]:
    """Normalised tokens of each value -> the value as one token, in underscore form.

    >>> value_runs(["Curry Garden"])
    {('curry', 'garden'): 'curry_garden'}
    """
    found: dict[Run, str] = {}
    for value in values:
        run = tuple(normalised(surface(value)).split())
        if run:
            found.setdefault(run, "_".join(surface(value).lower().split()))
    return found


def with_joined_values(text: str, runs: Mapping[Run, str]) -> list[str]:
    """Tokens of a reply in which every known value is one token; longest value first.

    A reply in surface form gets the form of the annotated lists of entities.

    Args:
        runs: see `value_runs`.

    >>> with_joined_values("Curry Garden is cheap.", value_runs(["curry_garden"]))
    ['curry_garden', 'is', 'cheap', '.']
    """
    tokens = normalised(surface(text)).split()
    lengths = sorted({len(run) for run in runs}, reverse=True)
    found, place = [], 0
    while place < len(tokens):
        for size in lengths:
            joined = runs.get(tuple(tokens[place : place + size]))
            if joined is not None:
                found.append(joined)
                place += size
                break
        else:
            found.append(tokens[place])
            place += 1
    return found
