"""`crucible show`: from a cell to its samples, and from a sample to all that the judge read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import screen
from harness.cli.once import OPTIONAL_VALUE, ValueOptionalCommand
from harness.cli.page_files import write_pages
from harness.core.errors import UnknownName, UserError

LOG = "training_log.json"

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.store import Store
    from leaderboards.samples import Samples


PRECONDITIONS = "preconditions"


def register(app: typer.Typer) -> None:
    app.command(cls=ValueOptionalCommand, rich_help_panel="Boards")(show)


def show(
    target: Annotated[
        str,
        typer.Argument(
            metavar="CELL | ID",
            help="SYSTEM/SUITE/METRIC\\[@SEED], BOARD:SYSTEM/SUITE/METRIC, or the beginning of an "
            "artifact's id; without it, the store is listed. BOARD:preconditions is a table.",
        ),
    ] = "",
    row: Annotated[str, typer.Option("--row", help="Show one sample in full, by its id.")] = "",
    html: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="[FILE]",
            help="Write all samples, or a training's curves, as a self-contained page; many "
            "samples as several, beside each other.",
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=VALUE",
            help="verdict=win|loss|tie|failed (ratings: low|middle|high), first=model|baseline, "
            "flag=contradictory|suspicious|failed|retried, category=..., skill=...; repeatable.",
        ),
    ] = None,
    search: Annotated[
        str, typer.Option("--search", help="Only samples that contain this text, ignoring case.")
    ] = "",
    sort: Annotated[
        str,
        typer.Option("--sort", help="stored, preference, length or id; prefix with - to reverse."),
    ] = "stored",
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Number of rows to list; 0 lists all.")
    ] = 10,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FOLDER",
            help="Write the candidates of training rows, or a candidate table, as a data set with "
            "a card.",
        ),
    ] = None,
    push: Annotated[
        str,
        typer.Option(
            "--push",
            metavar="OWNER/NAME",
            help="With --export: also upload the data set to the Hugging Face hub, privately.",
        ),
    ] = "",
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON: the store, an artifact, or all samples.")
    ] = False,
    store: Annotated[Path | None, typer.Option("--store", help="Store folder.")] = None,
) -> None:
    """Show the samples behind a score, down to the prompts and replies of the judge.

    crucible show nano:target/arena_hard/score --filter verdict=loss --sort preference

    crucible show nano:target/arena_hard/score --row ID     one sample in full

    crucible show nano:target/arena_hard/score --html       a page to browse, search and share

    crucible show wrpo-nano:preconditions                   what the claimed effects need

    crucible show ID --html                                 curves, if ID is a trained checkpoint

    Boards (json and html) contain addresses and ids; `crucible plan` prints ids, too.
    """
    from harness.cli.artifact_view import list_store, show_artifact
    from harness.cli.sample_view import list_samples, print_json, show_sample
    from harness.engine.store import Store
    from leaderboards.samples.addresses import is_address

    found, console = Store(store), screen.results()
    if not target:
        if html is not None or row or filters or search:
            raise UserError(
                "which samples? expected a cell's address first, as in: crucible show "
                f"{_an_address(found)} --html"
            )
        list_store(console, found, json)
        return
    place, _, last = target.rpartition(":")
    if last == PRECONDITIONS:
        from harness.cli.precondition_view import show_preconditions

        show_preconditions(console, found, place, json)
        return
    if is_address(target):
        samples = _samples_of(found, target)
    else:
        id = found.find(target)
        if export is not None:
            _export(console, found, id, export, push)
            return
        if html is None and not filters and not search and sort == "stored":
            show_artifact(console, found, id, row, limit, json)
            return
        if html is not None and (found.folder(id) / LOG).is_file():
            _write_curves(console, found, id, "" if html == OPTIONAL_VALUE else html)
            return
        samples = _rows_of(found, id)
    if row and not json:
        show_sample(console, samples, row)
        return
    chosen = _chosen(samples, filters or (), search, sort)
    if json:
        print_json(chosen, row)
        return
    if html is not None:
        _write_page(console, chosen, "" if html == OPTIONAL_VALUE else html)
        return
    list_samples(console, chosen, len(samples.samples), limit, target)


def _samples_of(store: Store, address: str) -> Samples:
    from leaderboards.samples import find_cell, samples_of_cell

    return samples_of_cell(store, find_cell(store, address, board_folder))


def board_folder(name: str) -> Path | None:
    """The folder of a board, from its name or path; None if there is none."""
    from harness.cli.boards import find_board

    try:
        return find_board(name)
    except UnknownName:
        return None


def _rows_of(store: Store, id: str) -> Samples:
    from leaderboards.samples import samples_of_artifact
    from leaderboards.samples.addresses import cells_of_store

    cells = cells_of_store(store, id)
    if cells:
        raise UserError(
            f"artifact {id[:10]} contains {len(cells)} cells; name one of them, as in: crucible "
            f"show {cells[0].full}"
        )
    return samples_of_artifact(store, id)


def _an_address(store: Store) -> str:
    from leaderboards.samples.addresses import cells_of_store

    return next((place.address for place in cells_of_store(store)), "SYSTEM/SUITE/METRIC")


def _chosen(samples: Samples, filters: Any, search: str, sort: str) -> Samples:
    from dataclasses import replace

    from leaderboards.samples import choose

    return replace(samples, samples=tuple(choose(samples.samples, filters, search, sort)))


def _write_page(console: Console, samples: Samples, file: str) -> None:
    from leaderboards.render.samples import pages

    path = Path(file) if file else Path(f"samples-{file_name(samples.title)}.html")
    made = write_pages(path, pages(samples, path.name))
    console.out(
        f"{path}: {len(samples.samples):,} samples, {made.size}; "
        "open it in a browser, link to one sample with #ID",
        highlight=False,
    )


def _write_curves(console: Console, store: Store, id: str, file: str) -> None:
    """Write the curves of a training as a page."""
    from harness.engine.io import read_json
    from leaderboards.render.training import render

    manifest, log = store.manifest(id), read_json(store.artifact(id).path / LOG)
    names = ("operation", "version", "params", "libraries", "ledger", "finished", "revision")
    facts = [("artifact", id), *((n, str(manifest[n])) for n in names if manifest.get(n))]
    path = Path(file) if file else Path(f"training-{id[:10]}.html")
    write_pages(path, [(path.name, render(manifest["label"], log, facts, id))])
    console.out(f"{path}: curves of {manifest['label']}; open it in a browser", highlight=False)
    screen.data({"page": str(path), "artifact": id})


def _export(console: Console, store: Store, id: str, folder: Path, push: str) -> None:
    """Write all candidates of a selection with its rules in the card, or one candidate table."""
    from harness.api import hub
    from harness.engine.io import iterate_objects
    from harness.verification.candidates import export, read_candidates

    manifest = store.manifest(id)
    tables = manifest["inputs"].get("candidates", [id])
    if manifest["operation"] not in ("select_training_rows", "candidate_table"):
        raise UserError(
            f"{manifest['label']} ({id[:10]}) contains no candidates; expected --export with "
            "training rows or a candidate table (crucible show lists the store)"
        )
    if push:
        hub.check_push(push)
    files = [store.artifact(table).path / "rows.jsonl" for table in tables]
    rows = (row for file in files for row in iterate_objects(file))
    export(read_candidates(rows), folder, title=manifest["label"], settings=manifest["params"])
    console.out(f"{folder}: the data set, and README.md", highlight=False)
    address = hub.push(folder, push, "dataset", f"{manifest['label']} {id[:10]}") if push else ""
    if address:
        console.out(f"pushed: {address}", highlight=False)
    screen.data({"folder": str(folder), "artifact": id, "pushed": address})


def file_name(title: str) -> str:
    """A title as part of a file name.

    >>> file_name("org/name / mt_bench / turn_1")
    'org-name-mt_bench-turn_1'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", title).strip("-.")[:120] or "rows"
