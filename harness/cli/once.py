"""Commands that refuse an option given twice instead of dropping its first value."""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


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
