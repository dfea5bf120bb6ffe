"""Plugins: entry points of installed distributions, and overrides of built-ins.

Only metadata is read; nothing is imported. A distribution with unreadable metadata is reported and
skipped.

    CRUCIBLE_OVERRIDE="methods:wrpo=crucible-my-wrpo,suites:mt_bench=other-package"

replaces a built-in by a plugin, or selects one of two plugins with the same name.
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
    """One entry point.

    Attributes:
        target: "module:attribute".
        summary: summary of the distribution.
    """

    group: str
    name: str
    target: str
    distribution: str
    summary: str


@cache
def offers() -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """Entry points in the groups of Crucible, and problems found in metadata."""
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
            if canonical(name) in found:  # shadowed by one earlier on the path
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
        except Exception as error:  # a broken distribution must not affect the others
            place = getattr(distribution, "_path", distribution)
            problems.append(f"{place}: unreadable metadata ({type(error).__name__}: {error})")
    everything = [offer for own in found.values() for offer in own]
    for offer in everything:
        if offer.group not in GROUPS:
            guess = nearest(offer.group, GROUPS) or ", ".join(GROUPS)
            problems.append(
                f'{offer.distribution} registers "{offer.name}" in the group '
                f'"{PREFIX}{offer.group}", which does not exist; did you mean "{PREFIX}{guess}"?'
            )
    return tuple(everything), tuple(problems)


def canonical(distribution: str) -> str:
    """Normalised name of a distribution, as packaging tools compare them.

    >>> canonical("Crucible_My.Method")
    'crucible-my-method'
    """
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def overrides() -> dict[tuple[str, str], str]:
    """Parsed $CRUCIBLE_OVERRIDE: (group, name) -> normalised name of the providing distribution.

    Raises:
        UserError: a part of it is malformed.
    """
    chosen: dict[tuple[str, str], str] = {}
    for part in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        group, _, rest = part.partition(":")
        name, _, distribution = rest.rpartition("=")
        if group not in GROUPS or not name or not distribution:
            raise UserError(
                f'{VARIABLE} contains "{part}"; expected GROUP:NAME=DISTRIBUTION with a group of '
                f"{', '.join(GROUPS)}, for example methods:wrpo=crucible-my-wrpo"
            )
        chosen[group, name] = canonical(distribution)
    return chosen
