"""The judge operation of AlpacaEval 2: one comparison per prompt, in one order or in both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from harness.data.prompts import prompt_text
from harness.engine.operations import Artifact, Context, Row, operation
from harness.judging.annotators import OWN
from harness.judging.answers import Baseline, answer_of, judged_pair, open_pair
from harness.judging.frames import Message
from harness.judging.judge import Protocol, protocol
from harness.judging.operations import JudgeOperation, JudgeParams, batch_size, calls, judge_rows
from harness.judging.records import BASELINE, MODEL, Judged, model_share
from harness.judging.verdicts import is_switched


class JudgeAlpacaParams(JudgeParams):
    """Parameters of `judge_alpaca`; see `JudgeParams` for the common ones.

    Attributes:
        orders: "switched" is the published protocol: one order per instruction; "both" asks in both
            orders and averages.
        annotator: source of prompt and parser, see `harness.judging.annotators`.
    """

    orders: Literal["switched", "both"] = "switched"
    annotator: str = OWN


def rules(params: JudgeAlpacaParams) -> Protocol:
    return protocol(
        "alpaca",
        parser=params.parser,
        max_tokens=params.max_tokens,
        both_orders=params.orders == "both",
        annotator=params.annotator,
    )


def frame(rules: Protocol, judged: Judged, turn: int, game: int) -> list[Message]:
    (first,), (second,) = judged.shown(turn, game)
    return rules.frame(judged.turns[turn].question, first, second)


PREFERENCES = JudgeOperation("alpaca_eval2", "alpaca", JudgeAlpacaParams, rules, frame)


@operation(
    "judge_alpaca",
    version=2,
    params=JudgeAlpacaParams,
    rows="generations",
    batch_size=batch_size,
    estimate=calls(1, 2, 1),
)
def judge_alpaca(
    context: Context,
    params: JudgeAlpacaParams,
    batches: Iterable[list[Row]],
    *,
    generations: Artifact,
    baseline: Artifact,
) -> Iterator[list[Row]]:
    """Compare each answer with the baseline's; `preference` is P(model wins) in [0, 1].

    Equal answers are a draw without a call, as published.
    """
    others = Baseline(baseline)

    def draft(row: Row) -> Judged:
        firsts = _firsts(row, params) if answer_of(row) is not None else (BASELINE,)
        other = others.answer(row)
        played = open_pair(firsts, row, others.row(row), equal=False)
        return judged_pair("alpaca", row, other, played)

    for batch in judge_rows(context, PREFERENCES, params, batches, draft):
        yield [replace(judged, preference=_preference(judged)).row() for judged in batch]


def _firsts(row: Row, params: JudgeAlpacaParams) -> tuple[str, ...]:
    """Whose answer each game shows first."""
    switched = is_switched(prompt_text(row["messages"]))
    order = (MODEL, BASELINE) if switched else (BASELINE, MODEL)
    return order[:1] if params.orders == "switched" else order


def _preference(judged: Judged) -> float | None:
    return model_share("alpaca", judged.games) if judged.games else 0.5
