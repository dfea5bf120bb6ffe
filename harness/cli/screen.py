"""What a command prints, and where: results on stdout, progress and remarks on stderr.

    screen.begin("planning wrpo")       # stderr, at once: a line that the next remark ends
    screen.say("275 stages")            # stderr; silent with --quiet
    screen.status().print(text)         # the same, as a rich console
    screen.results().print(table)       # stdout; silent with --json
    screen.data({"score": 48.3})        # stdout as JSON, with --json alone

A command writes both forms of its results; `--json` and `--quiet` choose what is seen.
"""

from __future__ import annotations

import io
import json as json_module
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from harness.core.text import plain

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class _Chosen:
    json: bool = False
    quiet: bool = False
    begun: bool = False  # whether a line on stderr waits for its end


_CHOSEN = _Chosen()


def choose(*, json: bool = False, quiet: bool = False) -> None:
    """Set what the running command shows; each command starts with its own choice."""
    _CHOSEN.json, _CHOSEN.quiet, _CHOSEN.begun = json, quiet, False


def switch_to_json() -> None:
    """Print the results of the running command as JSON, as `--json` does."""
    _CHOSEN.json = True


@contextmanager
def apart() -> Iterator[io.StringIO]:
    """Run another command meanwhile: what it prints on stdout; this one's choice is kept."""
    before = replace(_CHOSEN)
    with redirect_stdout(io.StringIO()) as printed:
        try:
            yield printed
        finally:
            _CHOSEN.json, _CHOSEN.quiet, _CHOSEN.begun = before.json, before.quiet, before.begun


def wants_json() -> bool:
    """Whether the results are printed as JSON."""
    return _CHOSEN.json


def results() -> Console:
    """The console of results for people: stdout."""
    from rich.console import Console

    return Console(quiet=_CHOSEN.json)


def status() -> Console:
    """The console of progress and remarks: stderr."""
    from rich.console import Console

    end_line()
    return Console(stderr=True, quiet=_CHOSEN.quiet)


def begin(text: str) -> None:
    """Print what is being done, at once: called before anything slow is imported.

    The line stays open for its result, so that a mistake in the arguments is still one line.
    """
    if not _CHOSEN.quiet:
        typer.echo(f"{plain(text)} ... ", nl=False, err=True)
        sys.stderr.flush()
        _CHOSEN.begun = True


def say(text: str) -> None:
    """Print a line of progress; it ends a line that was begun."""
    if not _CHOSEN.quiet:
        _CHOSEN.begun = False
        typer.echo(plain(text), err=True)
        sys.stderr.flush()


def end_line() -> None:
    """End a line that was begun, before something else is printed."""
    if _CHOSEN.begun:
        say("")


def clear_line() -> None:
    """Remove a line that was begun from a terminal; elsewhere what follows continues it."""
    if _CHOSEN.begun and sys.stderr.isatty():
        typer.echo("\r\x1b[K", nl=False, err=True)
    _CHOSEN.begun = False


def data(value: object) -> None:
    """Print a result as JSON if `--json` asks for it; keys keep their order."""
    if _CHOSEN.json:
        typer.echo(json_module.dumps(value, indent=1, default=str))
