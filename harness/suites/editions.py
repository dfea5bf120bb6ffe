"""Editions of a suite (its question sets and judges), overridden by the user's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.errors import unknown
from harness.core.records import Record, parse
from harness.engine.overrides import merge
from harness.suites.base import Suite

NANO, OFFICIAL = "nano", "official"
SOURCES = (
    "prompts",
    "authors",
    "documents",
    "dialogues",
    "judge",
)  # settings that may name a nano source


def resolve_settings(suite: Suite, edition: str, changes: Mapping[str, Any]) -> Record:
    """The suite's settings: its defaults, overridden by an edition, overridden by `changes`.

    Args:
        edition: "" for the nano edition, or the only one.

    Raises:
        UnknownName: the suite has no such edition.
        BadRecord: the suite has no such setting.
    """
    chosen = edition or default_edition(suite)
    if chosen not in suite.editions and (suite.editions or edition):
        raise unknown(f"edition of suite {suite.name}", chosen, suite.editions)
    given = merge(suite.editions.get(chosen, {}), changes)
    return parse(suite.settings, merge(_tables(suite, given), given), f'suite "{suite.name}"')


def default_edition(suite: Suite) -> str:
    """The nano edition, or the only one; "" if there are none."""
    return NANO if NANO in suite.editions else next(iter(suite.editions), "")


def _tables(suite: Suite, given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults of the tables that `given` changes partially, such as `decode`."""
    found = {}
    for key, value in given.items():
        field = suite.settings.model_fields.get(key)
        if isinstance(value, dict) and field is not None and isinstance(field.default, Record):
            found[key] = field.default.model_dump()
    return found


def scale_of(settings: Record, otherwise: str) -> str:
    """ "nano" if any source is the nano world's, so that boards never mix it with other scales."""
    sources = [str(getattr(settings, name, "") or "") for name in SOURCES]
    nano = any(source.startswith("nano:") or "nano-oracle" in source for source in sources)
    return NANO if nano else otherwise
