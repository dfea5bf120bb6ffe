"""The judge operations of MT-Bench: a rating of every turn, and comparisons with a baseline.

judge_mt_bench           one rating per turn of a dialogue
judge_mt_bench_pairwise  two games per turn against the baseline's dialogue, order swapped
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.core.errors import BadData
from harness.engine.costs import RESPONSE_TOKENS
from harness.engine.operations import Artifact, Context, Row, operation
from harness.judging import frames
from harness.judging.answers import (
    Baseline,
    answer_of,
    failed_by_baseline,
    judged_record,
    open_games,
)
from harness.judging.frames import Message
from harness.judging.judge import Protocol
from harness.judging.operations import (
    JudgeOperation,
    JudgeParams,
    batch_size,
    calls,
    judge_rows,
    rules,
)
from harness.judging.records import BASELINE, MODEL, Judged, JudgedTurn

SUITE = "mt_bench"


def rating_frame(rules: Protocol, judged: Judged, turn: int, game: int) -> list[Message]:
    answers = [part.answer or "" for part in judged.turns[: turn + 1]]
    return frames.rating_frame(judged.questions[: turn + 1], answers, judged.references(turn))


def pairwise_frame(rules: Protocol, judged: Judged, turn: int, game: int) -> list[Message]:
    sides = judged.shown(turn, game)
    return frames.pairwise_frame(judged.questions[: turn + 1], *sides, judged.references(turn))


RATINGS = JudgeOperation(SUITE, "rating", JudgeParams, rules("rating"), rating_frame)
CHOICES = JudgeOperation(SUITE, "pairwise", JudgeParams, rules("pairwise"), pairwise_frame)


@operation(
    "judge_mt_bench",
    version=1,
    params=JudgeParams,
    rows="responses",
    batch_size=batch_size,
    estimate=calls(2, 2, RESPONSE_TOKENS // 2),
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
    guides = _guides(references)

    def draft(row: Row) -> Judged:
        guide = guides.get(row["id"], [])
        turns = tuple(
            JudgedTurn(question, answer, None, open_games(("",), answer, row), bool(guide))
            for question, answer in dialogue_of(row)
        )
        return judged_record("rating", row, turns).guided_by(guide)

    for batch in judge_rows(context, RATINGS, params, batches, draft):
        yield [judged.row() for judged in batch]


@operation(
    "judge_mt_bench_pairwise",
    version=1,
    params=JudgeParams,
    rows="responses",
    batch_size=batch_size,
    estimate=calls(4, 4, RESPONSE_TOKENS // 2),
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
    """Two games per turn: A is the model in the first, the baseline in the second."""
    guides, others = _guides(references), Baseline(baseline)

    def draft(row: Row) -> Judged:
        turns = []
        for (question, answer), other in zip(dialogue_of(row), _other(others, row)):
            games = open_games((MODEL, BASELINE), answer, row)
            if other is None:
                games = failed_by_baseline(games, others.row(row))
            turns.append(JudgedTurn(question, answer, other or "", games))
        return judged_record("pairwise", row, tuple(turns)).guided_by(guides.get(row["id"], []))

    for batch in judge_rows(context, CHOICES, params, batches, draft):
        yield [judged.row() for judged in batch]


def dialogue_of(row: Row) -> list[tuple[str, str | None]]:
    """Question and answer of each turn of a response row; the earlier turns are in its messages.

    A row whose first turn failed (`first_error`, see `follow_up`) has no answers.
    """
    asked = [m["content"] for m in row["messages"] if m["role"] == "user"]
    if row.get("first_error"):
        return [(question, None) for question in asked]
    said = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
    return list(zip(asked, [*said, answer_of(row)], strict=True))


def _other(baseline: Baseline, row: Row) -> list[str | None]:
    """The baseline's answers to the turns of a dialogue; None where a system failed to answer."""
    other = baseline.row(row)
    failed = other.get("first_error") or other.get("error")
    said = other.get("answers") or [
        answer if failed else answer or "" for _, answer in dialogue_of(other)
    ]
    if len(said) < len(dialogue_of(row)):
        raise BadData(f'{baseline.name} answers fewer turns than "{row["id"]}" has')
    return list(said)


def _guides(artifact: Artifact | None) -> dict[str, list[str]]:
    """Reference answers by prompt id."""
    if artifact is None:
        return {}
    return {row["id"]: row["answers"] for row in artifact.rows() if row["answers"]}
