"""The operation `score_hallucination`: cells from answers and the judge's verdicts on them.

    hallucination_rate                  over all answers; refused and empty ones contain none
    hallucination_rate:answered         among the answered; with `coverage`, selective answering
    hallucination_rate:with_knowledge, hallucination_rate:without_knowledge, :<class>
    hallucination_rate:coverage_50      among the most confident half of the answered
    risk_coverage_area                  mean of that rate over all shares
    helpfulness                         mean of 1 to 10, refusals included
    refusal_rate, refusal_rate:<level>, partial_refusals, coverage
    refusal_precision, refusal_recall   of refusals, against questions whose fact is unknown

All are in %, but for helpfulness. Rows are sorted by id and draws depend only on the question set,
so that two systems are paired by question; `hallucination_rate` contains the packed outcomes for
McNemar's test (an unparsed row counts as hallucinated there). An unparsed verdict is a failed row,
and the bounds show the effect of all of them being 1 or 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.core.records import Cell, Resampled
from harness.data.question_rows import CLASSES
from harness.engine.io import write_json
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats.bootstrap import cluster_counts
from harness.stats.mcnemar import OUTCOMES, pack
from harness.suites.hallucination.judging import Parser
from harness.suites.hallucination.metrics import (
    UNKNOWN_CLASS,
    Answer,
    By,
    judge_counts,
    most_confident,
    read_answer,
    risk_coverage,
)
from harness.suites.hallucination.refusals import LEVELS
from harness.suites.scoring import CellMaker, CellParams, Tally, cell_maker, write_cells

SHARES = (25, 50, 75)  # coverage among the answered, in %


class ScoreHallucinationParams(CellParams):
    """Parameters of `score_hallucination`; see `CellParams` for the rest.

    Attributes:
        refusals_by: level at which an answer counts as refused.
        parser: how the judge's replies were read.
    """

    refusals_by: By = "patterns"
    parser: Parser = "robust"


@operation("score_hallucination", version=1, params=ScoreHallucinationParams)
def score_hallucination(
    context: Context,
    params: ScoreHallucinationParams,
    *,
    judgments: Artifact,
    generations: Artifact,
    questions: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system, and the curve of confidence in curve.json."""
    rows = sorted(judgments.rows(), key=lambda row: str(row["id"]))
    links = {"judgments": judgments, "generations": generations, "checkpoint": model}
    maker = question_cells(params, rows, questions, **links)
    answers = [read_answer(row, params.refusals_by, params.parser) for row in rows]
    scorer = _Scorer(maker, answers, [answer.id for answer in answers])
    found = scorer.rates(judge_counts(rows, "hallucination"), params.parser)
    found.append(scorer.helpfulness(judge_counts(rows, "helpfulness")))
    found += scorer.refusals(any("refusal" in row for row in rows))
    curve, area = scorer.confidence()
    write_json(context.directory / "curve.json", curve)
    write_cells(context, [*found, *area])


def question_cells(
    params: CellParams, rows: Sequence[Row], questions: Artifact, **links: Artifact | None
) -> CellMaker:
    """Maker of cells on a question set, which also say how many questions were left out."""
    texts = {row["id"]: [message["content"] for message in row["messages"]] for row in rows}
    maker = cell_maker(params, texts, questions=questions, **links)
    summary = questions.read_json("summary.json")
    left = {f"left out: {reason}": n for reason, n in summary["n_dropped"].items()}
    if summary["n_repeated"]:
        left["repeated questions"] = summary["n_repeated"]
    return replace(maker, answers={**maker.answers, **left})


