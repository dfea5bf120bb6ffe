"""Artifacts in a terminal: the list of a store, and one artifact with its origin and content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.core.errors import BadData, unknown
from harness.core.records import parse
from harness.core.text import line, plain
from harness.engine.integrity import ROWS
from harness.engine.io import iterate_objects, read_json
from harness.merging.card import CARD, weight_rows
from harness.training.held_out import LOG, chart

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.store import Store

LISTED_CELLS = 40
FACTS = ("operation", "version", "params", "libraries", "ledger", "finished", "revision")


def list_store(console: Console, store: Store, json: bool = False) -> None:
    """Print the artifacts of a store, the newest first, and the addresses of its cells."""
    from harness.cli.contents import as_json, items_of
    from harness.cli.store import print_items
    from leaderboards.samples.addresses import cells_of_store

    items = items_of(store)
    places = cells_of_store(store)
    addresses = list(dict.fromkeys(place.address for place in places if place.cell.primary))
    if json:
        typer.echo(as_json({"artifacts": [item.record() for item in items], "cells": addresses}))
        return
    print_items(console, items)
    if addresses:
        console.out("\ncells (crucible show CELL lists the samples behind the number)")
        console.out("\n".join(map(plain, addresses[:LISTED_CELLS])), highlight=False)
        if len(addresses) > LISTED_CELLS:
            console.out(f"... and {len(addresses) - LISTED_CELLS} more")


def show_artifact(
    console: Console, store: Store, id: str, row: str, limit: int, json: bool = False
) -> None:
    """Print where an artifact came from, whether it is sound, and its rows or files.

    Raises:
        BadData: its manifest cannot be read.
    """
    from harness.cli.contents import items_of, manifest_of, size_text
    from harness.cli.sample_view import bold

    item = next(item for item in items_of(store) if item.id == id)
    problem = store.problem(id)
    if json:
        _print_json(store, id, item.record(), problem, row)
        return
    if problem and item.kind == "damaged":
        raise BadData(f"artifact {id} is damaged: {problem} (crucible store verify --repair)")
    manifest = manifest_of(store, id)
    console.print(bold(f"{manifest['label']}  {id}"), highlight=False)
    if problem:
        console.out(f"damaged    {plain(problem)} (crucible store verify)", highlight=False)
    for key in FACTS:
        console.out(f"{key:<10} {plain(manifest.get(key))}", highlight=False)
    console.out(f"kind       {item.kind}, {size_text(item.bytes)}", highlight=False)
    for name in ("models", "suites", "judge", "boards"):
        found = getattr(item, name)
        words = found if isinstance(found, str) else ", ".join(found)
        if words:
            console.out(f"{name:<10} {plain(words)}", highlight=False)
    for text in manifest.get("notes", ()):
        console.out(f"note       {plain(text)}", highlight=False)
    for name, value in manifest["inputs"].items():
        for other in value if isinstance(value, list) else [value]:
            console.out(f"from       {plain(name)}: {_input(store, other)}", highlight=False)
    if (store.folder(id) / ROWS).is_file():
        if not row:
            _show_preconditions(console, store, id)
        _show_rows(console, store, id, row, limit)
    else:
        _show_files(console, store, id)


def _show_preconditions(console: Console, store: Store, id: str) -> None:
    """Figures of an artifact that measures preconditions, before the rows behind them."""
    from leaderboards.preconditions import measured
    from leaderboards.render.terminal import preconditions
    from leaderboards.samples.addresses import cells_of_store
    from leaderboards.scores import combine_all

    scores = combine_all(place.cell for place in cells_of_store(store, id))
    if rows := measured((), scores.values()):
        console.print(preconditions(rows, console.width))


def _input(store: Store, id: str) -> str:
    if not os.path.lexists(store.folder(id)):
        return f"{id[:12]}  (deleted)"
    try:
        return f"{id[:12]}  {plain(store.manifest(id)['label'])}"
    except BadData:
        return f"{id[:12]}  (damaged)"


def _print_json(store: Store, id: str, record: dict[str, Any], problem: str, row: str) -> None:
    from harness.cli.contents import as_json, manifest_of

    found: dict[str, Any] = {**record, "folder": str(store.folder(id)), "damaged": problem}
    if record["kind"] != "damaged":
        found["manifest"] = manifest_of(store, id)
    if curve := _training_log(store.folder(id)).get("validation"):
        found["validation"] = curve
    if row:
        found["row"] = _row(store, id, row)
    typer.echo(as_json(found))


def _training_log(folder: Path) -> dict[str, Any]:
    """training_log.json of a training; {} of any other artifact."""
    path = folder / LOG
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found


def _row(store: Store, id: str, row: str) -> dict[str, Any]:
    known = []
    for item in iterate_objects(store.folder(id) / ROWS):
        if item["id"] == row:
            return item
        known.append(item["id"])
    raise unknown("row", row, known, f"crucible show {id[:10]}")


def _show_rows(console: Console, store: Store, id: str, row: str, limit: int) -> None:
    from harness.cli.sample_view import bold

    if row:
        for key, value in _row(store, id, row).items():
            console.print(bold(key), highlight=False)
            console.out(f"  {plain(value)}", highlight=False)
        return
    shown, count = [], 0
    for item in iterate_objects(store.folder(id) / ROWS):
        count += 1
        if not limit or count <= limit:
            rest = {key: value for key, value in item.items() if key != "id"}
            shown.append(line(f"{item.get('id')}  {rest}", 240))
    console.out(f"rows       {count} (one in full: --row ID; a page: --html)\n")
    for text in shown:
        console.out(text, highlight=False)


def _show_files(console: Console, store: Store, id: str) -> None:
    from leaderboards.samples.addresses import cells_of_store

    folder = store.folder(id)
    files = sorted(path.name for path in folder.iterdir())
    console.out(f"files      {', '.join(files)}  in {folder}", highlight=False)
    for text in chart(_training_log(folder)):
        console.out(text, highlight=False)
    if (folder / "alignment.json").is_file():
        from harness.distillation.align.report import AlignmentReport

        report = parse(AlignmentReport, read_json(folder / "alignment.json"), id)
        for text in report.lines():
            console.out(f"alignment  {plain(text)}", highlight=False)
    if (folder / CARD).is_file():
        for kind, *weights in weight_rows(read_json(folder / CARD)["weights"]):
            console.out(f"weights    {plain(kind)}: {', '.join(weights)}", highlight=False)
    for place in cells_of_store(store, id):
        console.out(f"cell       {plain(place.full)}", highlight=False)
