"""Machinery of judge operations: each suite's `judging.py` defines its own with it.

A judge operation is a row operation. It drafts a `Judged` record per row, whose games are open;
`judge_rows` asks the judge about every open game and fills in verdict, reply and attempts. Failed
judgments stay in the rows (verdict null, with the reason) and are counted by the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import Field

from harness.backends.windows import in_windows
from harness.core.errors import check_planned
from harness.core.records import Record
from harness.engine import registry
from harness.engine.costs import PROMPT_TOKENS, RESPONSE_TOKENS
from harness.engine.operations import Context, Estimate, Row
from harness.judging.frames import Kind, Message
from harness.judging.judge import (
    Judge,
    Judgment,
    ParserMode,
    Protocol,
    Question,
    open_judge,
    protocol,
)
from harness.judging.records import Judged, kind_of_row


class JudgeParams(Record):
    """Parameters of every judge operation.

    Attributes:
        judge: reference of the judge, see `open_judge`.
        fingerprint: the judge's when the plan was made; it must be unchanged when the stage runs.
        max_tokens: limit of the judge's explanation; None for the paper's.
        batch_size: rows judged together, hence repeated together after an interruption.
    """

    judge: str
    fingerprint: str
    parser: ParserMode = "strict"
    max_tokens: int | None = None
    batch_size: int = Field(default=8, ge=1)


@dataclass(frozen=True)
class JudgeOperation:
    """What a judge operation asks, for the operation, its planner and readers of its rows.

    Attributes:
        suite: name of the suite that its rows are scored by.
        kind: kind of its rows and frames.
        params: record of its parameters.
        rules: parameters -> protocol.
        frame: (protocol, judged record, turn, game) -> messages of one question; turn and game are
            counted from 0.
    """

    suite: str
    kind: Kind
    params: type[JudgeParams]
    rules: Callable[[Any], Protocol]
    frame: Callable[[Protocol, Judged, int, int], list[Message]]


@cache
def judge_operations() -> dict[str, JudgeOperation]:
    """Every judge operation by name, from the catalogues' table JUDGED."""
    targets = registry.table("JUDGED")
    return {name: registry.load_target(target) for name, target in targets.items()}


def kind_of_rows(rows: Sequence[Row], operation: str = "") -> Kind | None:
    """The kind of an artifact's rows; None if they are not judged rows.

    Args:
        operation: that made them; the kind of an unknown one's rows (a file's, a plugin's) follows
            from their keys.
    """
    known = judge_operations().get(operation)
    if known is not None:
        return known.kind
    return kind_of_row(rows[0]) if rows else None


def rules(kind: Kind) -> Callable[[JudgeParams], Protocol]:
    """The protocol of a kind whose operation has the common parameters only."""

    def made(params: JudgeParams) -> Protocol:
        return protocol(kind, parser=params.parser, max_tokens=params.max_tokens)

    return made


def batch_size(params: JudgeParams) -> int:
    return params.batch_size


def calls(number: int, answers: int, reply: int) -> Callable[..., Estimate]:
    """Estimate of a judging stage.

    Args:
        number: calls per row.
        answers: answers quoted per call.
        reply: tokens of a reply.
    """

    def estimate(params: JudgeParams, **inputs: Estimate) -> Estimate:
        rows = next(iter(inputs.values())).rows
        if rows is None:
            return Estimate()
        each = PROMPT_TOKENS + answers * RESPONSE_TOKENS + reply
        asked = rows * number
        return Estimate(rows=rows, tokens=asked * each, requests=asked, tokens_out=asked * reply)

    return estimate


def judge_rows(
    context: Context,
    operation: JudgeOperation,
    params: JudgeParams,
    batches: Iterable[list[Row]],
    draft: Callable[[Row], Judged],
) -> Iterator[list[Judged]]:
    """Each batch as judged records, as soon as all its games are played.

    Args:
        draft: row -> its record before judging; games that have failed already are not played.

    Raises:
        CrucibleError: the judge is not the one the plan was made for.
    """
    judge = _open(context, operation, params)
    drafts = ([draft(row) for row in batch] for batch in batches)

    def questions(batch: list[Judged]) -> list[Question]:
        return [
            Question(id, operation.frame(judge.protocol, judged, turn, game))
            for judged in batch
            for id, (turn, game) in _questions(judged).items()
            if judged.turns[turn].games[game].failure is None
        ]

    def ask(asked: Sequence[Question]) -> Iterator[Judgment]:
        return judge.stream(asked, context.count)

    for batch, judgments in in_windows(drafts, questions, ask, judge.backend.parallel):
        yield [_played(judged, judgments, judge.protocol) for judged in batch]


def _open(context: Context, operation: JudgeOperation, params: JudgeParams) -> Judge:
    judge = open_judge(params.judge, operation.rules(params), context.services)
    check_planned(f"judge {params.judge} or its prompt", judge.fingerprint, params.fingerprint)
    return judge


def _questions(judged: Judged) -> dict[str, tuple[int, int]]:
    """Id of each question -> turn and game. Ids are stable: stored replies are joined by them."""
    found = {}
    for turn, part in enumerate(judged.turns):
        for game in range(len(part.games)):
            names = [judged.id]
            if judged.kind in ("rating", "pairwise"):
                names.append(str(turn + 1))
            if judged.kind != "rating":
                names.append(str(game))
            found["/".join(names)] = (turn, game)
    return found


def _played(judged: Judged, judgments: dict[str, Judgment], rules: Protocol) -> Judged:
    """The record with the judge's verdicts, and with the first sign of an attack on its prompt."""
    games = [list(turn.games) for turn in judged.turns]
    for id, (turn, game) in _questions(judged).items():
        if id in judgments:
            games[turn][game] = games[turn][game].judged(judgments[id])
    signs = (rules.suspicion(turn.answer) for turn in judged.turns if turn.answer)
    return replace(
        judged,
        turns=tuple(
            replace(turn, games=tuple(own)) for turn, own in zip(judged.turns, games, strict=True)
        ),
        suspicious=next((sign for sign in signs if sign), ""),
    )
