"""Judging as row operations: every judgment is kept the moment it exists, and says what it saw.

A judgment row holds the prompt, the answers as the judge read them, who was shown first, and for
each game the judge's raw reply, the verdict read from it, the number of attempts and, where there
is no verdict, why. Failed judgments stay in the rows (verdict null); the scores count them.

    judge_alpaca            one game a prompt, order switched by the instruction
    judge_arena             two games a prompt, order swapped
    judge_mt_bench          a rating of each turn of a dialogue
    judge_mt_bench_pairwise two games a turn against a baseline, order swapped
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from harness.backends.windows import in_windows
from harness.core.errors import CrucibleError
from harness.core.records import Record
from harness.engine.costs import PROMPT_TOKENS, RESPONSE_TOKENS
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.judging import frames, verdicts
from harness.judging.games import (
    Baseline,
    answer_of,
    described,
    dialogue_of,
    game_of,
    references_by_id,
    seen_row,
    suspicion_of,
    texts,
    two_games,
)
from harness.judging.judge import OWN, Judge, Judgment, ParserMode, Question, open_judge, protocol

CREATIVE = "creative_writing"  # Arena-Hard v2: the judge writes no own answer first


class JudgeParams(Record):
    """Which judge, read how.

    Attributes:
        judge: see `open_judge`.
        fingerprint: what the plan was made for; the judge must still have it when it runs.
        max_tokens: of the judge's explanation; None for the paper's.
        batch_size: rows judged together, hence repeated together after an interruption.
    """

    judge: str
    fingerprint: str
    parser: ParserMode = "strict"
    max_tokens: int | None = None
    batch_size: int = Field(default=8, ge=1)


class JudgeAlpacaParams(JudgeParams):
    """Attributes:
    orders: "switched" is the published protocol; "both" asks twice and averages.
    annotator: whose prompt and parser, see `harness.judging.annotators`.
    """

    orders: Literal["switched", "both"] = "switched"
    annotator: str = OWN


def _batch_size(params: JudgeParams) -> int:
    return params.batch_size


def _calls(calls: int, answers: int, reply: int) -> Callable[..., Estimate]:
    """Estimate of a judging stage: `calls` a row, each quoting `answers` answers."""

    def estimate(params: JudgeParams, **inputs: Estimate) -> Estimate:
        rows = next(iter(inputs.values())).rows
        if rows is None:
            return Estimate()
        each = PROMPT_TOKENS + answers * RESPONSE_TOKENS + reply
        asked = rows * calls
        return Estimate(rows=rows, tokens=asked * each, requests=asked, tokens_out=asked * reply)

    return estimate


def _open(context: Context, params: JudgeParams, kind: str) -> Judge:
    alpaca: dict[str, Any] = {}
    if isinstance(params, JudgeAlpacaParams):
        alpaca = {"both_orders": params.orders == "both", "annotator": params.annotator}
    rules = protocol(kind, parser=params.parser, max_tokens=params.max_tokens, **alpaca)
    judge = open_judge(params.judge, rules, context.services)
    if judge.fingerprint != params.fingerprint:
        raise CrucibleError(
            f"judge {params.judge} has the fingerprint {judge.fingerprint}, the plan was made for "
            f"{params.fingerprint}: the judge or its prompt changed; make the plan again"
        )
    return judge


@operation(
    "judge_alpaca",
    version=1,
    params=JudgeAlpacaParams,
    rows="generations",
    batch_size=_batch_size,
    estimate=_calls(1, 2, 1),
)
def judge_alpaca(
    context: Context,
    params: JudgeAlpacaParams,
    batches: Iterable[list[Row]],
    *,
    generations: Artifact,
    baseline: Artifact,
) -> Iterator[list[Row]]:
    """Ask once a prompt which answer is better; `preference` is P(model wins) in [0, 1].

    Equal answers are a draw without a call, as published.
    """
    judge = _open(context, params, "alpaca")
    others = Baseline(baseline)

    def questions(batch: list[Row]) -> list[Question]:
        found = []
        for row in batch:
            model, other = answer_of(row), others.answer(row)
            if model is None or model == other:
                continue
            prompt = frames.prompt_text(row["messages"])
            for number, model_first in enumerate(_orders(prompt, params)):
                shown = (model, other) if model_first else (other, model)
                frame = judge.protocol.frame(prompt, *shown)
                found.append(Question(f"{row['id']}/{number}", frame))
        return found

    for batch, judged in _judged(context, judge, batches, questions):
        yield [_alpaca_row(row, others.answer(row), judge, judged, params) for row in batch]


def _alpaca_row(
    row: Row, other: str, judge: Judge, judged: dict[str, Judgment], params: JudgeAlpacaParams
) -> Row:
    model = answer_of(row)
    seen = seen_row(row, model, other, judge)
    if model is None:
        return {**seen, "games": [{"first": "baseline", **game_of(None, row)}], "preference": None}
    if model == other:
        return {**seen, "games": [], "preference": 0.5}
    games = [
        {"first": "model" if model_first else "baseline", **judged[f"{row['id']}/{number}"].row()}
        for number, model_first in enumerate(_orders(seen["prompt"], params))
    ]
    return {**seen, "games": games, "preference": _mean([_model_wins(game) for game in games])}


def _orders(prompt: str, params: JudgeAlpacaParams) -> list[bool]:
    """For each game, whether the model's answer is shown first."""
    switched = verdicts.is_switched(prompt)
    return [switched] if params.orders == "switched" else [switched, not switched]


def _mean(wins: list[float | None]) -> float | None:
    """Mean over the games of a prompt; one lost game loses the prompt."""
    found = [win for win in wins if win is not None]
    return sum(found) / len(found) if found and len(found) == len(wins) else None


