"""The verdict as the released code reads it: the first pattern found anywhere in the review.

Patterns for the first assistant come before those for the second, whatever their place in the
review, and a review without any pattern is a tie. Letter case and blanks must be exact.
Source: fanqiwan/Explore-Instruct, eval (win, tie and lose from reviews).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.suites.domain.verdicts import Side

PARSER = "ordering-compat/1"

_ONE, _TWO = r"\[?Assistant 1\]?", r"\[?Assistant 2\]?"
_ABOVE, _BELOW = "(?:>=|=>|>>|> =|>)", "(?:<=|=<|<<|< =|<)"
_FIRST_WINS = re.compile(f"{_ONE} {_ABOVE} {_TWO}|{_TWO} {_BELOW} {_ONE}")
_SECOND_WINS = re.compile(f"{_TWO} {_ABOVE} {_ONE}|{_ONE} {_BELOW} {_TWO}")
_EQUAL = re.compile(f"{_ONE} ==? {_TWO}|{_TWO} ==? {_ONE}")
# Ranks of assistants 1 and 2, as the released files have them.
RANKS: dict[Side, tuple[int, int]] = {
    "assistant_1": (1, 2),
    "assistant_2": (2, 1),
    "tie": (0, 0),
}


def parse_released(review: str) -> Side:
    """The verdict of a review; a tie where there is none.

    >>> parse_released("In detail Assistant 1 > Assistant 2.\\nAssistant 2 > Assistant 1")
    'assistant_1'
    """
    if _FIRST_WINS.search(review):
        return "assistant_1"
    return "assistant_2" if _SECOND_WINS.search(review) else "tie"


def has_pattern(review: str) -> bool:
    """Whether any pattern is found; a review without one counts as a tie."""
    return any(pattern.search(review) for pattern in (_FIRST_WINS, _SECOND_WINS, _EQUAL))


def count_released(ranks: Iterable[tuple[int, int]]) -> tuple[int, int, int]:
    """Numbers of wins, ties and losses of the second assistant, the evaluated model.

    Args:
        ranks: of assistants 1 and 2 in each review.
    """
    found = list(ranks)
    wins = sum(first > second for first, second in found)
    losses = sum(first < second for first, second in found)
    return wins, len(found) - wins - losses, losses
