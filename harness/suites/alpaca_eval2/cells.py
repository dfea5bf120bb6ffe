"""AlpacaEval 2 cells: length-controlled win rate and win rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import BadData
from harness.core.hashing import file_digest
from harness.core.records import Cell
from harness.data import official
from harness.data.forms import instruction_id
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.alpaca_eval2.length_control import (
    FORMULAS,
    Anchors,
    Mode,
    Rows,
    fit,
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
    read_reference,
    reference_of,
)
from harness.suites.scoring import (
    CellMaker,
    CellParams,
    Tally,
    cell_maker,
    failures,
    suspicious,
    write_cells,
)

MIDDLE = 2.5  # of the nano world's difficulties 1 to 4, see `difficulty_of`


class ScoreAlpacaParams(CellParams):
    """How length is controlled.

    Attributes:
        lc_mode: see `harness.suites.alpaca_eval2.length_control`.
        reference: the published tables, as "official:alpaca_eval2" or a folder that holds them
            (df_gamed.csv and the instructions' order): their anchors and difficulties are then
            used; "" takes anchors from judgments and difficulties from the prompts.
        reference_digest: of the tables, see `reference_digest`.
    """

    lc_mode: Mode = "exact"
    reference: str = ""
    reference_digest: str = ""


def reference_digest(folder: str) -> str:
    """What the published tables in a folder, or of a set, are; "" for no folder."""
    if not folder:
        return ""
    if official.is_official(folder):
        return official.table_identity(folder)
    names = (GAMED_TABLE, INSTRUCTION_TABLE, BASELINE_OUTPUTS)
    paths = [Path(folder) / name for name in names]
    return file_digest(*(path for path in paths if path.is_file()))


@operation("score_alpaca", version=1, params=ScoreAlpacaParams)
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
    length control is fitted on the system alone, and without a difficulty of every instruction it
    leaves that term out; the cell says which formula was used. A system whose every answer is the
    baseline's is the baseline: 50 by definition, as published.
    """
    if reference_digest(params.reference) != params.reference_digest:
        raise BadData(f"{params.reference}: the tables changed after the plan was made; plan again")
    rows = judgments.rows()
    texts = {row["id"]: [row["prompt"]] for row in rows}
    maker = cell_maker(
        params, texts, checkpoint=model, generations=generations, judgments=judgments
    )
    judged = [row for row in rows if row["preference"] is not None]
    if len(judged) < 2:
        tally = Tally(len(rows), len(judged))
        details = failures(_games(rows))
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
    maker: CellMaker, params: ScoreAlpacaParams, rows: list[Row], tables: Sequence[Artifact]
) -> list[Cell]:
    if params.reference:
        published = _published(params.reference)
        by_text = dict(zip(published.ids, published.difficulty.tolist(), strict=True))
        difficulty = {row["id"]: by_text.get(instruction_id(row["prompt"])) for row in rows}
        anchor_rows: Anchors | None = published.anchors
    else:
        difficulty = {row["id"]: difficulty_of(row) for row in rows}
        anchor_rows = _anchors(tables, difficulty)
    if None in difficulty.values():
        formula, anchor_rows = "length_controlled_minimal", None
    else:
        formula = "length_controlled_v1" if anchor_rows else "length_controlled_noreg"
    table = _table(rows, difficulty if FORMULAS[formula].difficulty else None)
    same = all(row["answers"]["model"] == row["answers"]["baseline"] for row in rows)
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
    lengths = [len(row["answers"]["model"] or "") for row in rows]
    shared = {
        "avg_length": average_length(lengths),
        "avg_length_baseline": average_length(row["answers"]["baseline"] for row in rows),
        **failures(_games(rows)),
        **suspicious(rows),
    }
    tally = Tally(scores.n_expected, scores.n_scored)
    lc_bounds = None
    if tally.failed:
        ends = [
            fit(
                _table(rows, difficulty if FORMULAS[formula].difficulty else None, missing=end),
                anchors=anchor_rows,
                mode=params.lc_mode,
                formula=formula,
            ).lc_win_rate
            for end in (1.0, 2.0)
        ]
        # The penalty may make the fit jump: the bounds hold the score itself in any case.
        ends.append(scores.length_controlled.lc_win_rate)
        lc_bounds = (min(ends), max(ends))
    return [
        maker.cell(
            "lc_win_rate",
            scores.length_controlled.lc_win_rate,
            tally,
            interval=scores.lc_interval,
            replicates=scores.lc_replicates,
            bounds=lc_bounds,
            details=shared | _length_details(scores),
        ),
        maker.cell(
            "win_rate",
            scores.raw.win_rate,
            tally,
            interval=scores.interval,
            replicates=scores.replicates,
            bounds=scores.bounds,
            details=shared | _count_details(scores),
        ),
    ]


def difficulty_of(row: Row) -> float | None:
    """Difficulty g of a prompt row: its `instruction_difficulty`, else its item's level - 2.5.

    The published table is a coefficient on the logit scale; the nano world's four levels, centred,
    stand in for it.
    """
    if row.get("instruction_difficulty") is not None:
        return float(row["instruction_difficulty"])
    return None if row.get("difficulty") is None else float(row["difficulty"]) - MIDDLE


def _table(
    rows: Sequence[Row],
    difficulty: Mapping[str, float | None] | None,
    missing: float = math.nan,
) -> Rows:
    """Judged rows as arrays; `missing` stands for the preference of a failed judgment."""
    found = [row["preference"] for row in rows]
    answers = [row["answers"] for row in rows]
    return Rows(
        preferences=np.array([missing if p is None else 1.0 + p for p in found]),
        model_lengths=np.array([len(pair["model"] or "") for pair in answers], dtype=float),
        baseline_lengths=np.array([len(pair["baseline"]) for pair in answers], dtype=float),
        difficulty=None
        if difficulty is None
        else np.array([difficulty[row["id"]] for row in rows], dtype=float),
    )


def _anchors(tables: Sequence[Artifact], difficulty: Mapping[str, float | None]) -> Anchors | None:
    """Rows of the baseline's variants; the length gap is standardised per variant, as published."""
    parts: list[tuple[float, float, float]] = []
    for artifact in tables:
        rows = artifact.rows()
        gaps = np.array(
            [len(r["answers"]["baseline"]) - len(r["answers"]["model"] or "") for r in rows], float
        )
        spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
        scaled = gaps / spread if spread > 0 else np.zeros_like(gaps)
        for row, gap in zip(rows, scaled, strict=True):
            level = difficulty.get(row["id"])
            if row["preference"] is not None and level is not None:
                parts.append((row["preference"], float(gap), level))
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


def _games(rows: Sequence[Row]) -> list[Row]:
    return [game for row in rows for game in row["games"]]
