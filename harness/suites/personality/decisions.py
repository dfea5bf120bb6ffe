"""Label from answered items: the keyed mean of ratings, or a majority of votes.

    keyed_i = r_i for a positive item, 6 - r_i for a reverse-keyed one
    m = mean over answered items; label 1 if m > 3, 0 if m < 3, none if m = 3
    no label if fewer than half of the items are answered

The answer to a choice item is a vote for its option's label; "not sure" is no vote. The released
code of PsyCoT has no such rule: it asks the model for a conclusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.data.traits import Trait
from harness.suites.personality.questionnaires import LETTERS, POINTS, Item, Questionnaire

Values = Sequence[int | str | None]


@dataclass(frozen=True)
class Decision:
    """Result of the rule.

    Attributes:
        label: 0, 1, or None if there is none.
        status: "few" if fewer than half of the items are answered.
        keyed_mean: mean of the keyed ratings.
        votes: number of votes for label 0 and for label 1.
    """

    label: int | None
    status: Literal["ok", "tie", "few"]
    keyed_mean: float | None = None
    votes: tuple[int, int] | None = None


def keys(
    form: Questionnaire, trait: Trait, items: Sequence[Item], released: bool = False
) -> list[int]:
    """Keys of the items, 1 or -1 (reverse-keyed); `released` uses those of the released notes."""
    every = form.of(trait.name)
    reverse = {every[slot].number for slot in form.reverse_slots(trait.name, released)}
    return [-1 if item.number in reverse else 1 for item in items]


def keyed(ratings: Values, signs: Sequence[int]) -> list[int | None]:
    """Ratings with reverse-keyed items inverted; None if an item has no rating."""
    return [
        None if not isinstance(r, int) else r if sign > 0 else POINTS + 1 - r
        for r, sign in zip(ratings, signs, strict=True)
    ]


def decide(items: Sequence[Item], values: Values, signs: Sequence[int]) -> Decision:
    """Apply the rule in the module's docstring.

    Args:
        values: a rating, a letter or None (unanswered) for each item.
        signs: 1 or -1 for each item, from `keys`.
    """
    answered = sum(value is not None for value in values)
    if not items or 2 * answered < len(items):
        return Decision(None, "few")
    if items[0].kind == "choice":
        given = [_vote(item, value) for item, value in zip(items, values, strict=True)]
        votes = given.count(0), given.count(1)
        return Decision(*_larger(votes[1] - votes[0]), votes=votes)
    known = [value for value in keyed(values, signs) if value is not None]
    total, middle = sum(known), (POINTS + 1) // 2
    return Decision(*_larger(total - middle * len(known)), keyed_mean=total / len(known))


def _larger(lead: int) -> tuple[int | None, Literal["ok", "tie"]]:
    return (None, "tie") if lead == 0 else (int(lead > 0), "ok")


def _vote(item: Item, value: int | str | None) -> int | None:
    place = LETTERS.find(value) if isinstance(value, str) else -1
    return item.labels[place] if 0 <= place < len(item.labels) else None
