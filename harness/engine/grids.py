"""Grids: several values of some keys of a recipe, from text or from Python.

train.settings.beta=0.01,0.1,1      # values in TOML syntax or as plain text, with commas
models.sources=[...],[...]          # commas in lists, tables and quotations separate nothing
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from harness.core.errors import UserError
from harness.engine.overrides import parse_override

Setting = dict[str, Any]  # key -> value
Grid = dict[str, tuple[Any, ...]]  # key -> its values
Values = Mapping[str, Sequence[Any]] | Sequence[str]

# Parts of a recipe that are no settings of its systems -> what to use instead.
NOT_SWEPT = {
    "seed": "use --seeds N",
    "suites": "run the suites apart (crucible reproduce METHOD --set KEY=VALUE --out FOLDER)",
    "systems": "choose systems with --systems",
    "claims": "claims are tested at each setting",
    "method": "sweep each method",
    "profile": "use --scale",
    "title": "it changes no system",
    "paper": "it changes no system",
}
_LONGEST = 32  # characters of a value in the name of a row


def grid_of(values: Values, fixed: Collection[str] = ()) -> Grid:
    """Key -> values of a sweep.

    Args:
        fixed: keys with one value for all runs.

    Raises:
        UserError: a key without several different values, given twice, or that is no setting of
            systems; text of another form than KEY=VALUE,VALUE.

    >>> grid_of(["train.settings.beta=0.01,0.1"])
    {'train.settings.beta': (0.01, 0.1)}
    """
    pairs = list(values.items()) if isinstance(values, Mapping) else [*map(_parsed, values)]
    if not pairs:
        raise UserError("a sweep needs KEY=VALUE,VALUE; for example train.settings.beta=0.01,0.1")
    grid: Grid = {}
    for key, found in pairs:
        if isinstance(found, str) or not isinstance(found, Sequence):
            raise UserError(f"{key} is {found!r}; expected a list of values")
        remedy = NOT_SWEPT.get(key.partition(".")[0])
        if remedy:
            raise UserError(f'"{key}" cannot be swept: expected a setting of systems; {remedy}')
        if key in grid:
            raise UserError(f"{key} is given twice; expected all its values after one {key}=")
        if key in fixed:
            raise UserError(f"{key} is swept and set by --set; expected one of the two")
        if len(found) < 2:
            raise UserError(
                f"{key} has {len(found)} value; expected several, separated by commas (--set "
                f"{key}=VALUE sets one for all runs)"
            )
        twice = [value for place, value in enumerate(found) if value in found[:place]]
        if twice:
            raise UserError(f"{key} has the value {shown(twice[0])} twice; expected each once")
        odd = [value for value in found if isinstance(value, float) and not math.isfinite(value)]
        if odd:
            raise UserError(f"{key} has the value {odd[0]}; expected finite numbers")
        grid[key] = tuple(found)
    return grid


def _parsed(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    if not equals or not key.strip():
        raise UserError(
            f'a sweep expects "KEY=VALUE,VALUE", found "{text}"; for example '
            "train.settings.beta=0.01,0.1"
        )
    parts = list(_split(values))
    if len(parts) > 1 and not all(part.strip() for part in parts):
        raise UserError(f'"{text}" has an empty value; expected KEY=VALUE,VALUE without blanks')
    if parts == [""]:
        raise UserError(f'"{text}" has no values; expected KEY=VALUE,VALUE')
    return key.strip(), [parse_override(f"{key.strip()}={part.strip()}")[1] for part in parts]


def _split(text: str) -> Iterator[str]:
    """Parts between the commas that are in no list, table or quotation.

    >>> list(_split('[1,2],[3],"a,b",c'))
    ['[1,2]', '[3]', '"a,b"', 'c']
    """
    part, depth, quote = "", 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if character == "," and not quote and depth == 0:
            yield part
            part = ""
        else:
            part += character
    yield part


def settings_of(grid: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """All combinations; the last key varies fastest.

    >>> settings_of({"a": [1, 2], "b": [3]})
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def shown(value: Any) -> str:
    """A value as it is typed.

    >>> shown(0.1), shown("nano:target"), shown([1, 2]), shown(True)
    ('0.1', 'nano:target', '[1,2]', 'true')
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def label_of(key: str, grid: Mapping[str, Any]) -> str:
    """The last part of a key, or all of it where another key ends like it."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in grid) == 1 else key


def named(setting: Setting, grid: Grid) -> list[str]:
    """A setting as texts such as "beta=0.1"; values too long for a name are numbered."""
    found = []
    for key, value in setting.items():
        texts = [re.sub(r"[^\w.:@+-]+", "-", shown(other)).strip("-") for other in grid[key]]
        place = list(grid[key]).index(value)
        plain = texts.count(texts[place]) == 1 and 0 < len(texts[place]) <= _LONGEST
        found.append(f"{label_of(key, grid)}={texts[place] if plain else f'v{place + 1}'}")
    return found


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
