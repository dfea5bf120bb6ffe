"""What a command prints, and where: results on stdout, progress and remarks on stderr.

    screen.say("planning wrpo")         # stderr, at once; silent with --quiet
    screen.status().print(text)         # the same, as a rich console
    screen.results().print(table)       # stdout; silent with --json
    screen.data({"score": 48.3})        # stdout as JSON, with --json alone

A command writes both forms of its results; `--json` and `--quiet` choose what is seen.
"""

from __future__ import annotations

import json as json_module
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from harness.core.text import plain

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class _Chosen:
    json: bool = False
    quiet: bool = False


_CHOSEN = _Chosen()


def choose(*, json: bool = False, quiet: bool = False) -> None:
    """Set what the running command shows; each command starts with its own choice."""
    _CHOSEN.json, _CHOSEN.quiet = json, quiet


def switch_to_json() -> None:
    """Print the results of the running command as JSON, as `--json` does."""
    _CHOSEN.json = True


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

    return Console(stderr=True, quiet=_CHOSEN.quiet)


def say(text: str) -> None:
    """Print a line of progress at once, before anything slow is imported."""
    if not _CHOSEN.quiet:
        typer.echo(plain(text), err=True)
        sys.stderr.flush()


def data(value: object) -> None:
    """Print a result as JSON if `--json` asks for it; keys keep their order."""
    if _CHOSEN.json:
        typer.echo(json_module.dumps(value, indent=1, default=str))
