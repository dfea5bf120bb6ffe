"""`crucible methods | suites | models | judges`: the catalogue, and what each entry requires."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import screen
from harness.core.errors import unknown

if TYPE_CHECKING:
    from harness.engine.registry import Entry


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Catalogue")(methods)
    app.command(rich_help_panel="Catalogue")(suites)
    app.command(rich_help_panel="Catalogue")(models)
    app.command(rich_help_panel="Catalogue")(judges)


def methods(
    name: Annotated[str, typer.Argument(help="Show one method in full.")] = "",
) -> None:
    """List the methods with their papers and required extras, or show systems, claims and keys."""
    if name:
        from harness.cli.catalogue_entry import show_method

        show_method(name)
        return
    _table("methods", ("method", "what it is", "paper"))


def suites(
    name: Annotated[
        str, typer.Argument(help="Show one suite in full, or the list of a paper: fusechat3.")
    ] = "",
) -> None:
    """List the benchmark suites, show one, or list a paper's benchmarks and what runs them."""
    if not name:
        _table("suites", ("suite", "what it measures", "paper"))
        return
    from harness.engine import registry
    from harness.suites.lm_eval.catalogue import BENCHMARKS

    if name not in BENCHMARKS:
        known = registry.entries("suites")
        if name not in known:
            raise unknown("suite or list of benchmarks", name, (*known, *BENCHMARKS))
        from harness.cli.catalogue_entry import show_suite

        show_suite(name)
        return
    _benchmarks(name)


def _benchmarks(paper: str) -> None:
    from rich.table import Table

    from harness.suites.lm_eval.catalogue import BENCHMARKS

    table = Table(box=None, pad_edge=False)
    for heading in ("benchmark", "suite: task", "unit", "needs", "offline with"):
        table.add_column(heading, overflow="fold")
    for found in BENCHMARKS[paper]:
        run_by = found.run_by or "not here"
        offline = found.offline or "cannot be run"
        table.add_row(found.name, run_by, found.unit, found.needs or "nothing more", offline)
    screen.data([asdict(found) for found in BENCHMARKS[paper]])
    screen.results().print(table)


def models() -> None:
    """List the embedded nano models and the other forms of model references."""
    from rich.table import Table

    import harness.nano.zoo as zoo

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "architecture", "parameters", "tokenizer"):
        table.add_column(heading, overflow="fold")
    for name, facts in zoo.manifest().items():
        count = f"{facts['parameters']:,}"
        tokens = f"{facts['tokenizer']['kind']}, {facts['tokenizer']['size']:,}"
        table.add_row(f"nano:{name}", facts["class"], count, tokens)
    screen.data([{"model": f"nano:{name}", **facts} for name, facts in zoo.manifest().items()])
    console = screen.results()
    console.print(table)
    console.print(
        "\nAlso: a folder with a checkpoint, a hub id such as org/name, vllm:<model>,\n"
        "openai:<model> or openai:<model>@<url>, and a file of stored outputs.",
        highlight=False,
    )


def judges() -> None:
    """List the judges and the AlpacaEval annotators, whose prompts a judge can use."""
    from harness.core.errors import MissingExtra
    from harness.judging import annotators

    _table("judges", ("judge", "what it is", "paper"))
    console = screen.results()
    console.print("\nAnnotators (--set alpaca_eval2.annotator=NAME):", highlight=False)
    try:
        names = [annotators.OWN, *annotators.supported()]
    except MissingExtra as error:
        console.print(f"{annotators.OWN}; for those of alpaca-eval: {error}", markup=False)
        return
    for name in names:
        console.print(f"  {name:<46} {annotators.load(name).model}", highlight=False, markup=False)


def _table(group: str, headings: tuple[str, ...]) -> None:
    """Entries below the heading of their kind; extras are named where they are missing."""
    from itertools import groupby

    from rich.markup import escape
    from rich.table import Table

    from harness.core.text import line
    from harness.engine import plugins, registry
    from harness.engine.extras import missing

    entries = list(registry.entries(group).values())
    screen.data([{**asdict(entry), "missing": missing(entry.needs)} for entry in entries])
    kinds = list(dict.fromkeys(map(_kind, entries)))
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == headings[0])
    entries.sort(key=lambda entry: kinds.index(_kind(entry)))
    for kind, members in groupby(entries, _kind):
        if kind:
            table.add_section()
            table.add_row(f"[bold]{escape(line(kind))}[/bold]")
        for entry in members:
            text = f"{entry.problem or entry.summary}{_needs(entry.needs)}"
            table.add_row(*(escape(line(cell)) for cell in (entry.name, text, entry.paper)))
    console = screen.results()
    console.print(table)
    for note in (*registry.notes(group), *plugins.offers()[1], *registry.catalogue_problems()):
        console.print(line(note), markup=False, highlight=False, soft_wrap=True)


def _kind(entry: Entry) -> str:
    from harness.engine import registry

    return entry.group if entry.origin == registry.BUILT_IN else f"plugin {entry.origin}"


def _needs(extras: tuple[str, ...]) -> str:
    from harness.engine.extras import install, missing

    absent = missing(extras)
    return f" (needs {install(absent)})" if absent else ""
