"""Agreement of a hallucination judge with labels that people gave to real answers.

    label_answers   questions with a column of answers and one of labels -> answer rows
    score_judge     answer rows with the judge's outcomes -> cells, whose system is the judge

    judge_precision   of the answers that the judge calls hallucinated, those that people do
    judge_recall      of the answers that people call hallucinated, those that the judge does
    judge_f1          harmonic mean of the two
    judge_kappa       Cohen's kappa, in [-1, 1]
    judge_agreement   equal verdicts

Labels made by people are not free of errors: the figures are agreement, not truth. An unparsed
verdict is a failed row. Intervals resample the questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from harness.core.errors import BadData
from harness.core.records import Cell, Record, Resampled
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats import agreement as stats
from harness.stats.bootstrap import cluster_counts
from harness.suites.hallucination.cells import question_cells
from harness.suites.hallucination.judging import Parser
from harness.suites.hallucination.metrics import judge_counts, read_answer
from harness.suites.ratios import ratio_cell
from harness.suites.scoring import CellMaker, CellParams, Tally, with_columns, write_cells

ANSWERS = ("response", "chatgpt_response", "model_answer")
LABELS = ("label", "hallucination")
_TRUE, _FALSE = ("yes", "1", "true"), ("no", "0", "false")


class LabelAnswersParams(Record):
    """Columns of the answers and of the labels; "" finds the usual ones."""

    answer: str = ""
    label: str = ""


@operation(
    "label_answers",
    version=1,
    params=LabelAnswersParams,
    rows="questions",
    batch_size=lambda _: 256,
    estimate=costs.rows_of("questions", responses=1),
)
def label_answers(
    context: Context,
    params: LabelAnswersParams,
    batches: Iterable[list[Row]],
    *,
    questions: Artifact,
) -> Iterator[list[Row]]:
    """Answer rows with `label`: 1 for an answer that people call hallucinated, else 0.

    Raises:
        BadData: a row without answer, or with a label other than yes and no, 1 and 0.
    """
    for batch in batches:
        yield [labelled(row, params) for row in batch]


def labelled(row: Row, params: LabelAnswersParams = LabelAnswersParams()) -> Row:  # noqa: B008
    """The answer row of one labelled row; raises as `label_answers`."""
    names: dict[str, tuple[str, ...]] = {
        "answer": (params.answer,) if params.answer else ANSWERS,
        "label": (params.label,) if params.label else LABELS,
    }
    places = {}
    for what, known in names.items():
        found = next((name for name in known if name in row), None)
        if found is None:
            raise BadData(
                f'row "{row["id"]}" has no {what}; expected a column {" or ".join(known)}'
            )
        places[what] = found
    answer, label = row[places["answer"]], _truth(row[places["label"]])
    if not isinstance(answer, str) or label is None:
        raise BadData(
            f'row "{row["id"]}": {places["answer"]} is {answer!r:.40} and {places["label"]} '
            f"{row[places['label']]!r:.40}; expected a text, and yes or no"
        )
    kept = {key: value for key, value in row.items() if key not in places.values()}
    return {**kept, "responses": [answer], "finish": ["stop"], "label": label}


def _truth(value: Any) -> int | None:
    if isinstance(value, float) and not value.is_integer():
        return None
    text = str(int(value) if isinstance(value, bool | float) else value).strip().lower()
    return 1 if text in _TRUE else 0 if text in _FALSE else None


class ScoreJudgeParams(CellParams):
    """parser: how the judge's replies were read."""

    parser: Parser = "robust"


@operation("score_judge", version=1, params=ScoreJudgeParams)
def score_judge(
    context: Context,
    params: ScoreJudgeParams,
    *,
    judgments: Artifact,
    questions: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one judge."""
    rows = sorted(judgments.rows(), key=lambda row: str(row["id"]))
    maker = question_cells(params, rows, questions, judgments=judgments, checkpoint=model)
    said = [read_answer(row, parser=params.parser).judged for row in rows]
    labels = [int(row["label"]) for row in rows]
    ids = [str(row["id"]) for row in rows]
    write_cells(context, judge_cells(maker, ids, said, labels, judge_counts(rows, "hallucination")))


def judge_cells(
    maker: CellMaker,
    ids: Sequence[str],
    said: Sequence[float | None],
    labels: Sequence[int],
    details: dict[str, int],
) -> list[Cell]:
    """Cells from the judge's verdicts, 1, 0 or None, and the labels, 1 or 0."""
    verdict = [None if score is None else float(score >= 0.5) for score in said]
    people = [float(label) for label in labels]
    shown = {**details, "called hallucinated by people": int(sum(people))}
    equal = [None if v is None else float(v == p) for v, p in zip(verdict, people, strict=True)]
    true = [None if v is None else float(v == p == 1) for v, p in zip(verdict, people, strict=True)]
    # F1 = 2 TP / (positives of the judge + positives of the people).
    positives = [0.0 if v is None else v + p for v, p in zip(verdict, people, strict=True)]
    more: dict[str, Any] = {"factor": 100, "details": shown}
    precision = [None if v is None else p for v, p in zip(verdict, people, strict=True)]
    return [
        maker.mean_cell("judge_precision", precision, ids, [v != 0 for v in verdict], **more),
        maker.mean_cell("judge_recall", verdict, ids, [p == 1 for p in people], **more),
        ratio_cell(maker, "judge_f1", ids, [_twice(t) for t in true], positives, details=shown),
        _kappa(maker, ids, verdict, people, shown),
        maker.mean_cell("judge_agreement", equal, ids, **more),
    ]


def _twice(value: float | None) -> float | None:
    return None if value is None else 2 * value


def _kappa(
    maker: CellMaker,
    ids: Sequence[str],
    verdict: Sequence[float | None],
    people: Sequence[float],
    details: dict[str, int],
) -> Cell:
    kept = [number for number, value in enumerate(verdict) if value is not None]
    tally = Tally(len(ids), len(kept))
    more: dict[str, Any] = {"unit": "-1 to 1", "details": details}
    if not kept:
        return maker.cell("judge_kappa", None, tally, **more)
    counts = stats.with_point(cluster_counts(maker.prompt_set, ids, maker.params.rounds))
    ours, theirs = ([int(side[n] or 0) for n in kept] for side in (verdict, people))
    labels = sorted({*ours, *theirs})
    confusion = np.zeros((len(ids), len(labels) ** 2))
    for number, own, other in zip(kept, ours, theirs, strict=True):
        confusion[number, labels.index(own) * len(labels) + labels.index(other)] = 1
    values = stats.kappa(stats.tables(ours, theirs, np.array(kept), counts))
    found = stats.estimate(values, maker.params.level, units=len(kept))
    return maker.cell(
        "judge_kappa",
        found.value,
        tally,
        interval=found.interval,
        replicates=found.replicates,
        resampled=with_columns(Resampled(units=len(kept)), "kappa", confusion),
        **more,
    )
