"""`crucible eval`: models on suites, alone or many at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, screen
from harness.cli.call_options import with_call_options
from harness.cli.run_options import ByJudge, Fresh, Home, Limit
from harness.cli.runs import command_line, names_in, say_changes
from harness.core.errors import UserError
from harness.engine.calls import CallSettings

if TYPE_CHECKING:
    from harness.api.evaluations import BoardFile, Evaluations
    from harness.evaluate import Entrant, Evaluation, Options

SUITES = "alpaca_eval2,arena_hard,mt_bench"


def register(app: typer.Typer) -> None:
    app.command("eval", rich_help_panel="Run")(evaluate)


@with_call_options
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="nano:<name>, a checkpoint folder, a hub id, vllm:<model>, "
            "openai:<model> or openai:<model>@<url>, or a file of stored outputs; one or several.",
            autocompletion=completion.models,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Board file (TOML): models, suites and judges."),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            help=f"Suites of `crucible suites`, separated by commas (default: {SUITES}).",
            autocompletion=completion.suites,
        ),
    ] = "",
    judge: Annotated[
        str,
        typer.Option(
            "--judge",
            help="nano:oracle, or openai:<model>@<url>?key=<VARIABLE> (default: the judge of the "
            "suite; nano:oracle on nano data); several, separated by commas, have columns each.",
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Question set: official, nano, or auto (official unless the judge is nano).",
        ),
    ] = "",
    name: Annotated[
        str,
        typer.Option(
            "--name",
            help="Name of the model in tables (default: the generator or model_id that a file of "
            "outputs names, else the reference).",
        ),
    ] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SUITE.KEY=VALUE", help="Setting of a suite: mt_bench.rounds=200"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed for sampling from the models (default: 42).")
    ] = None,
    limit: Limit = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Also write a board folder; a board that is there already grows."
        ),
    ] = None,
    by_judge: ByJudge = False,
    plan_only: Annotated[
        bool,
        typer.Option(
            "--plan", "--dry-run", help="Show stages and costs; run nothing, call no model."
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Request failed judgments and answers again."),
    ] = False,
    fresh: Fresh = None,
    store: Home = None,
    *,
    calls: CallSettings,
) -> None:
    """Evaluate models on benchmark suites, with any judge; each score with its interval.

    Offline, in a minute:  crucible eval nano:target

    The official set:  crucible eval org/model --suite alpaca_eval2 --judge
    openai:gpt-4-1106-preview

    Stored answers, your own judge:  crucible eval outputs.json --suite mt_bench --judge
    openai:my-judge@http://127.0.0.1:8000/v1

    One more system on a board:  crucible eval nano:target --out week48

    Many at once:  crucible eval nano:target nano:source_a --suite alpaca_eval2 --out week48

    Two judges, columns each:  crucible eval nano:target --suite mt_bench --judge
    nano:oracle,nano:oracle?position_bias=2

    From a file:  crucible eval -f board.toml

    Every response is stored when it arrives: the same command resumes, and costs nothing if nothing
    is missing. A key is read from OPENAI_API_KEY, or from the variable named by ?key=.
    """
    screen.begin(f"planning an evaluation on {suite or (file and file.name) or SUITES}")
    from harness.cli.evaluation import run_evaluation
    from harness.engine.store import Store
    from harness.evaluate import Entrant, Options

    described = _described(file, models, name)
    options = Options(
        edition=data or (described.data if described else "auto"),
        overrides=overrides or (described.set if described else ()),
        seed=seed if seed is not None else described.seed if described else 42,
        limit=limit if limit is not None else described.limit if described else None,
    )
    entrants = [Entrant(ref, name) for ref in models or ()]
    if described:
        entrants = [Entrant(model.ref, model.name, model.files) for model in described.models]
    suites = names_in(suite) or (list(described.suites) if described else names_in(SUITES))
    judges = judges_in(judge) or (list(described.judges) if described else [])
    board = _board_of(described, file) if described else ""
    title = described.title if described else ""
    made = planned(entrants, suites, judges, options, board, title)
    home = Store(store)
    if out is None and board:
        out = home.root / "boards" / board
    screen.say(f"{len(made.plan.stages)} stages")
    say_changes(screen.status(), made, home, () if plan_only else fresh or ())
    run_evaluation(
        made,
        home,
        calls,
        out=out,
        plan_only=plan_only,
        retry_failed=retry_failed,
        by_judge=by_judge,
        command=command_line(),
    )


def _described(file: Path | None, models: list[str] | None, name: str) -> BoardFile | None:
    """The board file, after checking what else is given."""
    if file is None and not models:
        raise UserError(
            "nothing to evaluate; give a model (crucible eval nano:target) or a board file "
            "(crucible eval -f board.toml)"
        )
    if file is not None and models:
        raise UserError(
            f"models are given by {file} and on the command line; expected one of the two"
        )
    if name and (file is not None or len(models or ()) > 1):
        raise UserError("--name is for one model; name several in a board file: [[models]] name =")
    if file is None:
        return None
    from harness.api.evaluations import read_board_file

    if file.name.removesuffix(".gz").endswith((".json", ".jsonl")):
        raise UserError(
            f"{file} is a file of outputs, and -f expects a board file (TOML); type crucible eval "
            f"{file}"
        )

    return read_board_file(file)


def _board_of(described: BoardFile, file: Path | None) -> str:
    from leaderboards.growth import board_name

    return described.name or board_name(file.stem if file else "")


def planned(
    entrants: list[Entrant],
    suites: list[str],
    judges: list[str],
    options: Options,
    board: str = "",
    title: str = "",
) -> Evaluation | Evaluations:
    """The plan: of one model and judge, or of many.

    Args:
        board, title: of the board; "" of an evaluation without a board file.
    """
    from harness.api.evaluations import evaluate_all

    made = evaluate_all(
        entrants, suites, judges=judges, options=options, name=board or "evaluation", title=title
    )
    return made.parts[0] if len(made.parts) == 1 and not board else made


def judges_in(text: str) -> list[str]:
    """Judges separated by commas; commas within braces and between addresses stay.

    >>> judges_in('openai:a@http://x/v1?extra={"k":1,"l":2},nano:oracle')
    ['openai:a@http://x/v1?extra={"k":1,"l":2}', 'nano:oracle']
    """
    found, depth = [""], 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        address = text[place + 1 :].lstrip().startswith(("http://", "https://"))
        if letter == "," and depth == 0 and not address:
            found.append("")
        else:
            found[-1] += letter
    return list(dict.fromkeys(part.strip() for part in found if part.strip()))
