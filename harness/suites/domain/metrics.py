"""Outcomes of judged prompts, and the beat rate: win / (win + lose).

With both orders, a prompt is won (lost) if the system (the baseline) wins both games; any other
pair of verdicts is a tie. A prompt with a failed game has no outcome. Source: Explore-Instruct
(Wan et al., EMNLP 2023), section 4, which plays one game.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.judging.records import Game, model_share

Outcome = Literal["win", "tie", "lose"]
_OUTCOMES: dict[float, Outcome] = {1.0: "win", 0.5: "tie", 0.0: "lose"}


@dataclass(frozen=True)
class Counts:
    """Number of prompts by outcome, in the view of the evaluated system.

    Attributes:
        failed: prompts without an outcome.
    """

    win: int
    tie: int
    lose: int
    failed: int = 0

    @property
    def beat_rate(self) -> float | None:
        """Share in % of decided prompts that are won; None if none is decided.

        >>> Counts(194, 1, 13).beat_rate
        93.71980676328502
        """
        decided = self.win + self.lose
        return 100 * self.win / decided if decided else None


def outcome(games: Sequence[Game]) -> Outcome | None:
    """Outcome of one prompt; None if a game failed or none was played."""
    share = model_share("pairwise", games)
    return None if share is None else _OUTCOMES[share]


def count(outcomes: Sequence[Outcome | None]) -> Counts:
    """Counts of a list of outcomes."""
    found = list(outcomes)
    return Counts(*(found.count(name) for name in ("win", "tie", "lose", None)))


def contradicts(games: Sequence[Game]) -> float | None:
    """1 if the games of a prompt name different winners, else 0; None if one failed.

    >>> contradicts([Game("baseline", "A"), Game("model", "A")])
    1.0
    """
    shares = [game.model_share for game in games]
    if None in shares or len(shares) < 2:
        return None
    return float({0.0, 1.0} <= set(shares))


def first_shown_share(games: Sequence[Game]) -> float | None:
    """Share of decided games won by the answer shown first, 1/2 without a bias; None if none is."""
    decided = [str(game.verdict) for game in games if game.verdict in ("A", "B")]
    return decided.count("A") / len(decided) if decided else None
