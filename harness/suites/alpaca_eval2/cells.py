"""The scoring operation of AlpacaEval 2: length-controlled win rate and win rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import check_planned
from harness.core.hashing import file_digest
from harness.core.records import Cell, Resampled
from harness.data import official
from harness.data.forms import instruction_id
from harness.engine.operations import Artifact, Context, operation
from harness.judging.records import Judged, read_judged
from harness.suites.alpaca_eval2.length_control import (
    Anchors,
    Mode,
    Rows,
    of_baseline,
)
from harness.suites.alpaca_eval2.metrics import (
    BASELINE_OUTPUTS,
    GAMED_TABLE,
    INSTRUCTION_TABLE,
    AlpacaScores,
    Reference,
    average_length,
    evaluate_board,
    lc_bounds,
    read_reference,
    reference_of,
)
from harness.suites.scoring import (
    CellMaker,
    CellParams,
    Tally,
    cell_maker,
    failures,
    sample_of,
    suspicious,
    write_cells,
)

MIDDLE = 2.5  # mean of the nano world's difficulties 1 to 4, see `difficulty_of`


class ScoreAlpacaParams(CellParams):
    """Parameters of the length control.

    Attributes:
        lc_mode: see `harness.suites.alpaca_eval2.length_control`.
        reference: the published tables, "official:alpaca_eval2" or a folder that contains them
            (df_gamed.csv and the order of the instructions), as source of anchors and difficulties;
            "" takes the anchors from judgments and the difficulties from the prompts.
        reference_digest: identity of the tables, see `reference_digest`.
    """

    lc_mode: Mode = "exact"
    reference: str = ""
    reference_digest: str = ""


def reference_digest(folder: str) -> str:
    """Content identity of the published tables in a folder or of an official set; "" for ""."""
    if not folder:
        return ""
    if official.is_official(folder):
        return official.table_identity(folder)
    names = (GAMED_TABLE, INSTRUCTION_TABLE, BASELINE_OUTPUTS)
    paths = [Path(folder) / name for name in names]
    return file_digest(*(path for path in paths if path.is_file()))


@operation("score_alpaca", version=2, params=ScoreAlpacaParams)
def score_alpaca(
    context: Context,
    params: ScoreAlpacaParams,
    *,
    judgments: Artifact,
    anchors: tuple[Artifact, ...] | Artifact = (),
    generations: Artifact | None = None,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system on AlpacaEval 2.

    `anchors` are judgments of the baseline's variants against the baseline. Without anchors the
    length control is fitted on the system alone; if any instruction has no difficulty, that term is
    omitted; the cell's details name the formula. A system whose answers all equal the baseline's is
    the baseline and gets 50 by definition, as published.
    """
    found = reference_digest(params.reference)
    check_planned(f"tables of {params.reference}", found, params.reference_digest)
    rows = read_judged(judgments.rows(), "alpaca")
    texts = {row.id: row.questions for row in rows}
    maker = cell_maker(
        params, texts, checkpoint=model, generations=generations, judgments=judgments
    )
    judged = [row for row in rows if row.preference is not None]
    if len(judged) < 2:
        tally = Tally(len(rows), len(judged))
        details = failures(rows) | suspicious(rows)
        cells = [maker.cell(name, None, tally, details=details) for name in _METRICS]
    else:
        tables = anchors if isinstance(anchors, tuple) else (anchors,)
        cells = _cells(maker, params, rows, tables)
    write_cells(context, cells)


_METRICS = ("lc_win_rate", "win_rate")


def _published(reference: str) -> Reference:
    if not official.is_official(reference):
        return read_reference(Path(reference))
    texts = [row["messages"][0]["content"] for row in official.prompts(reference)]
    return reference_of(official.gamed_table(reference), texts)


def _cells(
    maker: CellMaker, params: ScoreAlpacaParams, rows: list[Judged], tables: Sequence[Artifact]
) -> list[Cell]:
    formula, difficulty, anchor_rows = _terms(params, rows, tables)
    table = _table(rows, difficulty)
    pairs = [_answers(row) for row in rows]
    same = all(model == baseline for model, baseline in pairs)
    (scores,) = evaluate_board(
        [table],
        maker.prompt_set,
        anchors=anchor_rows,
        mode=params.lc_mode,
        formula=formula,
        results=[of_baseline(len(rows), params.lc_mode, formula)] if same else None,
        rounds=params.rounds,
        level=params.level,
    )
    shared = {
        "avg_length": average_length(model or "" for model, _ in pairs),
        "avg_length_baseline": average_length(baseline for _, baseline in pairs),
        **failures(rows),
        **suspicious(rows),
    }
    tally = Tally(scores.n_expected, scores.n_scored)
    span = None if same else (0.0, 100.0)
    sample = sample_of(100.0 * table.preferences, range(len(rows)), span=span)
    (bounds,) = lc_bounds(
        [table],
        [scores.length_controlled],
        anchors=anchor_rows,
        mode=params.lc_mode,
        formula=formula,
    )
    return [
        maker.cell(
            "lc_win_rate",
            scores.length_controlled.lc_win_rate,
            tally,
            interval=scores.lc_interval,
            replicates=scores.lc_replicates if scores.lc_identified else (),
            bounds=bounds,
            resampled=Resampled(units=sample.units, span=span),
            details=shared | _length_details(scores),
        ),
        maker.cell(
            "win_rate",
            scores.raw.win_rate,
            tally,
            interval=scores.interval,
            replicates=scores.replicates,
            bounds=scores.bounds,
            resampled=sample,
            details=shared | _count_details(scores),
        ),
    ]


