"""`crucible compare`: paired comparison of two systems, by metric or sample by sample."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, screen
from harness.cli.once import OPTIONAL_VALUE, ValueOptionalCommand
from harness.core.errors import CrucibleError, UserError, unknown

if TYPE_CHECKING:
    from harness.core.records import Cell
    from harness.engine.store import Store
    from leaderboards.compare import Comparison
    from leaderboards.samples import PairedSamples


def register(app: typer.Typer) -> None:
    app.command(cls=ValueOptionalCommand, rich_help_panel="Boards")(compare)


def compare(
    first: Annotated[str, typer.Argument(help="A system.")],
    second: Annotated[str, typer.Argument(help="System to compare it with.")],
    board: Annotated[
        str,
        typer.Option("--board", help="Board with both systems.", autocompletion=completion.boards),
    ] = "wrpo-nano",
    samples: Annotated[
        bool, typer.Option("--samples", help="Show the samples side by side.")
    ] = False,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            metavar="SUITE[/METRIC]",
            help="Metric of the samples; default: the first main one that both have samples of.",
        ),
    ] = "",
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the samples; default: the lowest of both.")
    ] = None,
    row: Annotated[str, typer.Option("--row", help="Show one prompt in full, by its id.")] = "",
    html: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="[FILE]",
            help="Write all as a self-contained page; many as several, beside each other.",
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=VALUE",
            help="a=win, b=loss (ratings: low|middle|high; rows: right|wrong), category=...; "
            "repeatable.",
        ),
    ] = None,
    search: Annotated[
        str, typer.Option("--search", help="Only samples that contain this text, ignoring case.")
    ] = "",
    sort: Annotated[
        str,
        typer.Option("--sort", help="difference, lead, length or id; prefix with - to reverse."),
    ] = "difference",
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Number of samples to list; 0 lists all.")
    ] = 10,
) -> None:
    """Compare two systems of a board: paired difference and interval for each metric.

    crucible compare A B --samples              both answers and verdicts, by difference

    crucible compare A B --samples --html       a page to browse, filter and share
    """
    from leaderboards.compare import compare_systems
    from leaderboards.files import read_board
    from leaderboards.render.terminal import render_comparison
    from leaderboards.render.text import limit_note, limits

    asked = bool(row or filters or search or metric or seed is not None or html is not None)
    if asked and not samples:
        raise UserError(
            "--row, --filter, --search, --metric, --seed and --html choose samples; add --samples"
        )
    from harness.cli.boards import find_board

    _, cells = read_board(find_board(board))
    comparison = compare_systems(cells, first, second)
    if not samples:
        shown = [cell for cell in cells if cell.system in (first, second)]
        about = {"summary": comparison.summary, "limits": limits(shown)}
        screen.data({**comparison.model_dump(mode="json"), **about})
        screen.results().print(render_comparison(comparison))
        if limited := limit_note(shown):
            screen.results().print(limited, style="yellow", highlight=False, markup=False)
        return
    _samples(
        find_pairs(cells, comparison, metric, seed, board),
        comparison,
        row=row,
        html=html,
        filters=filters or (),
        search=search,
        sort=sort,
        limit=limit,
        again=shlex.join(
            ["crucible", "compare", first, second, "--board", board, "--samples"]
            + (["--metric", metric] if metric else [])
            + (["--seed", str(seed)] if seed is not None else [])
        ),
    )


def _samples(
    found: PairedSamples,
    comparison: Comparison,
    *,
    row: str,
    html: str | None,
    filters: Sequence[str],
    search: str,
    sort: str,
    limit: int,
    again: str,
) -> None:
    from dataclasses import replace

    from harness.cli.pair_view import list_pairs, pair_records, show_pair
    from leaderboards.samples import choose_pairs

    console = screen.results()
    chosen = choose_pairs(found, filters, search, sort)
    if html is not None:
        kept = set(map(id, chosen))
        page = replace(found, pairs=tuple(pair for pair in found.pairs if id(pair) in kept))
        _write(page, comparison, "" if html == OPTIONAL_VALUE else html)
        return
    if row:
        show_pair(console, found, row)
    else:
        list_pairs(console, found, chosen, limit, again)
    if screen.wants_json():
        among = [pair for pair in chosen if row in ("", pair.id)]
        if not among and row:
            raise unknown("sample", row, (pair.id for pair in chosen))
        screen.data(pair_records(found, among))


def _write(found: PairedSamples, comparison: Comparison, file: str) -> None:
    from harness.cli.page_files import write_pages
    from harness.cli.show import file_name
    from leaderboards.render.pairs import pages

    path = Path(file) if file else Path(f"compare-{file_name(' '.join(found.names))}.html")
    made = write_pages(path, pages(found, path.name, comparison))
    screen.results().out(
        f"{path}: {len(found.pairs):,} prompts, {made.size}; {found.summary}; open it "
        "in a browser, link to one prompt with #ID",
        highlight=False,
    )
    screen.data(
        {
            "page": str(path),
            "pages": len(made.files),
            "prompts": len(found.pairs),
            "summary": found.summary,
        }
    )


def find_pairs(
    cells: Sequence[Cell], comparison: Comparison, metric: str, seed: int | None, board: str
) -> PairedSamples:
    """The samples of the first wanted metric that both systems have in the store.

    Raises:
        UnknownName: a metric or seed that the two do not share.
        UserError: no metric of the two has samples in the store; the message says why.
    """
    from harness.engine.store import Store

    wanted = [(line.suite, line.metric) for line in comparison.lines]
    if metric:
        among = [key for key in wanted if metric in (key[0], "/".join(key))]
        if not among:
            raise unknown("metric", metric, ("/".join(key) for key in wanted))
        wanted = among
    store = Store()
    problem: CrucibleError | None = None
    for key in wanted:
        try:
            return _pairs_of(store, cells, comparison, key, seed)
        except CrucibleError as error:
            problem = problem or error
    raise problem or UserError(f"{board} has no metric of both systems")


def _pairs_of(
    store: Store,
    cells: Sequence[Cell],
    comparison: Comparison,
    key: tuple[str, str],
    seed: int | None,
) -> PairedSamples:
    from leaderboards.samples import pair_samples, samples_of_cell

    names = (comparison.first, comparison.second)
    by_seed = [
        {c.seed: c for c in cells if c.system == name and (c.suite, c.metric) == key}
        for name in names
    ]
    common = sorted(by_seed[0].keys() & by_seed[1].keys())
    if seed is not None and seed not in common:
        raise unknown("seed of both systems", str(seed), map(str, common))
    if common:
        chosen = common[0] if seed is None else seed
        pair = [own[chosen] for own in by_seed]
    else:
        pair = [own[min(own)] for own in by_seed]
    return pair_samples(*(samples_of_cell(store, cell) for cell in pair))
