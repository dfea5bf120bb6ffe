"""The scoring operation of Arena-Hard: score, Bradley-Terry and style-controlled win rates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from harness.core.records import Cell, Interval, Resampled
from harness.engine.operations import Artifact, Context, operation
from harness.judging.records import Judged, read_judged
from harness.stats.bootstrap import NOT_IDENTIFIED, OVER_PROMPTS
from harness.stats.bradley_terry import fit_style
from harness.suites.arena_hard.equal_style import equal_style
from harness.suites.arena_hard.metrics import (
    ArenaScore,
    GamePair,
    GameTable,
    category_scores,
    leaderboard,
    prompt_counts,
    scored_units,
    tabulate,
)
from harness.suites.arena_hard.style import FEATURES, style_vector
from harness.suites.scoring import (
    CellMaker,
    CellParams,
    Tally,
    cell_maker,
    failures,
    percent,
    sample_of,
    suspicious,
    write_cells,
)

StyleFeature = Literal["length", "header", "list", "bold"]
OVER_CLUSTERS = "bootstrap over prompt clusters"


class ScoreArenaParams(CellParams):
    """Parameters of `score_arena`, see `harness.suites.arena_hard.suite`."""

    weight: int = Field(default=3, ge=1)
    style_features: tuple[StyleFeature, ...] = FEATURES  # type: ignore[assignment]
    bootstrap: Literal["clusters", "rows"] = "clusters"
    by_category: bool = False


@operation("score_arena", version=2, params=ScoreArenaParams)
def score_arena(
    context: Context,
    params: ScoreArenaParams,
    *,
    judgments: Artifact,
    generations: Artifact | None = None,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system on Arena-Hard.

    The style-controlled win rate is that of a system judged alone, see
    `harness.suites.arena_hard.equal_style`. (The original fits all systems of a folder jointly and
    evaluates at their average style, see `harness.suites.arena_hard.style`.) Lengths are counted in
    words.
    """
    rows = read_judged(judgments.rows(), "arena")
    texts = {row.id: row.questions for row in rows}
    maker = cell_maker(
        params, texts, checkpoint=model, generations=generations, judgments=judgments
    )
    write_cells(context, arena_cells(maker, params, rows))


def arena_cells(maker: CellMaker, params: ScoreArenaParams, rows: list[Judged]) -> list[Cell]:
    """The cells of one system from its judged rows, one for each prompt of the set."""
    table = _tabulated(params, rows)
    clusters = _clusters(rows)
    cells = _score_cells(maker, params, table, rows, clusters)
    if params.by_category:
        cells += _category_cells(maker, params, rows, clusters)
    if params.style_features and table.rows.sum() > 0:
        cells.append(_style_cell(maker, params, table, rows, clusters))
    cells.append(_contradiction_cell(maker, rows, clusters))
    return cells


def _tabulated(params: ScoreArenaParams, rows: list[Judged]) -> GameTable:
    return tabulate(
        [GamePair(row.id, params.system, _labels(row)) for row in rows],
        weight=params.weight,
        uids=[row.id for row in rows],
    )


def _labels(row: Judged) -> tuple[str | None, str | None]:
    """The labels of the two games; None where one failed."""
    first, second = (None if g.verdict is None else str(g.verdict) for g in row.games)
    return first, second


def _clusters(rows: list[Judged]) -> dict[str, str] | None:
    """Topic of each prompt; None unless all rows have one."""
    found = {
        row.id: str(row.prompt_fields["cluster"]) for row in rows if "cluster" in row.prompt_fields
    }
    return found if len(found) == len(rows) else None


def _score_cells(
    maker: CellMaker,
    params: ScoreArenaParams,
    table: GameTable,
    rows: list[Judged],
    clusters: Mapping[str, str] | None,
) -> list[Cell]:
    line, score = _scored(maker, params, table, clusters)
    details = {
        "n_rows": line.n_rows,
        "weight": params.weight,
        "first_shown_share": line.first_share,
        "missing_game_1": line.missing_games[0],
        "missing_game_2": line.missing_games[1],
        **_category_details(table, rows, params.system),
        **failures(rows),
        **suspicious(rows),
    }
    # With a single baseline the Bradley-Terry win rate is the mean of the rows, so it shares the
    # replicates; it is fitted nevertheless, as a visible check.
    win_rate = None
    if line.score is not None:
        none = np.zeros((*table.rows.shape, 0))
        fit = fit_style(none, table.wins, table.rows.astype(np.float64))
        win_rate = 100 * float(fit.win_rates[0])
    return [
        score("score", _percent(line.score), details=details),
        score("bt_win_rate", win_rate, primary=False),
    ]


