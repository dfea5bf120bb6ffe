"""The verdict on two assistants from the last line of a review, a pure function of untrusted text.

Read are, with any letter case, blanks and marks around the names:

    Assistant 1 > Assistant 2           also >=, =>, >>, ≥, ＞, and < with the sides exchanged
    Assistant 1 = Assistant 2           also ==, ≈
    Assistant 2 is better than Assistant 1, Assistant 2 wins, The winner is Assistant 2
    Order: Assistant 2, Assistant 1     the better one first
    Both are equal, It is a tie, Neither is better

Anything else is no verdict (None), which is not a tie. What a review says before its last line does
not count. `VERSION` is part of the judge's fingerprint: raise it whenever a review can be read
differently. Every pattern is linear in the length of the line.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

from harness.models.thoughts import split_thought

Side = Literal["assistant_1", "assistant_2", "tie"]

VERSION = 1
PARSER = f"ordering-strict/{VERSION}"
_LONGEST = 2000  # characters of a last line that are read, from its end

_SIDES: dict[str, Side] = {"1": "assistant_1", "2": "assistant_2"}
_SIGNS = str.maketrans(
    {"≥": ">=", "≧": ">=", "⩾": ">=", "≫": ">>", "»": ">>", "›": ">", "⟩": ">", "≻": ">",
     "≤": "<=", "≦": "<=", "⩽": "<=", "≪": "<<", "«": "<<", "‹": "<", "⟨": "<", "≺": "<",
     "≈": "=", "≡": "=", "≃": "=", "~": "=", "’": "'"}
)  # fmt: skip
_MARKS = re.compile(r"[*_`\"“”„\[\](){}\\$#]|(?<!\w)'|'(?!\w)")
_NAME = re.compile(r"\b(?:ai )?assistants? ?(?:no\.? ?|number )?(?:([12])\b|(one|two)\b)")
_ORDER = re.compile(r"@([12]) ?([<>=](?: ?[<>=]){0,2}) ?@([12])")
_ALONE = re.compile(rf"\W*{_ORDER.pattern}\W*")

_NOT = re.compile(r"\b(?:not|never|no|neither|nor|cannot|hardly)\b|n't\b")
_SAYS = r"[^@.;:!?<>=]{0,80}?"  # between two names, within one clause
_BETTER = r"\b(?:better|superior|stronger|preferable|preferred|ahead|favou?red)\b"
_WORSE = r"\b(?:worse|inferior|weaker|behind)\b"
_BEATS = r"\b(?:outperforms?|beats?|surpass\w*|exceeds?|outranks?|wins?|defeats?|over|above)\b"
_LOSES = r"\b(?:loses?|below)\b"
_BEST = r"\b(?:wins?|won|winner|best|better|superior|stronger|preferred|preferable)\b"
_LABEL = (
    r"\b(?:winner|verdict|conclusion|better (?:one|answer|response|assistant)|preferred|preference"
    r"|best(?: (?:one|answer|response|assistant))?|choose|prefer|favou?r)\b"
)
_RANKING = r"\b(?:order|ordering|ranking|rank|ranked|sorted|best to worst)\b"
# Pattern -> group of the better assistant. Patterns on two names come first.
_COMPARED = tuple(
    (re.compile(text), better)
    for text, better in (
        (rf"@([12])(?P<said>{_SAYS}(?:{_BETTER}{_SAYS}|{_BEATS}{_SAYS}))@([12])", 1),
        (rf"@([12])(?P<said>{_SAYS}(?:{_WORSE}|{_LOSES}){_SAYS})@([12])", 3),
        (rf"@([12])(?P<said>{_SAYS})\bnot (?:quite )?as (?:good|helpful) as {_SAYS}@([12])", 3),
        (rf"{_RANKING}[^@]{{0,40}}?@([12])(?P<said>[^@]{{0,20}})@([12])", 1),
    )
)
# Pattern on one name -> whether it is the better assistant's.
_NAMED = tuple(
    (re.compile(text), better)
    for text, better in (
        (rf"@(?P<name>[12])(?P<said>{_SAYS}{_BEST})", True),
        (rf"@(?P<name>[12])(?P<said>{_SAYS}(?:{_WORSE}|{_LOSES}))", False),
        (rf"{_LABEL}(?P<said> ?(?:is|goes to|:|=|-|,)? ?(?:the )?)@(?P<name>[12])\W*$", True),
    )
)
_TIES = re.compile(
    r"\b(?:tie|tied|draw|drawn|equal|equally|equals|equivalent|comparable|on par"
    r"|same (?:quality|level)|(?:are|were) the same|(?:just )?as good as"
    r"|no (?:clear )?(?:winner|difference|preference)"
    r"|neither [^.;]{0,40}?(?:better|superior|stronger|preferable|ahead|wins?|outperforms?))\b"
)
# Before a statement: it is not made.
_HEDGED = re.compile(
    r"\b(?:whether|if|hard|difficult|impossible|unclear|unable|cannot|can't|could not|couldn't)\b"
    r"[^.;!?]{0,60}$"
)
_NOT_A_TIE = re.compile(r"\b(?:not|never|no|isn't|aren't|hardly)\b[^.;]{0,12}$")
_TURNS = re.compile(
    r"\b(?:but|however|overall|therefore|thus|hence|finally|in conclusion|in summary|in total"
    r"|yet)\b"
)
_OTHERWISE = re.compile(r"\b(?:or|either)\b| / ")


def parse_verdict(review: str, *, cut: bool = False) -> Side | None:
    """The verdict in the last line of a review; None if it contains none.

    Args:
        cut: the review reached its token limit; its last line then counts only if it is nothing
            but an order, because prose may be the middle of an explanation.

    >>> parse_verdict("Detail: Assistant 1 > Assistant 2\\n**Assistant 2 ≥ Assistant 1**")
    'assistant_2'
    """
    line = _last_line(split_thought(review).answer or "")
    if cut and not _ALONE.fullmatch(line):
        return None
    return _concluded(line, list(_ordered(line))) or _concluded(line, _said(line))


def states_order(text: str) -> bool:
    """Whether a text contains an order of two assistants, as only a judge's reply should."""
    return any(True for line in text.splitlines() for _ in _ordered(_plain(line[-_LONGEST:])))


