"""The `crucible` command: registers sub-commands, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from itertools import chain
from types import FrameType

import typer
from typer.core import TyperCommand

from harness.cli import (
    agreement,
    analysis,
    board_making,
    boards,
    catalogue,
    comparison,
    doctor,
    evaluating,
    launch,
    nano,
    plots,
    plugins,
    runs,
    screen,
    show,
    store,
    sweeps,
)
from harness.cli.common_options import with_common_options
from harness.cli.noise import hush
from harness.cli.once import OnceCommand
from harness.cli.words import WordsGroup
from harness.core.errors import CrucibleError
from harness.core.text import plain

INTERRUPTED = 130
STOPPED = "stopped; finished work is kept, the same command resumes"

app = typer.Typer(
    name="crucible",
    cls=WordsGroup,
    help=(
        "Fuse, align and test language models; get leaderboards you can defend.\n\n"
        "Start here: [bold]crucible reproduce wrpo[/bold] runs a whole paper on this machine's "
        "CPU with tiny embedded models (no network, no key) and ends with a board."
    ),
    epilog=(
        "Every command takes --store, --quiet and --json; results are printed on stdout, progress "
        "on stderr. Exit codes: 0 done, 2 your input, 3 this machine, 4 a claim contradicted "
        "(--strict)."
    ),
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (
    catalogue,
    runs,
    evaluating,
    sweeps,
    boards,
    board_making,
    comparison,
    show,
    agreement,
    analysis,
    plots,
    plugins,
    doctor,
):
    module.register(app)
app.add_typer(launch.app, name="launch", rich_help_panel="Run")
app.add_typer(nano.app, name="nano")
app.add_typer(store.app, name="store", rich_help_panel="Boards")
for command in chain(*(one.registered_commands for one in (app, launch.app, nano.app, store.app))):
    if command.cls is TyperCommand:
        command.cls = OnceCommand
    if command.callback is not None:
        command.callback = with_common_options(command.callback)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib import metadata

        typer.echo(f"crucible {metadata.version('crucible-bench')}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    hush()
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer turns KeyboardInterrupt into this
            _fail(STOPPED, INTERRUPTED)
    except CrucibleError as error:
        _fail(str(error), error.exit_code)
    except typer.Abort as error:
        if isinstance(error.__cause__, EOFError):  # typer takes it for the end of a dialogue
            _fail(f"a file ended before it was complete: {error.__cause__}", 2)
        _fail(STOPPED, INTERRUPTED)
    except KeyboardInterrupt:
        _fail(STOPPED, INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except RecursionError as error:
        _fail(f"a file or a reply nests deeper than can be read: {error}", 2)
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; look at it, and run again", 3)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        said = error.format_message().replace("\n", " ").rstrip(".")
        _fail(f"{said}{_help_of(error)}", getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _help_of(error: Exception) -> str:
    """Where the command of a usage error is explained, "" if the error says what to type."""
    context = getattr(error, "ctx", None)
    if context is None or context.parent is None:
        return ""
    return f"; crucible {context.info_name} --help shows how"


def _fail(message: str, code: int) -> None:
    screen.clear_line()
    typer.echo(f"crucible: {plain(message)}", err=True)
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
