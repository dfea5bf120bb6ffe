"""`judge`: one judge as a Python object, for an evaluation or for single questions."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.backends.hosted import open_backend
from harness.engine.calls import CallSettings, Services
from harness.judging.frames import arena_frame, rating_frame
from harness.judging.judge import Judge, Question, open_judge, protocol
from harness.judging.records import BASELINE, MODEL, Game


@dataclass(frozen=True)
class Preference:
    """What a judge said of two answers, each shown first once.

    Attributes:
        share: share in [0, 1] of the first argument's win; None where the judge gave no verdict.
        games: the two games with labels and replies.
    """

    share: float | None
    games: tuple[Game, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Why games have no verdict."""
        return tuple(game.failure for game in self.games if game.failure)


@dataclass(frozen=True)
class JudgeReference:
    """A judge; `evaluate(..., judge=this)` scores a model with it.

    Attributes:
        ref: reference as in `crucible judges`: nano:oracle, or openai:<model>[@<url>].
        calls: settings of its requests; responses are stored only in evaluations.
    """

    ref: str
    calls: CallSettings = field(default_factory=CallSettings)

    def __str__(self) -> str:
        return self.ref

    def prefer(self, question: str, answer: str, baseline: str) -> Preference:
        """Compare two answers in both orders, by Arena-Hard's five labels.

        A failed game is not left out: without both verdicts there is no share.
        """
        shown = {MODEL: (answer, baseline), BASELINE: (baseline, answer)}
        with Services(self.calls) as services:
            found = self._open("arena", services).ask(
                [Question(first, arena_frame(question, *pair)) for first, pair in shown.items()]
            )
        games = tuple(Game(first).judged(found[first]) for first in shown)
        shares = [game.model_share for game in games]
        known = [share for share in shares if share is not None]
        return Preference(sum(known) / 2 if len(known) == 2 else None, games)

    def rate(self, question: str, answer: str, reference: str | None = None) -> Game:
        """Rate one answer from 1 to 10, as MT-Bench does; `verdict` is None on failure."""
        references = None if reference is None else [reference]
        with Services(self.calls) as services:
            found = self._open("rating", services).ask(
                [Question("rating", rating_frame([question], [answer], references))]
            )
        return Game().judged(found["rating"])

    def _open(self, kind: str, services: Services) -> Judge:
        return open_judge(self.ref, protocol(kind), services)


def judge(ref: str, calls: CallSettings | None = None) -> JudgeReference:
    """A judge by its reference.

    Args:
        ref: nano:oracle, or openai:<model>[@<url>][?key=<VARIABLE>].
        calls: settings of its requests, see `harness.engine.calls.CallSettings`.

    Raises:
        UnknownName, BadRecord: there is no such judge.
    """
    made = JudgeReference(ref, calls or CallSettings())
    with Services(made.calls) as services:
        open_backend(ref, services)
    return made