def _last_line(text: str) -> str:
    """The last line with a letter or digit, in plain form."""
    lines = (line for line in reversed(text.splitlines()) if re.search(r"\w", line))
    return _plain(next(lines, "")[-_LONGEST:])


def _plain(line: str) -> str:
    """Lower case without marks; names as @1 and @2, signs as <, > and =."""
    shown = unicodedata.normalize("NFKC", html.unescape(line.translate(_SIGNS))).translate(_SIGNS)
    text = " ".join(_MARKS.sub(" ", shown.lower()).split())
    numbers = {"one": "1", "two": "2"}
    return _NAME.sub(lambda found: "@" + (found[1] or numbers[found[2]]), text)


Found = tuple[int, int, Side]  # start, end and verdict of a statement in a line


def _ordered(line: str) -> Iterator[Found]:
    """Orders by signs."""
    at = 0
    while (found := _ORDER.search(line, at)) is not None:
        at = found.start(3) - 1  # "@1 = @2 > @1": the second name also begins the next one
        one, two = _SIDES[found[1]], _SIDES[found[3]]
        signs = set(found[2]) - {" "}
        if one == two or {"<", ">"} <= signs:
            continue
        side: Side = one if ">" in signs else two if "<" in signs else "tie"
        yield found.start(), found.end(), side


def _said(line: str) -> list[Found]:
    """Verdicts in words."""
    found: list[Found] = []
    for pattern, group in _COMPARED:
        for match in pattern.finditer(line):
            if match[1] != match[3] and not _NOT.search(match["said"]):
                found.append((match.start(), match.end(), _SIDES[match[group]]))
    for pattern, better in () if found else _NAMED:
        for match in pattern.finditer(line):
            if not _NOT.search(match["said"]):
                name = match["name"] if better else "21"[int(match["name"]) - 1]
                found.append((match.start(), match.end(), _SIDES[name]))
    for match in _TIES.finditer(line):
        if not _NOT_A_TIE.search(line[: match.start()]):
            found.append((match.start(), match.end(), "tie"))
    return sorted(one for one in found if not _HEDGED.search(line[: one[0]]))


def _concluded(line: str, found: list[Found]) -> Side | None:
    """The one verdict, or the last of several if the line turns to it."""
    if not found or len({side for _, _, side in found}) == 1:
        return found[0][2] if found else None
    (_, before, _), (start, end, side) = found[-2:]
    between = line[before:start] + line[start:end].split("@")[0]
    if _OTHERWISE.search(between):
        return None
    by_signs = "@" in line[start:end] and _ORDER.fullmatch(line[start:end]) is not None
    return side if by_signs or _TURNS.search(line[before:end]) else None