@dataclass(frozen=True)
class _Scorer:
    maker: CellMaker
    answers: list[Answer]
    ids: list[str]

    def share(
        self,
        metric: str,
        values: Sequence[float | None],
        among: Sequence[bool] | None = None,
        **more: Any,
    ) -> Cell:
        return self.maker.mean_cell(metric, values, self.ids, among, factor=100, unit="%", **more)

    def rates(self, counts: dict[str, int], parser: Parser) -> list[Cell]:
        values = [answer.hallucination for answer in self.answers]
        details: dict[str, Any] = dict(counts)
        if parser == "released":
            details["parser"] = "released: unparsed replies count as 1"
        paired = details | {OUTCOMES: pack([value == 0 for value in values])}
        answered = [answer.answered for answer in self.answers]
        more: dict[str, Any] = {"higher_is_better": False, "details": details}
        cells = [
            self.share("hallucination_rate", values, **more | {"details": paired}),
            self.share("hallucination_rate:answered", values, answered, **more),
        ]
        groups: dict[str, list[bool]] = {
            "with_knowledge": [a.has_knowledge for a in self.answers],
            "without_knowledge": [not a.has_knowledge for a in self.answers],
        }
        groups |= {label: [a.knowledge == label for a in self.answers] for label in CLASSES}
        more["primary"] = False
        for name, among in groups.items():
            if any(among):
                cells.append(self.share(f"hallucination_rate:{name}", values, among, **more))
        return cells

    def helpfulness(self, counts: dict[str, int]) -> Cell:
        values = [answer.helpfulness for answer in self.answers]
        return self.maker.mean_cell(
            "helpfulness", values, self.ids, span=(1.0, 10.0), unit="1 to 10", details=counts
        )

    def refusals(self, by_judge: bool) -> list[Cell]:
        """Refusals are neither good nor bad by themselves: only the first is a main metric."""
        answers = self.answers
        more: dict[str, Any] = {"primary": False, "higher_is_better": False}
        chosen = [answer.refused_at(answer.by) for answer in answers]
        cells = [self.share("refusal_rate", chosen, higher_is_better=False)]
        for level in (*LEVELS, *(("judge",) if by_judge else ())):
            values = [answer.refused_at(level) for answer in answers]
            cells.append(self.share(f"refusal_rate:{level}", values, **more))
        partial = [None if a.failed else float(a.kind == "partial") for a in answers]
        covered = [None if a.failed else float(a.answered) for a in answers]
        cells.append(self.share("partial_refusals", partial, **more))
        cells.append(self.share("coverage", covered, primary=False))
        unknown = [answer.knowledge == UNKNOWN_CLASS for answer in answers]
        refused = [bool(value) and bool(a.knowledge) for a, value in zip(answers, chosen)]
        precision = [float(value) for value in unknown]
        if any(refused):
            cells.append(self.share("refusal_precision", precision, refused, primary=False))
        if any(unknown):
            cells.append(self.share("refusal_recall", chosen, unknown, primary=False))
        return cells

    def confidence(self) -> tuple[list[dict[str, float]], list[Cell]]:
        """Points of the curve, and its cells; none without confidences."""
        answers = self.answers
        known = [
            number
            for number, a in enumerate(answers)
            if a.answered and a.confidence is not None and a.hallucination is not None
        ]
        if not known:
            return [], []
        confidence = np.array([answers[n].confidence for n in known], float)
        wrong = np.array([answers[n].hallucination for n in known], float)
        drawn = cluster_counts(self.maker.prompt_set, self.ids, self.maker.params.rounds)[:, known]
        areas, curve = risk_coverage(confidence, wrong, np.vstack([np.ones_like(drawn[:1]), drawn]))
        sorted_confidence = np.sort(confidence)[::-1]
        points = [
            {
                "coverage": (k + 1) / len(answers),
                "hallucination": float(rate),
                "confidence": float(sorted_confidence[k]),
            }
            for k, rate in enumerate(curve)
        ]
        more: dict[str, Any] = {"primary": False, "higher_is_better": False}
        asked = sum(answer.answered for answer in answers)
        cells = [
            self.maker.cell(
                "risk_coverage_area",
                100 * areas[0],
                Tally(asked, len(known)),
                replicates=100 * areas[1:],
                resampled=Resampled(units=len(known), span=(0.0, 100.0)),
                unit="%",
                **more,
            )
        ]
        values = [answer.hallucination for answer in answers]
        for share in SHARES:
            among = most_confident(answers, share / 100)
            cells.append(self.share(f"hallucination_rate:coverage_{share}", values, among, **more))
        return points, cells
