"""One sample of any suite as a plain record: turns, answers, games with the judge, flags.

Dataclasses and not validated records: texts of models may hold what no validator lets pass (half
characters, NUL), and must arrive as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.core.records import Cell
from harness.engine.operations import Artifact
from harness.judging.records import Game, Judged, JudgedTurn

# From the model's view; the words that filters understand.
PAIR_OUTCOMES = ("win", "loss", "tie")
RATING_OUTCOMES = ("low", "middle", "high")
FAILED, UNKNOWN = "failed", "unknown"
# A rating below the first is low, below the second middle.
RATING_STEPS = (4.0, 7.0)


def game_outcome(game: Game) -> str:
    """ "win", "loss" or "tie" for the model, "failed", or "" for a rating."""
    if game.verdict is None:
        return FAILED
    return "" if game.model_share is None else share_outcome(game.model_share)


def share_outcome(share: float) -> str:
    """A word of PAIR_OUTCOMES for the model's share in [0, 1] of the win."""
    return "tie" if share == 0.5 else "win" if share > 0.5 else "loss"


def verdict_text(game: Game) -> str:
    """The verdict as text; "" where there is none.

    >>> verdict_text(Game(verdict=0.69872)), verdict_text(Game(verdict="A>B"))
    ('0.699', 'A>B')
    """
    if game.verdict is None or isinstance(game.verdict, str):
        return game.verdict or ""
    return f"{game.verdict:.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Sample:
    """One prompt of a cell.

    Attributes:
        outcome: a word of PAIR_OUTCOMES or RATING_OUTCOMES, "failed" or "unknown".
        value: chance or share that the model wins in [0, 1], or the mean rating; None if failed.
        labels: category, skill and whatever else the prompt says of itself.
        suspicions: why an answer looks like an attack on the judge.
        rendered: the prompt as the model's engine read it, where stored.
        fields: other fields of the row; all of them, for suites without a judge.
        judged: the judged row, for suites with one.
    """

    id: str
    outcome: str
    value: float | None = None
    turns: tuple[JudgedTurn, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    suspicions: tuple[str, ...] = ()
    rendered: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    judged: Judged | None = None

    @property
    def games(self) -> Iterator[Game]:
        return (game for turn in self.turns for game in turn.games)

    @property
    def failures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(game.failure for game in self.games if game.failure))

    @property
    def contradictory(self) -> bool:
        """Whether the games of a turn, the answers shown in both orders, name different winners."""
        decided = ({game_outcome(game) for game in turn.games} for turn in self.turns)
        return any({"win", "loss"} <= outcomes for outcomes in decided)

    @property
    def first(self) -> str:
        """Who was shown first: "model", "baseline", "both" (in turns), or ""."""
        seen = {game.first for game in self.games if game.first}
        return seen.pop() if len(seen) == 1 else "both" if seen else ""

    @property
    def lengths(self) -> tuple[int | None, int | None]:
        """Code points of the model's answers and of the other's; None where there is none."""
        ours = [len(turn.answer) for turn in self.turns if turn.answer is not None]
        theirs = [len(turn.baseline) for turn in self.turns if turn.baseline is not None]
        return (sum(ours) if ours else None, sum(theirs) if theirs else None)

    @property
    def flags(self) -> tuple[str, ...]:
        """Why a reader should look: "failed", "contradictory", "suspicious", "retried"."""
        found = {
            "failed": bool(self.failures),
            "contradictory": self.contradictory,
            "suspicious": bool(self.suspicions),
            "retried": any(game.attempts > 1 for game in self.games),
        }
        return tuple(name for name, holds in found.items() if holds)

    @property
    def gist(self) -> str:
        """What the sample is about: its question, else its first fields."""
        if self.turns:
            return self.turns[0].question
        return "  ".join(f"{name}: {value}" for name, value in self.fields.items())

    def texts(self) -> Iterator[str]:
        """Everything a search looks through."""
        yield self.id
        for turn in self.turns:
            yield from (turn.question, turn.answer or "", turn.baseline or "")
            for game in turn.games:
                yield from (game.reply, game.failure or "")
        yield from self.fields.values()


@dataclass(frozen=True)
class Samples:
    """The samples behind a cell, or of an artifact of rows.

    Attributes:
        kind: "pair" (a verdict on two answers), "rating" or "rows" (no judge).
        judging: the artifact of judgments, or of rows.
        artifacts: everything the cell names, by role.
        baseline: where the other side's answers came from.
    """

    title: str
    kind: str
    cell: Cell | None
    samples: tuple[Sample, ...]
    judging: Artifact
    artifacts: dict[str, str] = field(default_factory=dict)
    baseline: str = ""

    def outcomes(self) -> dict[str, int]:
        """How often each outcome occurs, in the order of the words."""
        order = (*PAIR_OUTCOMES, *RATING_OUTCOMES[::-1], "right", "wrong", FAILED, UNKNOWN)
        found = [sample.outcome for sample in self.samples]
        return {word: found.count(word) for word in order if word in found}

    def label_values(self, name: str) -> tuple[str, ...]:
        """The values a label takes, in order of first appearance."""
        values = (sample.labels.get(name) for sample in self.samples)
        return tuple(dict.fromkeys(value for value in values if value is not None))
