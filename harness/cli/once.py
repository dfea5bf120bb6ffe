"""Commands that refuse an option given twice instead of dropping its first value."""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

OPTIONAL_VALUE = "-"  # value of an option of `ValueOptionalCommand` that is given without one


class OnceCommand(TyperCommand):
    """A command whose options are given once each, except those that collect values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = Counter(id(param) for param in order)
        for param in order:
            if (
                isinstance(param, TyperOption)
                and not (param.multiple or param.is_flag or param.count)
                and given[id(param)] > 1
            ):
                commas = ", several values with commas" if param.name == "suite" else ""
                raise typer.BadParameter(
                    f"given {given[id(param)]} times; expected once{commas}", ctx=ctx, param=param
                )
        return super().parse_args(ctx, args)


class ValueOptionalCommand(OnceCommand):
    """A command whose `--html` and `--json FILE` may be given without their value.

    Typer does not support that; such an option gets OPTIONAL_VALUE.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        optional = {
            option
            for param in self.params
            if isinstance(param, TyperOption) and not param.is_flag
            for option in param.opts
            if option in ("--html", "--json")
        }
        completed: list[str] = []
        for place, word in enumerate(args):
            completed.append(word)
            following = args[place + 1 : place + 2]
            if word in optional and (not following or following[0].startswith("--")):
                completed.append(OPTIONAL_VALUE)
        return super().parse_args(ctx, completed)
