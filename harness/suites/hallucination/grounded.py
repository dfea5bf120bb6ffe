"""The operations `rouge_answers` and `score_rouge`: answers against reference texts.

    rouge1, rouge2, rougeL, rougeLsum      mean F1 x100, no stemming; an answer alone is not enough:
                                           a question without a reference is a failed row
    rouge1_unicode, ...                    the same with words of every script

The released code reports the median of bootstrap resamples instead of the mean, which differs from
run to run; here the value is the mean and the interval a bootstrap with fixed draws.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.hallucination.cells import question_cells
from harness.suites.hallucination.prompts import answer_of
from harness.suites.hallucination.rouge import NAMES, Rule, is_unscorable, rouge
from harness.suites.scoring import CellParams, write_cells

_LOG = logging.getLogger(__name__)
BATCH = 64


class RougeParams(Record):
    """How to score.

    Attributes:
        rule: which references count, see `harness.suites.hallucination.rouge.rouge`.
        unicode: also score words of every script.
    """

    rule: Rule = "last"
    unicode: bool = False


@operation(
    "rouge_answers",
    version=1,
    params=RougeParams,
    rows="answers",
    batch_size=lambda _: BATCH,
    estimate=costs.rows_of("answers"),
)
def rouge_answers(
    context: Context, params: RougeParams, batches: Iterable[list[Row]], *, answers: Artifact
) -> Iterator[list[Row]]:
    """Add `rouge`: score by metric, or None without an answer or a reference.

    Raises:
        MissingExtra: rouge-score is not installed.
    """
    for batch in batches:
        yield [{**row, "rouge": _scores(row, params)} for row in batch]


def _scores(row: Row, params: RougeParams) -> dict[str, float] | None:
    text, references = answer_of(row), row.get("references") or []
    if text is None or row.get("error"):
        return None
    found = rouge(text, references, params.rule)
    if found is None or not params.unicode:
        return found
    wide = rouge(text, references, params.rule, unicode=True) or {}
    return found | {f"{name}_unicode": value for name, value in wide.items()}


@operation("score_rouge", version=1, params=CellParams)
def score_rouge(
    context: Context,
    params: CellParams,
    *,
    samples: Artifact,
    generations: Artifact,
    questions: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system; warn about texts that rouge-score cannot read."""
    rows = sorted(samples.rows(), key=lambda row: str(row["id"]))
    links = {"samples": samples, "generations": generations, "checkpoint": model}
    maker = question_cells(params, rows, questions, **links)
    details = {
        "n_without_reference": sum(not row.get("references") for row in rows),
        "n_without_latin_letters": sum(map(_is_blind, rows)),
    }
    if details["n_without_latin_letters"]:
        _LOG.warning(
            "%s: %d of %d rows have a text without the letters a to z, which ROUGE scores 0 "
            "whatever it says; rouge_unicode = true adds scores over words of every script",
            params.suite,
            details["n_without_latin_letters"],
            len(rows),
        )
    details = {name: number for name, number in details.items() if number}
    scored = [row["rouge"] for row in rows]
    wide = any(scores and f"{NAMES[0]}_unicode" in scores for scores in scored)
    metrics = [*NAMES, *(f"{name}_unicode" for name in NAMES if wide)]
    ids = [row["id"] for row in rows]
    cells = [
        maker.mean_cell(
            name,
            [None if scores is None else scores[name] for scores in scored],
            ids,
            factor=100,
            unit="F1 x100",
            details=details,
            primary=name in NAMES,
        )
        for name in metrics
    ]
    write_cells(context, cells)


def _is_blind(row: Row) -> bool:
    return any(map(is_unscorable, [answer_of(row) or "", *(row.get("references") or [])]))