def _terms(
    params: ScoreAlpacaParams, rows: list[Judged], tables: Sequence[Artifact]
) -> tuple[str, dict[str, float | None] | None, Anchors | None]:
    """The formula that the data allow, with the difficulties and anchors it needs."""
    if params.reference:
        published = _published(params.reference)
        by_text = dict(zip(published.ids, published.difficulty.tolist(), strict=True))
        difficulty = {row.id: by_text.get(instruction_id(row.questions[0])) for row in rows}
        anchors: Anchors | None = published.anchors
    else:
        difficulty = {row.id: difficulty_of(row) for row in rows}
        anchors = _anchors(tables, difficulty)
    if None in difficulty.values():
        return "length_controlled_minimal", None, None
    return "length_controlled_v1" if anchors else "length_controlled_noreg", difficulty, anchors


def difficulty_of(row: Judged) -> float | None:
    """Difficulty g of a prompt: its `instruction_difficulty`, else its item's level - 2.5.

    The published table has coefficients on the logit scale; on the nano world's prompts the four
    levels, centred, replace them.
    """
    known, level = (
        row.prompt_fields.get(name) for name in ("instruction_difficulty", "difficulty")
    )
    if known is not None:
        return float(known)
    return None if level is None else float(level) - MIDDLE


def _table(rows: Sequence[Judged], difficulty: Mapping[str, float | None] | None) -> Rows:
    """Judged rows as arrays."""
    found = [row.preference for row in rows]
    pairs = [_answers(row) for row in rows]
    return Rows(
        preferences=np.array([math.nan if p is None else p for p in found]),
        model_lengths=np.array([len(model or "") for model, _ in pairs], dtype=float),
        baseline_lengths=np.array([len(baseline) for _, baseline in pairs], dtype=float),
        difficulty=None
        if difficulty is None
        else np.array([difficulty[row.id] for row in rows], dtype=float),
    )


def _anchors(tables: Sequence[Artifact], difficulty: Mapping[str, float | None]) -> Anchors | None:
    """Rows of the baseline's variants; length gaps are standardised per variant, as published."""
    parts: list[tuple[float, float, float]] = []
    for artifact in tables:
        rows = read_judged(artifact.rows(), "alpaca")
        pairs = [_answers(row) for row in rows]
        gaps = np.array([len(baseline) - len(model or "") for model, baseline in pairs], float)
        spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
        scaled = gaps / spread if spread > 0 else np.zeros_like(gaps)
        for row, gap in zip(rows, scaled, strict=True):
            level = difficulty.get(row.id)
            if row.preference is not None and level is not None:
                parts.append((row.preference, float(gap), level))
    if not parts:
        return None
    preferences, gaps_used, levels = (np.array(column) for column in zip(*parts, strict=True))
    return Anchors(preferences, gaps_used, levels)


def _length_details(scores: AlpacaScores) -> dict[str, Any]:
    result = scores.length_controlled
    slopes = zip(result.columns, result.coefficients, strict=True)
    return {
        "lc_mode": result.mode,
        "C": result.strength,
        "folds": result.folds,
        "formula": result.formula,
        "lc_standard_error": result.standard_error,
        "standard_error": float(scores.lc_replicates.std(ddof=1)),
        "extreme_change": scores.extreme_change,
        **({} if scores.lc_identified else {"length:not_identified": True}),
        **{f"weight:{name}": weight for name, weight in slopes},
    }


def _count_details(scores: AlpacaScores) -> dict[str, Any]:
    raw = scores.raw
    return {
        "standard_error": raw.standard_error,
        "n_wins": raw.n_wins,
        "n_wins_base": raw.n_wins_base,
        "n_draws": raw.n_draws,
        "n_total": raw.n_total,
        "discrete_win_rate": raw.discrete_win_rate,
    }


def _answers(row: Judged) -> tuple[str | None, str]:
    """The model's answer and the baseline's."""
    turn = row.turns[0]
    return turn.answer, turn.baseline or ""
