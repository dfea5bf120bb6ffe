"""Options of every command: `--store`, `--quiet` and `--json`.

`with_common_options` adds those that a command does not declare itself. `--store` holds for all
that a command reads: it is `$CRUCIBLE_HOME` while the command runs.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import OptionInfo

from harness.cli import screen

HOME = "CRUCIBLE_HOME"

OPTIONS: dict[str, Any] = {
    "store": Annotated[
        Path | None,
        typer.Option("--store", help="Store folder (default: $CRUCIBLE_HOME or .crucible)."),
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")],
    "json": Annotated[bool, typer.Option("--json", help="Print the results as JSON.")],
}
DEFAULTS = {"store": None, "quiet": False, "json": False}


def with_common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; those that it declares itself are passed on."""
    signature = inspect.signature(command, eval_str=True)
    own = {flag for p in signature.parameters.values() for flag in _flags(p)}
    added = [name for name in OPTIONS if f"--{name}" not in own]

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        chosen = {name: arguments.pop(name) for name in added}
        store = chosen.get("store", arguments.get("store"))
        json = chosen.get("json", arguments.get("json"))
        screen.choose(json=json is True, quiet=chosen.get("quiet", False))
        with _home(store):
            return command(**arguments)

    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
    ]
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS[name], annotation=OPTIONS[name]
        )
        for name in added
    ]
    wrapped.__signature__ = signature.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
    del wrapped.__wrapped__
    wrapped.__annotations__ = {p.name: p.annotation for p in [*kept, *more]}
    return wrapped


def _flags(parameter: inspect.Parameter) -> Iterator[str]:
    for info in getattr(parameter.annotation, "__metadata__", ()):
        if isinstance(info, OptionInfo):
            # Within Annotated, typer keeps the first flag in the place of the default.
            flags = (info.default, *(info.param_decls or ()))
            yield from (flag for flag in flags if isinstance(flag, str))


@contextmanager
def _home(store: Path | None) -> Iterator[None]:
    """The store folder as the default of everything that looks for one."""
    if store is None:
        yield
        return
    before = os.environ.get(HOME)
    os.environ[HOME] = str(store)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(HOME, None)
        else:
            os.environ[HOME] = before
