"""Cells from published AlpacaEval annotations.

Input is the original annotations.json (a file, or a folder of model folders such as
results/<model>/<annotator>/annotations.json) or a parquet table with one row per judgment (model,
row, instruction_sha256_16, preference, len_model, len_baseline). Rows are joined to instructions by
content, never by position. A board has one judge and one baseline; a folder that mixes them is an
error.

Faults in the rows of a model:

    judgment failed (null, NaN, -1) or row absent    counted as failed; an error above 1 % of the
                                                     prompt set (published rows lack up to 3)
    preference outside [1, 2] (0 = an old draw)      error
    instruction repeated, or not in the set          error
    answer missing (null)                            error; empty answers are valid (and counted)

With `allow_partial`, errors become counts in the cell's details, and cells are marked `partial`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Cell, Resampled
from harness.suites.alpaca_eval2.annotation_files import SUITE, Annotations, read_annotations
from harness.suites.alpaca_eval2.length_control import (
    DEFAULT_FORMULA,
    LengthControlResult,
    Mode,
    Rows,
    fit_board,
    of_baseline,
)
from harness.suites.alpaca_eval2.metrics import (
    GAMED_TABLE,
    AlpacaScores,
    Reference,
    average_length,
    evaluate_board,
    lc_bounds,
    read_reference,
)
from harness.suites.scoring import sample_of

MISSING_LIMIT = 0.01


@dataclass(frozen=True)
class Coverage:
    """Numbers of faulty rows of one model.

    Attributes:
        absent: instructions without a row.
        unjudged: usable rows without a preference.
        out_of_range, repeated, foreign, unanswered: faulty rows by kind, see the module docstring.
        empty: usable rows with an empty answer.
        kept: indices of the usable rows, in file order.
        examples: fault -> description of its first row.
    """

    absent: int
    unjudged: int
    out_of_range: int
    repeated: int
    foreign: int
    unanswered: int
    empty: int
    kept: NDArray[np.int64] = field(repr=False)
    examples: dict[str, str] = field(default_factory=dict)

    def faults(self, expected: int) -> list[str]:
        """Reasons to reject the rows, each with its count and an example."""
        counts = {
            "preference outside [1, 2]": self.out_of_range,
            "repeated instruction": self.repeated,
            "instruction outside the set": self.foreign,
            "missing answer": self.unanswered,
        }
        faults = [
            f"{count} x {name} (e.g. {self.examples[name]})"
            for name, count in counts.items()
            if count
        ]
        failed = self.absent + self.unjudged
        if failed > MISSING_LIMIT * expected:
            faults.append(f"{failed} of {expected} instructions absent or unjudged")
        return faults


def published_board(
    path: Path,
    *,
    lc_mode: Mode = "exact",
    reference_data: Path | None = None,
    judge: str | None = None,
    models: Sequence[str] | None = None,
    allow_partial: bool = False,
    rounds: int = 1000,
) -> list[Cell]:
    """Cells of every model annotated below `path`, with scale "published".

    Per model: lc_win_rate and win_rate (primary), discrete_win_rate and avg_length; the other
    columns of the official leaderboard (standard errors, wins, draws, n_total) are in `details`.
    Intervals are 95 % bootstraps over instructions, with resamples shared by all models.

    Args:
        path: annotations.json, a parquet table, or a folder with either.
        lc_mode: `exact`, or `compat-legacy` / `compat-stable` to reproduce published figures;
            these also assign difficulties by row position, as the original does.
        reference_data: folder with df_gamed.csv and instruction_table.csv; default: searched
            beside the annotations and in an installed alpaca_eval package.
        judge, models: restrict the annotations to these.
        allow_partial: also score incomplete models, marked `partial`.
        rounds: bootstrap resamples.

    Raises:
        BadData: no annotations, mixed judges or baselines, faulty rows, or no reference data.
        MissingExtra: pyarrow (for parquet) or scikit-learn (for compat modes) is not installed.
    """
    found = read_annotations(path)
    if judge is not None:
        found = [item for item in found if item.judge == judge]
    if models is not None:
        found = [item for item in found if item.model in models]
    if not found:
        raise BadData(f"no annotations left below {path}; check the judge and model names")
    _one_board(found)
    reference = read_reference(find_reference(path, reference_data))
    known = frozenset(reference.ids)
    found = [item.joined(known) for item in found]
    covered = [inspect(item, reference) for item in found]
    for item, coverage in zip(found, covered):
        faults = coverage.faults(len(reference.ids))
        if faults and not allow_partial:
            raise BadData(
                f"{item.model} ({item.source}): {'; '.join(faults)}; correct the file, or score "
                "the remaining rows with --allow-partial"
            )
    aligned = [_align(item, coverage, reference) for item, coverage in zip(found, covered)]
    results = _length_controls(found, covered, aligned, reference, lc_mode)
    prompt_set = digest(list(reference.ids))
    scores = evaluate_board(
        aligned, prompt_set, anchors=reference.anchors, results=results, rounds=rounds
    )
    # Exact in every mode. An absent answer has the length of the baseline's.
    bounds = lc_bounds(aligned, results, anchors=reference.anchors)
    cells: list[Cell] = []
    for item, coverage, rows, score, own in zip(found, covered, aligned, scores, bounds):
        cells += _cells(item, coverage, score, rows, own, prompt_set, len(reference.ids))
    return cells


def find_reference(path: Path, given: Path | None = None) -> Path:
    """The folder that contains df_gamed.csv.

    Searched: `given` if set; otherwise the annotations' folder and its parents, then an installed
    alpaca_eval package.

    Raises:
        BadData: the file was not found.
    """
    if given is not None:
        folder = given if given.is_dir() else given.parent
        if not (folder / GAMED_TABLE).exists():
            raise BadData(f"{GAMED_TABLE} is not in {folder}")
        return folder
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.resolve().parents[:3]):
        if (folder / GAMED_TABLE).exists():
            return folder
    package = find_spec("alpaca_eval")
    for root in (package.submodule_search_locations or []) if package else []:
        for file in sorted(Path(root).rglob(GAMED_TABLE)):
            return file.parent
    raise BadData(
        f"{GAMED_TABLE} was not found beside {path}: length control needs it (hub data set "
        "tatsu-lab/alpaca_eval); give its folder with --reference-data"
    )


def inspect(item: Annotations, reference: Reference) -> Coverage:
    """Classify the rows of one model as usable or faulty."""
    known = set(reference.ids)
    seen: dict[str, int] = {}
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    kept = []
    for place, (id, preference) in enumerate(zip(item.ids, item.preferences)):
        fault = None
        if id not in known:
            fault = "instruction outside the set"
        elif id in seen:
            fault = "repeated instruction"
        elif math.isnan(item.model_lengths[place]) or math.isnan(item.baseline_lengths[place]):
            fault = "missing answer"
        elif not math.isnan(preference) and not 0.0 <= preference <= 1.0:
            fault = "preference outside [1, 2]"
            examples.setdefault(fault, f"{item.written(place)} in row {place}")
        first = seen.setdefault(id, place)
        if fault is None:
            kept.append(place)
        else:
            counts[fault] += 1
            rows = f"rows {first} and {place}" if first != place else f"row {place}"
            examples.setdefault(fault, f"{rows}, {id}")
    usable = np.array(kept, dtype=np.int64)
    return Coverage(
        absent=len(known) - len(known & seen.keys()),
        unjudged=int(np.isnan(item.preferences[usable]).sum()),
        out_of_range=counts["preference outside [1, 2]"],
        repeated=counts["repeated instruction"],
        foreign=counts["instruction outside the set"],
        unanswered=counts["missing answer"],
        empty=int((item.model_lengths[usable] == 0).sum()),
        kept=usable,
        examples=examples,
    )


def _one_board(found: Iterable[Annotations]) -> None:
    cures = {"judge": "choose one with --judge", "baseline": "keep one folder for each"}
    for what, cure in cures.items():
        names: dict[str, list[str]] = {}
        for item in found:
            names.setdefault(getattr(item, what), []).append(item.model)
        if len(names) > 1:
            listed = "; ".join(f"{name} ({len(ms)}, e.g. {ms[0]})" for name, ms in names.items())
            raise BadData(
                f"the annotations mix {len(names)} {what}s, which cannot be ranked together: "
                f"{listed}; {cure}"
            )


def _align(item: Annotations, coverage: Coverage, reference: Reference) -> Rows:
    """One row per instruction, in the order of the set; NaN where there is none."""
    place = {id: index for index, id in enumerate(reference.ids)}
    target = [place[item.ids[row]] for row in coverage.kept]
    preferences = np.full(len(place), np.nan)
    model_lengths, baseline_lengths = np.zeros(len(place)), np.zeros(len(place))
    preferences[target] = item.preferences[coverage.kept]
    model_lengths[target] = item.model_lengths[coverage.kept]
    baseline_lengths[target] = item.baseline_lengths[coverage.kept]
    try:
        return Rows(preferences, model_lengths, baseline_lengths, reference.difficulty)
    except BadData as error:
        raise BadData(f"{item.model} ({item.source}): {error}") from None


def _length_controls(
    found: Sequence[Annotations],
    covered: Sequence[Coverage],
    aligned: Sequence[Rows],
    reference: Reference,
    mode: Mode,
) -> list[LengthControlResult]:
    """Length-controlled fits of all models; the baseline against itself needs no fit."""
    inputs = []
    for item, coverage, rows in zip(found, covered, aligned):
        if mode != "exact":
            # As in the original: rows in file order, difficulty by position. If an instruction is
            # absent, the difficulties of all later rows are shifted.
            kept = coverage.kept
            rows = Rows(
                item.preferences[kept],
                item.model_lengths[kept],
                item.baseline_lengths[kept],
                reference.difficulty[: len(kept)],
            )
        inputs.append(rows)
    others = [k for k, item in enumerate(found) if item.model != item.baseline]
    fits = fit_board([inputs[k] for k in others], anchors=reference.anchors, mode=mode)
    results: list[LengthControlResult] = [
        of_baseline(len(rows.preferences), mode, DEFAULT_FORMULA) for rows in inputs
    ]
    for k, result in zip(others, fits):
        results[k] = result
    return results


def _cells(
    item: Annotations,
    coverage: Coverage,
    score: AlpacaScores,
    rows: Rows,
    bounds: tuple[float, float] | None,
    prompt_set: str,
    expected: int,
) -> list[Cell]:
    raw, lc = score.raw, score.length_controlled
    shared: dict[str, Any] = {
        "system": item.model,
        "suite": SUITE,
        "n_expected": score.n_expected,
        "n_scored": score.n_scored,
        "n_failed": score.n_expected - score.n_scored,
        "scale": "published",
        "judge": item.judge,
        "judge_fingerprint": digest(["published", item.judge, item.baseline]),
        "decode_fingerprint": None,
        "prompt_set": prompt_set,
    }
    notes = {
        "baseline": item.baseline,
        "partial": bool(coverage.faults(expected)),
        "n_absent": coverage.absent,
        "n_unjudged": coverage.unjudged,
        "n_out_of_range": coverage.out_of_range,
        "n_repeated": coverage.repeated,
        "n_foreign": coverage.foreign,
        "n_unanswered": coverage.unanswered,
        "n_empty_answers": coverage.empty,
    }
    official = {
        "win_rate": raw.win_rate,
        "standard_error": raw.standard_error,
        "n_wins": raw.n_wins,
        "n_wins_base": raw.n_wins_base,
        "n_draws": raw.n_draws,
        "n_total": raw.n_total,
        "discrete_win_rate": raw.discrete_win_rate,
        "avg_length": average_length(int(n) for n in item.model_lengths[coverage.kept]),
        "length_controlled_winrate": lc.lc_win_rate,
        "lc_standard_error": lc.standard_error,
    }
    fitted = {
        "lc_mode": lc.mode,
        "lc_folds": lc.folds,
        "lc_C": lc.strength,
        **{f"lc_weight_{name}": w for name, w in zip(lc.columns, lc.coefficients)},
        "extreme_change": score.extreme_change,
        **({} if score.lc_identified else {"length:not_identified": True}),
    }
    span = None if lc.strength is None else (0.0, 100.0)
    sample = sample_of(100.0 * rows.preferences, range(len(rows.preferences)), span=span)
    return [
        Cell(
            metric="lc_win_rate",
            value=lc.lc_win_rate,
            interval=score.lc_interval,
            bounds=bounds,
            resampled=Resampled(units=sample.units, span=span),
            replicates=tuple(score.lc_replicates.tolist()) if score.lc_identified else (),
            details={**official, **fitted, **notes},
            **shared,
        ),
        Cell(
            metric="win_rate",
            value=raw.win_rate,
            interval=score.interval,
            bounds=score.bounds,
            resampled=sample,
            replicates=tuple(score.replicates.tolist()),
            details={**official, **notes},
            **shared,
        ),
        Cell(
            metric="discrete_win_rate",
            value=raw.discrete_win_rate,
            primary=False,
            details=notes,
            **shared,
        ),
        Cell(
            metric="avg_length",
            value=float(official["avg_length"]),
            unit="characters",
            primary=False,
            details=notes,
            **shared,
        ),
    ]
