"""Cells of a judge's agreement with reference verdicts, so that boards show it like any score.

The row of the board is the judge. The cell's judge is the reference, and its fingerprint a digest
of the reference's verdicts: judges measured against different references are never ranked together.
"""

from __future__ import annotations

from harness.core.hashing import digest
from harness.core.records import Cell, Resampled
from harness.judging.agreement import BOTH, JUDGE, REFERENCE, Agreement, Figure

SUITE = "judge_agreement"
PRIMARY = (
    "agreement",
    "kappa",
    "kappa_quadratic",
    "label_kappa_quadratic",
    "spearman",
    "precision",
    "recall",
)
_LOWER_IS_BETTER = frozenset(("contradictions",))


def cells(found: Agreement) -> list[Cell]:
    """One cell per figure of the judge, or of both sides together."""
    return [_cell(found, figure) for figure in found.figures if figure.of in (JUDGE, BOTH)]


def _cell(found: Agreement, figure: Figure) -> Cell:
    judged, reference = found.judged, found.reference
    other = found.figure(figure.name, REFERENCE)
    details: dict[str, float | int | str | bool | None] = {
        "n": figure.n,
        "systems": len(found.systems),
        "only_judged": found.joined.only_judged,
        "only_reference": found.joined.only_reference,
        "other_answers": found.joined.other_answers,
        "fingerprint": judged.fingerprint or None,
    }
    if other is not None:
        details["reference"] = other.value
    expected = found.n_scored + found.n_failed
    return Cell(
        system=judged.judge,
        suite=f"{SUITE}:{judged.suite}",
        metric=f"judge_{figure.name}",
        unit=figure.unit,
        value=figure.value,
        interval=figure.interval,
        n_expected=expected,
        n_scored=found.n_scored,
        n_failed=found.n_failed,
        bounds=_bounds(found, figure),
        scale="nano" if "nano" in (judged.scale, reference.scale) else judged.scale,
        judge=reference.judge,
        judge_fingerprint=_reference_digest(found),
        decode_fingerprint=None,
        prompt_set=found.prompt_set,
        replicates=tuple(figure.estimate.replicates.tolist()),
        resampled=Resampled(units=figure.prompts) if figure.value is not None else None,
        higher_is_better=figure.name not in _LOWER_IS_BETTER,
        primary=figure.name in PRIMARY,
        details=details,
    )


def _bounds(found: Agreement, figure: Figure) -> tuple[float, float] | None:
    """The share of equal verdicts if all failed ones differed, and if none did."""
    if not found.n_failed or figure.name != "agreement" or figure.value is None:
        return None
    equal, total = figure.value * found.n_scored, found.n_scored + found.n_failed
    return (equal / total, (equal + 100.0 * found.n_failed) / total)


def _reference_digest(found: Agreement) -> str:
    said = [(p.unit, p.system, p.turn, p.reference.value) for p in found.joined.pairs]
    return digest([found.reference.judge, found.reference.fingerprint, said])[:16]