def _model_wins(game: Row) -> float | None:
    if game["verdict"] is None:
        return None
    return game["verdict"] if game["first"] == "model" else 1 - game["verdict"]


@operation(
    "judge_arena",
    version=1,
    params=JudgeParams,
    rows="generations",
    batch_size=_batch_size,
    estimate=_calls(2, 2, RESPONSE_TOKENS),
)
def judge_arena(
    context: Context,
    params: JudgeParams,
    batches: Iterable[list[Row]],
    *,
    generations: Artifact,
    baseline: Artifact,
) -> Iterator[list[Row]]:
    """Two games a prompt: A is the baseline in the first, the model in the second."""
    judge = _open(context, params, "arena")
    others = Baseline(baseline)

    def questions(batch: list[Row]) -> list[Question]:
        found = []
        for row in batch:
            model, other = answer_of(row), others.answer(row)
            if model is None:
                continue
            prompt = frames.prompt_text(row["messages"])
            own = row.get("category") != CREATIVE
            for number, (a, b) in enumerate(((other, model), (model, other))):
                frame = frames.arena_frame(prompt, a, b, own_answer_first=own)
                found.append(Question(f"{row['id']}/{number}", frame))
        return found

    for batch, judged in _judged(context, judge, batches, questions):
        yield [
            {
                **seen_row(row, answer_of(row), others.answer(row), judge),
                "games": two_games(row["id"], row, judged, ("baseline", "model")),
            }
            for row in batch
        ]


@operation(
    "judge_mt_bench",
    version=1,
    params=JudgeParams,
    rows="responses",
    batch_size=_batch_size,
    estimate=_calls(2, 2, RESPONSE_TOKENS // 2),
)
def judge_mt_bench(
    context: Context,
    params: JudgeParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
    references: Artifact | None = None,
) -> Iterator[list[Row]]:
    """Rate every turn of the dialogues in `responses` (rows of the last turn).

    `references` (rows of `import_answers`) make the frames reference-guided where it has answers.
    """
    judge = _open(context, params, "rating")
    guide = references_by_id(references)

    def questions(batch: list[Row]) -> list[Question]:
        found = []
        for row in batch:
            asked, said = dialogue_of(row)
            guided = guide.get(row["id"], [])
            for turn, answer in enumerate(said, 1):
                if answer is not None:
                    frame = frames.rating_frame(asked[:turn], texts(said[:turn]), guided[:turn])
                    found.append(Question(f"{row['id']}/{turn}", frame))
        return found

    for batch, judged in _judged(context, judge, batches, questions):
        yield [_rated_row(row, bool(guide.get(row["id"])), judge, judged) for row in batch]


def _rated_row(row: Row, guided: bool, judge: Judge, judged: dict[str, Judgment]) -> Row:
    asked, said = dialogue_of(row)
    graded = [
        {
            "turn": turn,
            "question": question,
            "answer": answer,
            "guided": guided,
            **game_of(judged.get(f"{row['id']}/{turn}"), row),
        }
        for turn, (question, answer) in enumerate(zip(asked, said, strict=True), 1)
    ]
    return {**described(row), **suspicion_of(judge, said), "turns": graded}


@operation(
    "judge_mt_bench_pairwise",
    version=1,
    params=JudgeParams,
    rows="responses",
    batch_size=_batch_size,
    estimate=_calls(4, 4, RESPONSE_TOKENS // 2),
)
def judge_mt_bench_pairwise(
    context: Context,
    params: JudgeParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
    baseline: Artifact,
    references: Artifact | None = None,
) -> Iterator[list[Row]]:
    """Two games a turn against the baseline: A is the model in the first, then the baseline."""
    judge = _open(context, params, "pairwise")
    guide, others = references_by_id(references), Baseline(baseline)

    def questions(batch: list[Row]) -> list[Question]:
        found = []
        for row in batch:
            (asked, said), other = dialogue_of(row), others.dialogue(row)
            guided = guide.get(row["id"], [])
            for turn, answer in enumerate(said, 1):
                if answer is None:
                    continue
                ours, theirs = texts(said[:turn]), other[:turn]
                for number, (a, b) in enumerate(((ours, theirs), (theirs, ours))):
                    frame = frames.pairwise_frame(asked[:turn], a, b, guided[:turn])
                    found.append(Question(f"{row['id']}/{turn}/{number}", frame))
        return found

    for batch, judged in _judged(context, judge, batches, questions):
        yield [_compared_row(row, others.dialogue(row), judge, judged) for row in batch]


def _compared_row(row: Row, other: list[str], judge: Judge, judged: dict[str, Judgment]) -> Row:
    asked, said = dialogue_of(row)
    compared = [
        {
            "turn": turn,
            "question": asked[turn - 1],
            "answers": {"model": said[turn - 1], "baseline": other[turn - 1]},
            "games": two_games(f"{row['id']}/{turn}", row, judged, ("model", "baseline")),
        }
        for turn in range(1, len(said) + 1)
    ]
    return {**described(row), **suspicion_of(judge, said), "turns": compared}


def _judged(
    context: Context,
    judge: Judge,
    batches: Iterable[list[Row]],
    questions: Callable[[list[Row]], list[Question]],
) -> Iterator[tuple[list[Row], dict[str, Judgment]]]:
    """Each batch with its judgments, as they are complete."""

    def ask(asked: Sequence[Question]) -> Iterator[Judgment]:
        return judge.stream(asked, context.count)

    return in_windows(batches, questions, ask, judge.backend.parallel)
