"""The judge operation of Arena-Hard: two games per prompt, order swapped, five labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.engine.costs import RESPONSE_TOKENS
from harness.engine.operations import Artifact, Context, Row, operation
from harness.judging.answers import Baseline, judged_pair, open_pair
from harness.judging.frames import Message, arena_frame
from harness.judging.judge import Protocol
from harness.judging.operations import (
    JudgeOperation,
    JudgeParams,
    batch_size,
    calls,
    judge_rows,
    rules,
)
from harness.judging.records import BASELINE, MODEL, Judged

CREATIVE = "creative_writing"  # v2.0: in this category the judge writes no answer of its own first


def frame(rules: Protocol, judged: Judged, turn: int, game: int) -> list[Message]:
    (first,), (second,) = judged.shown(turn, game)
    own = judged.prompt_fields.get("category") != CREATIVE
    return arena_frame(judged.turns[turn].question, first, second, own_answer_first=own)


LABELS = JudgeOperation("arena_hard", "arena", JudgeParams, rules("arena"), frame)


@operation(
    "judge_arena",
    version=1,
    params=JudgeParams,
    rows="generations",
    batch_size=batch_size,
    estimate=calls(2, 2, RESPONSE_TOKENS),
)
def judge_arena(
    context: Context,
    params: JudgeParams,
    batches: Iterable[list[Row]],
    *,
    generations: Artifact,
    baseline: Artifact,
) -> Iterator[list[Row]]:
    """Two games per prompt: A is the baseline in the first, the model in the second."""
    others = Baseline(baseline)

    def draft(row: Row) -> Judged:
        other = others.answer(row)
        played = open_pair((BASELINE, MODEL), row, others.row(row))
        return judged_pair("arena", row, other, played)

    for batch in judge_rows(context, LABELS, params, batches, draft):
        yield [judged.row() for judged in batch]
