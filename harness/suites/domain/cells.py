"""The scoring operation of judged domains: beat rate, outcomes, position bias, unparsed reviews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from harness.core.records import Cell
from harness.engine.operations import Artifact, Context, operation
from harness.judging.judge import ParserMode
from harness.judging.records import Game, Judged, read_judged
from harness.suites.domain.judging import Orders
from harness.suites.domain.metrics import (
    Outcome,
    contradicts,
    count,
    first_shown_share,
    outcome,
)
from harness.suites.domain.verdicts_released import has_pattern
from harness.suites.ratios import ratio_cell
from harness.suites.scoring import (
    CellMaker,
    CellParams,
    cell_maker,
    failures,
    suspicious,
    write_cells,
)

_FAILED = "the judge failed"  # a game without any reply of the judge


class ScoreDomainParams(CellParams):
    """Parameters of `score_domain`, see `harness.suites.domain.suite`.

    Attributes:
        names: of the baselines of further judgments.
    """

    names: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    parser: ParserMode = "strict"
    orders: Orders = "both"


@operation("score_domain", version=1, params=ScoreDomainParams)
def score_domain(
    context: Context,
    params: ScoreDomainParams,
    *,
    judgments: Artifact,
    others: tuple[Artifact, ...] = (),
    generations: Artifact | None = None,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system against a baseline, and its beat rate against others."""
    cells = []
    for name, played in zip(("", *params.names), (judgments, *others), strict=True):
        rows = sorted(read_judged(played.rows(), "pairwise"), key=lambda row: row.id)
        maker = cell_maker(
            params,
            {row.id: row.questions for row in rows},
            checkpoint=model,
            generations=generations,
            judgments=played,
        )
        found = domain_cells(maker, params, rows)
        named = {"metric": f"{found[0].metric}:{name}", "primary": False}
        cells += [found[0].model_copy(update=named)] if name else found
    write_cells(context, cells)


def domain_cells(maker: CellMaker, params: ScoreDomainParams, rows: Sequence[Judged]) -> list[Cell]:
    """The cells of judged rows, the beat rate first."""
    ids = [row.id for row in rows]
    found = [outcome(row.games) for row in rows]
    counts = count(found)
    details: dict[str, Any] = {"win": counts.win, "tie": counts.tie, "lose": counts.lose}
    details |= {"orders": params.orders, "parser": params.parser}
    more: dict[str, Any] = {"factor": 100.0, "primary": False}
    cells = [
        ratio_cell(
            maker,
            "beat_rate",
            ids,
            [None if name is None else float(name == "win") for name in found],
            [float(name in ("win", "lose")) for name in found],
            most=1.0,
            units=counts.win + counts.lose,  # many ties must not make few wins look certain
            details=details | failures(rows) | suspicious(rows),
        )
    ]
    for name, better in (("win", True), ("tie", None), ("lose", False)):
        values = _shares(found, name)
        cells.append(
            maker.mean_cell(
                f"{name}_rate", values, ids, higher_is_better=better is not False, **more
            )
        )
    more |= {"higher_is_better": False}
    if params.orders == "both":
        games = [game for row in rows for game in row.games]
        first = {"first_shown_share": first_shown_share(games)}
        values = [contradicts(row.games) for row in rows]
        cells.append(maker.mean_cell("contradiction_rate", values, ids, details=first, **more))
    unparsed = [_unparsed(row.games, params.parser) for row in rows]
    cells.append(maker.mean_cell("unparsed_rate", unparsed, ids, **more))
    return cells


def _shares(found: Sequence[Outcome | None], name: str) -> list[float | None]:
    return [None if outcome is None else float(outcome == name) for outcome in found]


def _unparsed(games: Sequence[Game], parser: ParserMode) -> float | None:
    """Share of the reviews of a prompt without a verdict; None if there was no review."""
    read = [game for game in games if game.attempts and not _lost(game)]
    if not read:
        return None
    if parser == "compat":
        return sum(not has_pattern(game.reply) for game in read) / len(read)
    return sum(game.verdict is None for game in read) / len(read)


def _lost(game: Game) -> bool:
    return (game.failure or "").startswith(_FAILED)
