"""The scoring operation of MT-Bench: mean ratings, and win rates from pairwise verdicts."""

from __future__ import annotations

from harness.core.records import Cell
from harness.engine.operations import Artifact, Context, operation
from harness.judging.frames import Kind
from harness.judging.records import Game, Judged, read_judged
from harness.judging.verdicts import RATING_SCALE
from harness.suites.mt_bench.metrics import (
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
    sample_of,
    suspicious,
    write_cells,
)

UNIT = "points"
_SYSTEM, _BASELINE = "system", "baseline"  # names of the two sides in `PairRecord`
_KIND = "bootstrap over questions"


class ScoreMTBenchParams(CellParams):
    """pairwise_fingerprint: fingerprint of the pairwise judge, for the cells of its verdicts."""

    pairwise_fingerprint: str | None = None


@operation("score_mt_bench", version=2, params=ScoreMTBenchParams)
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
    # Sorted like `aggregate_single`, so that all cells apply the same draws to the same questions.
    rows = _sorted(judgments, "rating")
    texts = {row.id: row.questions for row in rows}
    links = {"checkpoint": model, "generations": generations}
    maker = cell_maker(params, texts, judgments=judgments, **links)
    cells = rating_cells(maker, params, rows)
    if pairwise is not None:
        told = params.model_copy(update={"judge_fingerprint": params.pairwise_fingerprint})
        other = cell_maker(told, texts, judgments=pairwise, **links)
        cells += pairwise_cells(other, _sorted(pairwise, "pairwise"))
    write_cells(context, cells)


def _sorted(judgments: Artifact, kind: Kind) -> list[Judged]:
    return sorted(read_judged(judgments.rows(), kind), key=lambda row: row.id)


def rating_cells(maker: CellMaker, params: ScoreMTBenchParams, rows: list[Judged]) -> list[Cell]:
    """The cells of one system's ratings, from rows sorted by id, one for each question."""
    graded = {
        (row.id, number): row.value(turn)
        for row in rows
        for number, turn in enumerate(row.turns, 1)
    }
    turns = sorted({number for _, number in graded})
    categories: dict[int | str, str] = {
        row.id: row.prompt_fields.get("category") or "none" for row in rows
    }
    (line,) = aggregate_single(
        [Rating(id, params.system, turn, score) for (id, turn), score in graded.items()],
        categories,
        maker.prompt_set,
        questions=list(categories),
        turns=turns,
        rounds=params.rounds,
        level=params.level,
    )
    units = [row.id for row in rows for _ in turns]
    score = maker.cell(
        "score",
        line.average,
        Tally(line.n_expected, line.n_scored),
        replicates=line.replicates,
        interval=line.interval,
        bounds=line.bounds,
        resampled=sample_of(line.grid.reshape(-1), units, span=RATING_SCALE),
        unit=UNIT,
        details={
            "standard_error": line.standard_error,
            "mean_of_turns": line.mean_of_turns,
            **failures(rows),
            **suspicious(rows),
        },
    )
    values = [graded.get((row.id, turn)) for row in rows for turn in turns]

    def part(metric: str, among: list[bool]) -> Cell:
        return maker.mean_cell(
            metric, values, units, among, span=RATING_SCALE, unit=UNIT, primary=False, kind=_KIND
        )

    cells = [score]
    for turn in turns:
        cells.append(part(f"turn_{turn}", [n == turn for _ in categories for n in turns]))
    for name in dict.fromkeys(categories.values()):
        cells.append(part(f"category:{name}", [categories[id] == name for id in units]))
    return cells


def pairwise_cells(maker: CellMaker, rows: list[Judged]) -> list[Cell]:
    """The cells of one system's verdicts against a baseline, from rows sorted by id."""
    records = [
        PairRecord(
            question_id=row.id,
            model_1=_SYSTEM,
            model_2=_BASELINE,
            g1_winner=_winner(turn.games[0]),
            g2_winner=_winner(turn.games[1]),
            turn=number,
        )
        for row in rows
        for number, turn in enumerate(row.turns, 1)
    ]
    line = aggregate_pairs(records, _BASELINE)[_SYSTEM]
    found = [pair_outcome(r.g1_winner, r.g2_winner, model_first=True) for r in records]
    units = [record.question_id for record in records]
    details = {"win": line.win, "loss": line.loss, "tie": line.tie}
    details |= failures(rows) | suspicious(rows)
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


def _winner(game: Game) -> str:
    """The winner of a game in the original's terms; model_1 is the system."""
    share = game.model_share
    return "error" if share is None else {1.0: "model_1", 0.5: "tie", 0.0: "model_2"}[share]
