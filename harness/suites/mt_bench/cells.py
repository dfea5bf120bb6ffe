"""MT-Bench cells: score, turns and categories from ratings; win rates from pairwise verdicts."""

from __future__ import annotations

from harness.core.records import Cell
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.mt_bench.metrics import (
    SCALE,
    PairRecord,
    Rating,
    aggregate_pairs,
    aggregate_single,
    pair_outcome,
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

UNIT = "points"
_SYSTEM, _BASELINE = "system", "baseline"  # the two sides, whatever the system is called
_KIND = "bootstrap over questions"


class ScoreMTBenchParams(CellParams):
    """pairwise_fingerprint: of the pairwise judge, for the cells made from its verdicts."""

    pairwise_fingerprint: str | None = None


@operation("score_mt_bench", version=1, params=ScoreMTBenchParams)
def score_mt_bench(
    context: Context,
    params: ScoreMTBenchParams,
    *,
    judgments: Artifact,
    pairwise: Artifact | None = None,
    generations: Artifact | None = None,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system on MT-Bench."""
    # The order of `aggregate_single`, so that all cells apply the same draws to the same questions.
    rows = sorted(judgments.rows(), key=lambda row: str(row["id"]))
    texts = {row["id"]: [turn["question"] for turn in row["turns"]] for row in rows}
    links = {"checkpoint": model, "generations": generations}
    maker = cell_maker(params, texts, judgments=judgments, **links)
    cells = _rating_cells(maker, params, rows)
    if pairwise is not None:
        told = params.model_copy(update={"judge_fingerprint": params.pairwise_fingerprint})
        other = cell_maker(told, texts, judgments=pairwise, **links)
        cells += _pairwise_cells(other, pairwise.rows())
    write_cells(context, cells)


def _rating_cells(maker: CellMaker, params: ScoreMTBenchParams, rows: list[Row]) -> list[Cell]:
    turns = sorted({turn["turn"] for row in rows for turn in row["turns"]})
    graded = {(row["id"], turn["turn"]): turn["verdict"] for row in rows for turn in row["turns"]}
    categories: dict[int | str, str] = {row["id"]: row.get("category") or "none" for row in rows}
    (line,) = aggregate_single(
        [Rating(id, params.system, turn, score) for (id, turn), score in graded.items()],
        categories,
        maker.prompt_set,
        questions=list(categories),
        turns=turns,
        rounds=params.rounds,
        level=params.level,
    )
    score = maker.cell(
        "score",
        line.average,
        Tally(line.n_expected, line.n_scored),
        replicates=line.replicates,
        interval=line.interval,
        bounds=line.bounds,
        unit=UNIT,
        details={
            "standard_error": line.standard_error,
            "mean_of_turns": line.mean_of_turns,
            **failures([turn for row in rows for turn in row["turns"]]),
            **suspicious(rows),
        },
    )
    units = [id for id in categories for _ in turns]
    values = [_legal(graded.get((id, turn))) for id in categories for turn in turns]

    def part(metric: str, among: list[bool]) -> Cell:
        return maker.mean_cell(
            metric, values, units, among, span=SCALE, unit=UNIT, primary=False, kind=_KIND
        )

    cells = [score]
    for turn in turns:
        cells.append(part(f"turn_{turn}", [n == turn for _ in categories for n in turns]))
    for name in dict.fromkeys(categories.values()):
        cells.append(part(f"category:{name}", [categories[id] == name for id in units]))
    return cells


def _legal(score: float | None) -> float | None:
    """A rating outside 1..10 (the compat parser lets it pass) counts as missing."""
    return score if score is not None and SCALE[0] <= score <= SCALE[1] else None


def _pairwise_cells(maker: CellMaker, rows: list[Row]) -> list[Cell]:
    rows = sorted(rows, key=lambda row: str(row["id"]))
    records = [
        PairRecord(
            question_id=row["id"],
            model_1=_SYSTEM,
            model_2=_BASELINE,
            g1_winner=_named(turn["games"][0]),
            g2_winner=_named(turn["games"][1]),
            turn=turn["turn"],
        )
        for row in rows
        for turn in row["turns"]
    ]
    line = aggregate_pairs(records, _BASELINE)[_SYSTEM]
    found = [pair_outcome(r.g1_winner, r.g2_winner, model_first=True) for r in records]
    units = [record.question_id for record in records]
    details = {"win": line.win, "loss": line.loss, "tie": line.tie}
    details |= failures([game for row in rows for turn in row["turns"] for game in turn["games"]])
    cells = []
    for metric, tie in (("win_rate", 0.0), ("win_rate_adjusted", 0.5)):
        worth = {"win": 1.0, "loss": 0.0, "tie": tie, "error": None}
        values = [worth[outcome] for outcome in found]
        cells.append(
            maker.mean_cell(
                metric, values, units, factor=100.0, primary=False, kind=_KIND, details=details
            )
        )
    return cells


def _named(game: Row) -> str:
    """The winner of a game by the original's names; model_1 is the system."""
    if game["verdict"] is None:
        return "error"
    if game["verdict"] == "tie":
        return "tie"
    first_won = game["verdict"] == "A"
    return "model_1" if first_won == (game["first"] == "model") else "model_2"
