"""Answers as the judge reads them: the system's, the baseline's, and what is judged without one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harness.core.errors import BadData
from harness.data.prompts import prompt_text
from harness.engine.operations import Artifact, Row
from harness.judging.frames import Kind
from harness.judging.records import Game, Judged, JudgedTurn, prompt_fields

NO_ANSWER = "no answer was generated"


class Baseline:
    """Rows of the other side by prompt id; each must answer the same prompt text."""

    def __init__(self, artifact: Artifact) -> None:
        self.name = f"baseline {artifact.id[:8]}"
        self._rows = {row["id"]: row for row in artifact.rows()}

    def row(self, row: Row) -> Row:
        """The baseline's row for a prompt.

        Raises:
            BadData: there is none, or it answers another text.
        """
        other = self._rows.get(row["id"])
        if other is None:
            raise BadData(f'{self.name} has no answer to prompt "{row["id"]}"')
        if _first_question(other) != _first_question(row):
            raise BadData(f'{self.name} answers another prompt under "{row["id"]}"')
        return other

    def answer(self, row: Row) -> str | None:
        """The baseline's answer to a prompt; None where a system of the run failed to answer.

        Raises:
            BadData: there is none, or it answers another text.
        """
        other = self.row(row)
        answer = answer_of(other)
        if answer is None and not other.get("error"):
            raise BadData(f'{self.name} has an empty row for prompt "{row["id"]}"')
        return answer


def answer_of(row: Row) -> str | None:
    """The first response; None where there is none ("" is an answer)."""
    return row["responses"][0] if row.get("responses") else None


def open_games(firsts: Iterable[str], answer: str | None, row: Row) -> tuple[Game, ...]:
    """One game for each side shown first; without an answer to judge they have already failed."""
    failure = None
    if answer is None:
        error = row.get("first_error") or row.get("error")
        failure = f"{NO_ANSWER}: {error}" if error else NO_ANSWER
    return tuple(Game(first, failure=failure) for first in firsts)


def open_pair(
    firsts: Iterable[str], model: Row, baseline: Row, *, equal: bool = True
) -> tuple[Game, ...]:
    """The games of two answers; they have failed already where one of the two is missing.

    Args:
        equal: whether equal answers are played.
    """
    ours, other = answer_of(model), answer_of(baseline)
    if ours is not None and ours == other and not equal:
        return ()
    played = open_games(firsts, ours, model)
    return failed_by_baseline(played, baseline) if other is None else played


def failed_by_baseline(games: tuple[Game, ...], baseline: Row) -> tuple[Game, ...]:
    """Games that were not lost already, failed because the other side gave no answer."""
    error = baseline.get("first_error") or baseline.get("error")
    failure = f"the baseline gave no answer: {error}"
    return tuple(game if game.failure else replace(game, failure=failure) for game in games)


def judged_pair(kind: Kind, row: Row, other: str | None, played: tuple[Game, ...]) -> Judged:
    """The record of one prompt with two answers, before the games are played."""
    turn = JudgedTurn(prompt_text(row["messages"]), answer_of(row), other or "", played)
    return judged_record(kind, row, (turn,))


def judged_record(kind: Kind, row: Row, turns: tuple[JudgedTurn, ...]) -> Judged:
    """The record of a prompt row, before the games are played."""
    fields = prompt_fields(row)
    return Judged(kind, row["id"], row.get("system", ""), turns, prompt_fields=fields)


def _first_question(row: Row) -> str:
    return next(m["content"] for m in row["messages"] if m["role"] == "user")
