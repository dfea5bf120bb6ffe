"""Plugins: what installed distributions register by entry points, and which overrides hold.

Only metadata is read here; nothing is imported. A distribution with unreadable metadata is named
and left out.

    CRUCIBLE_OVERRIDE="methods:wrpo=crucible-my-wrpo,suites:mt_bench=other-package"

puts a plugin in the place of a built-in, or decides between two plugins that use one name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from harness.core.errors import UserError, nearest

GROUPS = ("methods", "suites", "backends", "judges")
PREFIX = "crucible."
VARIABLE = "CRUCIBLE_OVERRIDE"


@dataclass(frozen=True)
class Offer:
    """One entry point: `target` is "module:attribute", `summary` the distribution's own."""

    group: str
    name: str
    target: str
    distribution: str
    summary: str


@cache
def offers() -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """Every entry point in our groups, and what could not be used of the others' metadata."""
    found: dict[str, list[Offer]] = {}
    problems: list[str] = []
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
            if f"[{PREFIX}" not in text:
                continue
            about = distribution.metadata
            if not about["Name"]:
                raise ValueError("no name")
            name, summary = str(about["Name"]), (about.get_all("Summary") or [""])[0]
            if canonical(name) in found:  # the same again, further down the path
                continue
            points = [
                point
                for point in distribution.entry_points
                if point.group.startswith(PREFIX) and point.group != f"{PREFIX}catalogues"
            ]
            found[canonical(name)] = [
                Offer(point.group.removeprefix(PREFIX), point.name, point.value, name, summary)
                for point in points
            ]
        except Exception as error:  # whatever is wrong with it, the others work
            place = getattr(distribution, "_path", distribution)
            problems.append(f"{place}: unreadable metadata ({type(error).__name__}: {error})")
    everything = [offer for own in found.values() for offer in own]
    for offer in everything:
        if offer.group not in GROUPS:
            guess = nearest(offer.group, GROUPS) or ", ".join(GROUPS)
            problems.append(
                f'{offer.distribution} registers "{offer.name}" in the group '
                f'"{PREFIX}{offer.group}", which nobody reads; did you mean "{PREFIX}{guess}"?'
            )
    return tuple(everything), tuple(problems)


def canonical(distribution: str) -> str:
    """The name that packaging tools compare distributions by.

    >>> canonical("Crucible_My.Method")
    'crucible-my-method'
    """
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def overrides() -> dict[tuple[str, str], str]:
    """$CRUCIBLE_OVERRIDE: (group, name) -> canonical name of the distribution to take it from.

    Raises:
        UserError: a part of it cannot be read.
    """
    chosen: dict[tuple[str, str], str] = {}
    for part in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        group, _, rest = part.partition(":")
        name, _, distribution = rest.rpartition("=")
        if group not in GROUPS or not name or not distribution:
            raise UserError(
                f'{VARIABLE} holds "{part}"; expected GROUP:NAME=DISTRIBUTION with a group of '
                f"{', '.join(GROUPS)}, for example methods:wrpo=crucible-my-wrpo"
            )
        chosen[group, name] = canonical(distribution)
    return chosen