def _scored(
    maker: CellMaker,
    params: ScoreArenaParams,
    table: GameTable,
    clusters: Mapping[str, str] | None,
) -> tuple[ArenaScore, partial[Cell]]:
    """The score of a table, and a maker of cells with its interval, counts and bounds."""
    by_rows = params.bootstrap == "rows"
    line = leaderboard(
        table,
        maker.prompt_set,
        rounds=params.rounds,
        level=params.level,
        resample="rows" if by_rows else "prompts",
        clusters=None if by_rows else clusters,
        seed=params.seed,
    )[0]
    interval = percent(line.interval)
    if interval is not None and clusters is not None and not by_rows:
        interval = interval.model_copy(update={"kind": OVER_CLUSTERS})
    sample = None
    if line.score is not None and not by_rows:
        scored = np.where(table.complete[0], 100 * table.wins[0], np.nan)
        names = table.uids if clusters is None else [clusters[uid] for uid in table.uids]
        sample = sample_of(scored, names, table.rows[0].astype(float), (0.0, 100.0))
    return line, partial(
        maker.cell,
        tally=Tally(line.n_expected, line.n_scored),
        interval=interval,
        resampled=sample,
        replicates=100 * line.replicates if line.score is not None else (),
        bounds=None if line.bounds is None else (100 * line.bounds[0], 100 * line.bounds[1]),
    )


def _category_cells(
    maker: CellMaker,
    params: ScoreArenaParams,
    rows: list[Judged],
    clusters: Mapping[str, str] | None,
) -> list[Cell]:
    """The score of each category; no cells if all prompts belong to one category."""
    categories = {row.id: row.prompt_fields.get("category") for row in rows}
    names = sorted({name for name in categories.values() if name})
    cells = []
    for name in names if len(names) > 1 else ():
        table = _tabulated(params, [row for row in rows if categories[row.id] == name])
        line, score = _scored(maker, params, table, clusters)
        cells.append(score(f"score:{name}", _percent(line.score), primary=False))
    return cells


def _category_details(table: GameTable, rows: list[Judged], system: str) -> dict[str, float]:
    categories = {row.id: name for row in rows if (name := row.prompt_fields.get("category"))}
    if len(categories) < len(rows):
        return {}
    return {
        f"category:{name}": 100 * shares[system]
        for name, shares in category_scores(table, categories).items()
    }


def _style_cell(
    maker: CellMaker,
    params: ScoreArenaParams,
    table: GameTable,
    rows: list[Judged],
    clusters: Mapping[str, str] | None,
) -> Cell:
    by_id = {row.id: row.turns[0] for row in rows}
    turns = [by_id[uid] for uid in table.uids]
    counts = [
        np.array([style_vector(text or "") for text in texts])
        for texts in ([turn.answer for turn in turns], [turn.baseline for turn in turns])
    ]
    drawn = prompt_counts(table, maker.prompt_set, params.rounds, clusters)
    found = equal_style(table, counts[0], counts[1], params.style_features, drawn)
    details: dict[str, Any] = {f"slope:{name}": slope for name, slope in found.slopes.items()}
    interval = None
    if found.not_identified:
        details["style:not_identified"] = ", ".join(found.not_identified)
        interval = Interval(low=0.0, high=100.0, level=params.level, kind=NOT_IDENTIFIED)
    bounds = found.bounds and (100 * found.bounds[0], 100 * found.bounds[1])
    return maker.cell(
        "style_controlled",
        100 * found.win_rate,
        Tally(int(table.expected.sum()), int(table.complete.sum())),
        replicates=() if found.not_identified else 100 * found.replicates,
        interval=interval,
        bounds=bounds,
        resampled=Resampled(units=scored_units(table, 0, clusters), span=(0.0, 100.0)),
        primary=False,
        kind=OVER_PROMPTS if clusters is None else OVER_CLUSTERS,
        details=details,
    )


def _contradiction_cell(
    maker: CellMaker, rows: list[Judged], clusters: Mapping[str, str] | None
) -> Cell:
    """Share of prompts whose two games have different winners (both shown first, or second)."""
    ordered = sorted(rows, key=lambda row: row.id)
    values = [_contradicts(*_labels(row)) for row in ordered]
    units = [clusters[row.id] if clusters else row.id for row in ordered]
    return maker.mean_cell(
        "contradiction_rate", values, units, factor=100.0, primary=False, higher_is_better=False
    )


def _contradicts(first: str | None, second: str | None) -> float | None:
    if first is None or second is None:
        return None
    winners = [_winner(label) for label in (first, second)]
    return float(winners[0] == winners[1] != 0)


def _winner(label: str) -> int:
    """1 if A wins, -1 if B wins, 0 for a tie; accepts synonyms such as A<B."""
    sign = 1 if ">" in label else -1 if "<" in label else 0
    return sign if label.startswith("A") else -sign


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
