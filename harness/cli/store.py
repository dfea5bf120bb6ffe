"""`crucible store`: what a store contains, whether it is sound, and what it can do without."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import screen
from harness.core.errors import BadData, BadRecord, UserError, unknown
from harness.core.text import line, plain

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cli.contents import Item
    from harness.engine.store import Store

Home = Annotated[
    Path | None, typer.Option("--store", help="Store folder (default: $CRUCIBLE_HOME or .crucible)")
]

app = typer.Typer(
    help="List, verify and clean the store.", rich_markup_mode="rich", add_completion=False
)


@app.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results and errors only.")
    ] = False,
    store: Home = None,
) -> None:
    """Show the size of the store by kind and operation, the newest first, and its boards.

    crucible store ls --kind rows --since 7d     artifacts, one per line

    crucible store verify                        compare every file with its digest

    crucible store gc --keep-boards --dry-run    what no board needs
    """
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from harness.cli.contents import items_of, leftovers, size_text

    screen.choose(json=json, quiet=quiet)
    found, console = opened(store), screen.results()
    items = items_of(found)
    screen.data({"store": str(found.root), "artifacts": [item.record() for item in items]})
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("kind", "operation", "artifacts", "size", "newest", "boards"):
        table.add_column(heading, justify="right" if heading in ("artifacts", "size") else "left")
    for kind, operation in dict.fromkeys((item.kind, item.operation) for item in items):
        own = [item for item in items if (item.kind, item.operation) == (kind, operation)]
        boards = sorted({board for item in own for board in item.boards})
        size = size_text(sum(item.bytes for item in own))
        cells = [kind, operation, f"{len(own):,}", size, own[0].finished[:16], ", ".join(boards)]
        table.add_row(*map(line, cells))
    console.print(table)
    total = sum(item.bytes for item in items)
    console.out(f"\n{len(items):,} artifacts, {size_text(total)}, in {found.root}", highlight=False)
    _print_boards(console, items)
    for what in dict.fromkeys(what for what, _, _ in leftovers(found)):
        own_sizes = [size for kind, _, size in leftovers(found) if kind == what]
        console.out(
            f"{what}: {len(own_sizes)}, {size_text(sum(own_sizes))} (crucible store gc)",
            highlight=False,
        )


def _print_boards(console: Console, items: Sequence[Item]) -> None:
    from harness.cli.contents import size_text

    for board in sorted({board for item in items for board in item.boards}):
        used = [item for item in items if board in item.boards]
        size = size_text(sum(item.bytes for item in used))
        console.out(f"board {plain(board)}: {len(used):,} artifacts, {size}", highlight=False)


@app.command("ls")
def list_artifacts(
    kind: Annotated[
        str, typer.Option("--kind", help="scores, rows, model, other, damaged, or an operation.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", help="Made since: 2026-11-30, 7d (days) or 12h (hours).")
    ] = "",
    store: Home = None,
) -> None:
    """List artifacts, the newest first: id, date, size, kind, and what they are."""
    from harness.cli.contents import KINDS, items_of

    items = items_of(opened(store))
    if since:
        start = since_when(since)
        items = [item for item in items if item.finished >= start]
    if kind:
        known = [*KINDS, *sorted({item.operation for item in items})]
        if kind not in known:
            raise unknown("kind or operation of these artifacts", kind, known)
        items = [item for item in items if kind in (item.kind, item.operation)]
    screen.data([item.record() for item in items])
    print_items(screen.results(), items)


def print_items(console: Console, items: Sequence[Item]) -> None:
    """Print one line per artifact."""
    from harness.cli.contents import size_text

    for item in items:
        rows = "" if item.rows is None else f"{item.rows:,} rows"
        boards = f"  [{', '.join(item.boards)}]" if item.boards else ""
        console.out(
            f"{item.id[:12]}  {item.finished[:16]:<16}  {size_text(item.bytes):>7}  "
            f"{item.kind:<7}  {rows:>12}  {line(item.title + boards)}",
            highlight=False,
        )


def since_when(text: str, now: datetime | None = None) -> str:
    """The start of a span of time, as manifests give dates.

    >>> since_when("2d", datetime(2026, 11, 30, 12, tzinfo=UTC))
    '2026-11-28T12:00:00Z'
    >>> since_when("2026-11-01")
    '2026-11-01'

    Raises:
        BadRecord: it is neither a date nor a number of days or hours.
    """
    if re.fullmatch(r"\d{4}-\d\d(-\d\d(T\d\d:\d\d(:\d\d)?Z?)?)?", text):
        return text
    if (span := re.fullmatch(r"(\d{1,6})([dh])", text)) is None:
        raise BadRecord(f"--since {text!r}: expected a date (2026-11-30), days (7d) or hours (12h)")
    hours = int(span[1]) * (24 if span[2] == "d" else 1)
    start = (now or datetime.now(UTC)) - timedelta(hours=min(hours, 10**6))
    return start.strftime("%Y-%m-%dT%H:%M:%SZ")


@app.command()
def verify(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Set damaged artifacts aside, with what was made from them; the next run "
            "computes them again.",
        ),
    ] = False,
    store: Home = None,
) -> None:
    """Compare every file of the store with its digest; exit with 2 if something is damaged."""
    from rich.progress import track

    from harness.cli.contents import folder_ids

    found, console, bars = opened(store), screen.results(), screen.status()
    damaged: dict[str, str] = {}
    unlisted = 0
    ids = folder_ids(found)
    for id in track(ids, "verifying", console=bars, transient=True, disable=not bars.is_terminal):
        if problem := found.problem(id):
            damaged[id] = problem
        else:
            unlisted += "files" not in found.manifest(id)
    for id, problem in damaged.items():
        console.out(f"{id[:12]}  {plain(problem)}", highlight=False)
    dropped = _verify_responses(console, found, repair)
    sound = len(ids) - len(damaged) - unlisted
    parts = [f"{sound:,} artifacts are what was written"]
    if unlisted:
        parts.append(f"{unlisted:,} of an earlier version have no digests: not verified")
    console.out("; ".join(parts), highlight=False)
    screen.data({"sound": sound, "unlisted": unlisted, "damaged": damaged, "responses": dropped})
    if damaged and repair:
        _repair(console, found, damaged)
    elif damaged or dropped:
        what = [f"{len(damaged)} artifacts"] * bool(damaged) + [f"{dropped} responses"] * (
            dropped > 0
        )
        raise BadData(
            f"{' and '.join(what)} of {found.root} are damaged; a run computes again what it "
            "needs of them; crucible store verify --repair sets them all aside"
        )


def _repair(console: Console, store: Store, damaged: dict[str, str]) -> None:
    from harness.cli.contents import command_of, items_of

    boards = {board for item in items_of(store) if item.id in damaged for board in item.boards}
    others = store.made_from(damaged)
    boards |= {board for item in items_of(store) if item.id in others for board in item.boards}
    for id, problem in damaged.items():
        store.set_aside(id, problem)
    for id in others:
        store.set_aside(id, "made from a damaged artifact")
    console.out(
        f"{len(damaged)} damaged artifacts and {len(others)} made from them are now in "
        f"{store.root / 'damaged'}; the command that made them computes them again",
        highlight=False,
    )
    for board in sorted(boards):
        if command := command_of(store, board):
            console.out(f"  {plain(board)}: {plain(command)}", highlight=False)


def _verify_responses(console: Console, store: Store, repair: bool) -> int:
    """Check the stored responses; returns the number of damaged ones that remain."""
    from harness.backends.api.responses import ResponseStore

    path = store.root / "responses.sqlite"
    if not path.is_file():
        return 0
    responses = ResponseStore(path)
    try:
        found = responses.verify()
        console.out(
            f"responses: {found.sound:,} are what was written, {len(found.damaged):,} damaged, "
            f"{found.unlisted:,} of an earlier version: not verified",
            highlight=False,
        )
        if repair:
            responses.drop(found.damaged)
        return 0 if repair else len(found.damaged)
    finally:
        responses.close()


@app.command()
def gc(
    keep_boards: Annotated[
        bool,
        typer.Option(
            "--keep-boards", help="Also remove the artifacts that no board of this store uses."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List; remove nothing.")] = False,
    store: Home = None,
) -> None:
    """Remove unfinished stages and what was set aside as damaged; artifacts with --keep-boards.

    What a board uses, directly or not, is kept, so that each of its numbers keeps its samples.
    Everything removed is computed again when it is needed.
    """
    from harness.cli.contents import items_of, leftovers, size_text
    from harness.engine.io import remove

    found, console = opened(store), screen.results()
    if busy := found.locks():
        raise UserError(f"a run is working on {busy[0][:10]} in {found.root}; wait for it")
    items = items_of(found) if keep_boards else []
    if keep_boards and items and not any(item.boards for item in items):
        raise UserError(
            f"no board in {found.root / 'boards'} uses an artifact, so that nothing would be kept; "
            "remove the folder if that is what you want"
        )
    unused = [item for item in items if not item.boards]
    print_items(console, unused)
    for what, path, size in (left := leftovers(found)):
        console.out(f"{what:<12}  {size_text(size):>25}  {path}", highlight=False)
    total = sum(item.bytes for item in unused) + sum(size for _, _, size in left)
    said = f"{len(unused):,} artifacts and {len(left):,} leftovers, {size_text(total)}"
    screen.data(
        {
            "artifacts": [item.id for item in unused],
            "leftovers": [str(path) for _, path, _ in left],
            "bytes": total,
            "removed": not dry_run,
        }
    )
    if dry_run:
        console.out(f"{said}: nothing was removed", highlight=False)
        return
    for item in unused:
        found.discard(item.id)
    for _, path, _ in left:
        remove(path)
    console.out(f"{said}: removed", highlight=False)


def opened(home: Path | None) -> Store:
    """A store that exists.

    Raises:
        UserError: there is none.
    """
    from harness.engine.store import Store, default_root

    root = home or default_root()
    if not (root / "store.json").exists():
        raise UserError(f"no store in {root}; a run creates one, --store names another")
    return Store(root)
