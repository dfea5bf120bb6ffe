"""What one answer counts in each metric, from its judged row; pure functions.

    hallucination   1, 0 or None (unparsed); an answer that is refused or empty contains none: 0
    helpfulness     1 to 10 or None; an empty answer has 1
    refused         whether the whole answer declines, at each level of `refusals`
    answered        neither refused nor empty; a partial refusal is an answer

A row without an answer (the system failed) has None everywhere. With the released parser,
hallucination is what the released aggregation counts: the judge's score whatever the answer is, and
1 for an unparsed reply with text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.question_rows import CLASSES
from harness.engine.operations import Row
from harness.suites.hallucination.judging import Parser
from harness.suites.hallucination.prompts import answer_of
from harness.suites.hallucination.refusals import LEVELS, Refused, refusal
from harness.suites.hallucination.replies import Status, Task, parse_reply
from harness.suites.hallucination.replies_released import FAILED

Floats = NDArray[np.float64]
By = Literal["exact", "normalised", "patterns", "judge"]
WORST_HELP = 1.0
UNKNOWN_CLASS = "need_and_have_no_fact"


@dataclass(frozen=True)
class Answer:
    """One answer as the metrics count it, see the module's docstring.

    Attributes:
        kinds: level -> refused, partial, empty or answered; {} where the system failed.
        judged: the judge's score on hallucination alone, None where there is none.
        has_knowledge: the judge was given knowledge.
        knowledge: label of what the evaluated model knows, if there is one.
        confidence: mean probability of the answer's tokens, in (0, 1].
    """

    id: str
    kinds: dict[str, Refused]
    judged: float | None
    helpfulness: float | None
    has_knowledge: bool
    by: By
    parser: Parser
    knowledge: str = ""
    confidence: float | None = None

    @property
    def failed(self) -> bool:
        return not self.kinds

    @property
    def kind(self) -> Refused | None:
        """At the chosen level; None where the system failed."""
        return self.kinds.get(self.by)

    @property
    def answered(self) -> bool:
        return self.kind in ("answered", "partial")

    @property
    def hallucination(self) -> float | None:
        if self.parser == "released":
            return self.judged
        return self.judged if self.failed or self.answered else 0.0

    def refused_at(self, level: str) -> float | None:
        """1 if the whole answer declines at a level, else 0; None where the system failed."""
        return None if self.failed else float(self.kinds.get(level) == "refused")


def read_answer(row: Row, by: By = "patterns", parser: Parser = "robust") -> Answer:
    """The answer of a judged row."""
    text = answer_of(row)
    kinds: dict[str, Refused] = {}
    if text is not None and not row.get("error"):
        kinds = {level: refusal(text, level) for level in LEVELS}
        said = (row.get("refusal") or {}).get("value")
        kinds["judge"] = kinds["patterns"]
        if said is not None and kinds["patterns"] != "empty":
            kinds["judge"] = "refused" if said else "answered"
    empty = kinds.get("patterns") == "empty"
    helpful = _score(row, "helpfulness", parser)
    return Answer(
        id=str(row["id"]),
        kinds=kinds,
        judged=_score(row, "hallucination", parser),
        helpfulness=WORST_HELP if empty and parser == "robust" else helpful,
        has_knowledge=bool(str(row.get("knowledge") or "").strip()),
        by=by,
        parser=parser,
        knowledge=row["class"] if row.get("class") in CLASSES else "",
        confidence=_confidence(row),
    )


def _score(row: Row, task: Task, parser: Parser) -> float | None:
    outcome = row.get(task) or {}
    value = outcome.get("value")
    score = None if value is None else float(value["score"])
    if parser == "robust":
        return score
    if score is None or score == FAILED:
        blank = not str(outcome.get("reply") or "").strip()
        return None if blank or task == "helpfulness" else 1.0
    return score


def _confidence(row: Row) -> float | None:
    found = (row.get("confidence_scores") or [{}])[0]
    logp, tokens = found.get("logp"), found.get("tokens")
    return None if logp is None or not tokens else math.exp(logp / tokens)


def judge_counts(rows: Iterable[Row], task: Task) -> dict[str, int]:
    """Number of the judge's replies by status, and of rows asked again; zeros are left out.

    `n_empty` counts empty replies and calls that failed.
    """
    found: Counter[str] = Counter()
    for row in rows:
        outcome = row.get(task)
        if not outcome or not outcome["attempts"]:
            continue
        status: Status = "ok"
        if outcome["value"] is None:
            status = parse_reply(outcome["reply"], task).status
        found[
            _STATUS[status if outcome["value"] is not None or status != "ok" else "unparsed"]
        ] += 1
        found["n_asked_again"] += outcome["attempts"] > 1
        unread = outcome["value"] is not None and outcome["value"].get("spans_ok") is False
        found["n_unreadable_spans"] += unread
    return {f"{name}": number for name, number in found.items() if number}


_STATUS = {
    "ok": "n_parsed",
    "unparsed": "n_unparsed",
    "empty": "n_empty",
    "score_out_of_set": "n_out_of_set",
}


def risk_coverage(
    confidence: Floats, wrong: Floats, counts: NDArray[np.int32]
) -> tuple[Floats, Floats]:
    """Area under the curve of hallucination against coverage, and the curve.

    The curve is the mean of `wrong` (n,) among the k most confident answers, k = 1 ... n; its area
    is the mean over k. Equal confidences keep the order of the rows.

    Args:
        counts: (rounds, n), how often each answer is drawn.

    Returns:
        areas (rounds,), curve (n,) of the answers themselves.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong, drawn = wrong[order], counts[:, order].astype(np.float64)
    number = np.cumsum(drawn, axis=1)
    risks = np.cumsum(drawn * wrong, axis=1) / np.maximum(number, 1)
    areas = (drawn * risks).sum(axis=1) / np.maximum(number[:, -1], 1)
    curve = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    return areas, curve


def most_confident(answers: Sequence[Answer], share: float) -> list[bool]:
    """Mask of the answered rows whose confidence is among the highest `share` of them."""
    known = [number for number, a in enumerate(answers) if a.answered and a.confidence is not None]
    known.sort(key=lambda number: -(answers[number].confidence or 0.0))
    kept = set(known[: math.ceil(share * len(known))])
    return [number in kept for number in range(len(answers))]
