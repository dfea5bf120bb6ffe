"""Dated prices of hosted models, from a built-in table that a user's file overrides.

    prices = PriceList.load(Path("mine.toml"))       # None: the built-in table alone
    prices.of("gpt-4-1106-preview")                  # a Price, or None: unpriced, never zero

The form of both files:

    [models."gpt-4-1106-preview"]
    usd_per_million_in = 10.0
    usd_per_million_out = 30.0
    as_of = "2026-11-22"          # the day the source was read
    source = "where the figures were read"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.core.errors import BadRecord, UserError
from harness.core.records import Record, parse

BUILT_IN = Path(__file__).with_name("prices.toml")
PROVIDER = "openai"  # the provider of the built-in table
BATCH_SHARE = 0.5  # price of a request sent through a batch interface, relative to a live one

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class Price(Record):
    """USD per million tokens, with date and source of the figures."""

    usd_per_million_in: float = Field(ge=0)
    usd_per_million_out: float = Field(ge=0)
    as_of: date | None = None
    source: str = ""

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Cost in USD.

        >>> Price(usd_per_million_in=10, usd_per_million_out=30).cost(1000, 100)
        0.013
        """
        total = tokens_in * self.usd_per_million_in + tokens_out * self.usd_per_million_out
        return total / 1e6

    def share(self, part: float) -> Price:
        """The same price, scaled."""
        return self.model_copy(
            update={
                "usd_per_million_in": part * self.usd_per_million_in,
                "usd_per_million_out": part * self.usd_per_million_out,
            }
        )


class PriceList:
    """Prices by model: a user's file holds for every endpoint, the built-in table for OpenAI.

    A model of the same name on another server may have another price, or none.
    """

    def __init__(self, built_in: Mapping[str, Price], own: Mapping[str, Price]) -> None:
        self._built_in = dict(built_in)
        self._own = dict(own)

    @classmethod
    def load(cls, path: Path | None = None) -> PriceList:
        """The built-in table, overridden by the file `path`.

        Raises:
            UserError: the file cannot be read.
            BadRecord: the file is not TOML, or not of the form above.
        """
        return cls(_read(BUILT_IN), {} if path is None else _read(path))

    def of(self, model: str, identity: str = PROVIDER) -> Price | None:
        """The price of a model; None where it is unknown.

        The exact name takes precedence; a dated snapshot without its own price has the price of
        the undated name.

        Args:
            identity: identity of the endpoint, see `harness.backends.api.endpoint`.
        """
        tables = [self._own] + ([self._built_in] if identity == PROVIDER else [])
        for name in (model, _SNAPSHOT.sub("", model)):
            for table in tables:
                if name in table:
                    return table[name]
        return None


def _read(path: Path) -> dict[str, Price]:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"price file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise BadRecord(f"price file {path} is not TOML: {error}") from None
    models = data.pop("models", None)
    if not isinstance(models, dict) or data:
        raise BadRecord(
            f'price file {path}: expected tables [models."<name>"] and nothing else, '
            f"found {', '.join(sorted(data)) or 'none'}"
        )
    found = {}
    for name, entry in models.items():
        if not isinstance(entry, dict):
            raise BadRecord(f'price file {path}: models."{name}" is {entry!r}; expected a table')
        found[name] = parse(Price, entry, f'price file {path}, models."{name}"')
    return found
