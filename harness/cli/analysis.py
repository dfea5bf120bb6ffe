"""`crucible analyse`: variety, overlap and repetition of instruction data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import screen
from harness.core.errors import unknown

if TYPE_CHECKING:
    from rich.table import Table

    from harness.data.instructions.analysis import Analysis

TOKENS = ("rouge", "words")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Boards")(analyse)


def analyse(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Files (.jsonl, .json, .csv, also .gz; .parquet), org/name of the hub, or "
            "official:<set>; several are compared.",
        ),
    ],
    field: Annotated[
        str,
        typer.Option(
            "--field",
            help="Column of the instruction (default: instruction, messages, conversations, "
            "prompt, question or turns, the first that a row has).",
        ),
    ] = "",
    parser: Annotated[
        str,
        typer.Option(
            "--parser",
            metavar="NAME\\[:MODEL]",
            help="Dependency parser: spacy:en_core_web_trf, or module:function of your own.",
        ),
    ] = "spacy",
    tokens: Annotated[
        str,
        typer.Option(
            "--tokens",
            help="Tokens of ROUGE-L: rouge (a to z and digits, as published) or words (every "
            "script).",
        ),
    ] = "rouge",
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold", min=0, max=1, help="Overlap above which an instruction counts as near."
        ),
    ] = 0.7,
    compared: Annotated[
        int,
        typer.Option(
            "--compared",
            min=1,
            help="Number of instructions per data set that are compared with all others.",
        ),
    ] = 5000,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Number of resamples for intervals.")
    ] = 1000,
    split: Annotated[str, typer.Option("--split", help="Split of data sets of the hub.")] = "train",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Number of rows per data set.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Folder of the page (default: boards in the store)."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Store folder (default: $CRUCIBLE_HOME or .crucible)"),
    ] = None,
) -> None:
    """Analyse instruction data: how varied it is, how much it overlaps and repeats.

    crucible analyse mine.jsonl                          one data set

    crucible analyse mine.jsonl alpaca.json.gz           side by side, with what they share

    crucible analyse chats.jsonl --field conversations   any column with text or turns

    Figures: unique verb-noun pairs (write poem, fix error), their average occurrence and deviation,
    the share of the 15 commonest; ROUGE-L with the nearest other instruction and of all pairs, with
    intervals; instructions that occur twice, in one file or in two. Rows: Alpaca (instruction,
    input, output), ShareGPT (conversations), chats (messages), prompts.

    Writes analysis.html, .md and .json. Stages are stored: the same command resumes.
    """
    screen.begin(f"planning the analysis of {', '.join(data)}")
    from harness.cli.progress import ProgressReporter
    from harness.cli.runs import command_line
    from harness.data.instructions.analysing import plan_analysis
    from harness.engine.io import disk_errors, read_json
    from harness.engine.store import Store
    from leaderboards.analyses.figures import notes
    from leaderboards.analyses.files import write_analysis

    if tokens not in TOKENS:
        raise unknown("kind of tokens", tokens, TOKENS, "crucible analyse --help")
    made = plan_analysis(
        data,
        field=field,
        split=split,
        limit=limit,
        parser=parser,
        tokens="words" if tokens == "words" else "rouge",
        threshold=threshold,
        compared=compared,
        rounds=rounds,
    )
    screen.end_line()
    console, found = screen.results(), Store(store)
    with ProgressReporter(screen.status()) as reporter:
        made.run(found, reporter)
    analysis = made.result(found)
    console.print(_table(analysis))
    for note in notes(analysis):
        console.out(note, highlight=False)
    folder = out or found.root / "boards" / f"analysis-{made.target.id[:10]}"
    with disk_errors(folder):
        write_analysis(folder, analysis, command=command_line())
    console.print(f"page: {folder / 'analysis.html'}", highlight=False, soft_wrap=True)
    if screen.wants_json():
        screen.data(read_json(folder / "analysis.json"))


def _table(analysis: Analysis) -> Table:
    from rich.table import Table
    from rich.text import Text

    from leaderboards.analyses.figures import lines, names

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for name in names(analysis):
        table.add_column(Text(name), justify="right", overflow="fold")
    for line in lines(analysis):
        cells = [Text(f"{f.value} {f.behind}".strip()) for f in line.figures]
        table.add_row(Text(line.title), *cells)
    return table
