"""The judge operation of the domain suites: two answers, in both orders or in the released one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Literal

from harness.backends.base import Completion, Sampling
from harness.engine.costs import RESPONSE_TOKENS
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.judging.answers import Baseline, answer_of, judged_pair, open_pair
from harness.judging.frames import Message
from harness.judging.injection import suspicion
from harness.judging.judge import ParserMode, Protocol
from harness.judging.operations import JudgeOperation, JudgeParams, batch_size, calls, judge_rows
from harness.judging.records import BASELINE, MODEL, Judged
from harness.suites.domain import verdicts, verdicts_released
from harness.suites.domain.answers import Cleaning, cleaned_row
from harness.suites.domain.prompts import KIND, REPAIR, ordering_frame, prompt_hash

MAX_TOKENS = 2048  # of a review, as released
Orders = Literal["both", "single"]
# Side -> verdict of a game, in which Assistant 1 is A.
_VERDICTS = {"assistant_1": "A", "assistant_2": "B", "tie": "tie"}
_RULES: dict[Orders, str] = {
    "both": "two games: baseline first, then model first",
    "single": "one game: baseline first",
}


class JudgeDomainParams(JudgeParams):
    """Parameters of `judge_domain`; see `JudgeParams` for the common ones.

    Attributes:
        orders: "both" asks in both orders, "single" shows the baseline first, as released.
        cleaning: see `harness.suites.domain.answers.cleaned`.
    """

    orders: Orders = "both"
    cleaning: Cleaning = "header"


def rules(params: JudgeDomainParams) -> Protocol:
    compat = params.parser == "compat"
    return Protocol(
        KIND,
        _RULES[params.orders],
        Sampling(temperature=0.0, max_tokens=params.max_tokens or MAX_TOKENS),
        verdicts_released.PARSER if compat else verdicts.PARSER,
        partial(read, params.parser),
        prompt_hash(),
        suspicion=_suspicion,
        repair=REPAIR,
    )


def read(parser: ParserMode, completion: Completion) -> str | None:
    """The verdict of a review as that of a game: "A", "B", "tie", or None."""
    if parser == "compat":
        return _VERDICTS[verdicts_released.parse_released(completion.text)]
    cut = completion.finish in ("length", "content_filter")
    side = verdicts.parse_verdict(completion.text, cut=cut)
    return None if side is None else _VERDICTS[side]


def _suspicion(answer: str) -> str | None:
    """An answer that orders the two assistants, or holds marks of judges and chats."""
    if re.search(r"assistant", answer, re.IGNORECASE) and verdicts.states_order(answer):
        return "it holds a judge's verdict: an order of two assistants"
    return suspicion((), answer)


def frame(rules: Protocol, judged: Judged, turn: int, game: int) -> list[Message]:
    (first,), (second,) = judged.shown(turn, game)
    return ordering_frame(judged.turns[turn].question, first, second)


ORDERINGS = JudgeOperation("domain", "pairwise", JudgeDomainParams, rules, frame)


def _estimate(params: JudgeDomainParams, **inputs: Estimate) -> Estimate:
    games = 2 if params.orders == "both" else 1
    return calls(games, 2, RESPONSE_TOKENS)(params, **inputs)


@operation(
    "judge_domain",
    version=1,
    params=JudgeDomainParams,
    rows="generations",
    batch_size=batch_size,
    estimate=_estimate,
)
def judge_domain(
    context: Context,
    params: JudgeDomainParams,
    batches: Iterable[list[Row]],
    *,
    generations: Artifact,
    baseline: Artifact,
) -> Iterator[list[Row]]:
    """Games per prompt: Assistant 1 is the baseline in the first, the model in the second.

    Raises:
        BadData: the baseline has no answer to a prompt, or answers another prompt under its id.
    """
    others = Baseline(baseline)
    firsts = (BASELINE, MODEL) if params.orders == "both" else (BASELINE,)

    def draft(row: Row) -> Judged:
        others.answer(row)  # refuses a baseline without an answer
        own = cleaned_row(row, params.cleaning)
        other = cleaned_row(others.row(row), params.cleaning)
        return judged_pair("pairwise", own, answer_of(other), open_pair(firsts, own, other))

    for batch in judge_rows(context, ORDERINGS, params, batches, draft):
        yield [judged.row() for judged in batch]
