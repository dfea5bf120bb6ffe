"""The registry: which methods, suites, backends, judges and operations exist, and where.

Every room that provides something has a `catalogue.py` of literal tables. Entry points of the
distribution in the group `crucible.catalogues` name these files, so that lower rooms need not name
higher ones. Third parties extend the groups by their own entry points (`crucible.methods`,
`crucible.suites`, `crucible.backends`, `crucible.judges`). Everything else is imported on first
use; a plugin that fails to load is reported by name and does not affect the others. A plugin
replaces a built-in only if `$CRUCIBLE_OVERRIDE` says so, see `harness.engine.plugins`.

Tables of a catalogue:

    METHODS, SUITES, BACKENDS, JUDGES   tuples of `Entry`, the groups that plugins extend
    CONTRACTS    group -> class that its plugins must provide an instance of
    BASES        group -> class that its plugins must provide a subclass of
    OPERATIONS   operation -> module that defines it
    JUDGED       judge operation -> its questions, see `harness.judging.operations`
    JUDGMENT_FORMS  published judgments -> their reader, see `harness.judging.verdict_sets`
    SOURCES      scheme of data references -> source, see `harness.data.sources`
    CHECKPOINTS  scheme of model references -> table of shipped models, see `harness.models`
    PROMPTS      prompt builder -> "module:function", see `harness.backends.prompting`
    READERS      reply parser -> "module:function", the same
    PARSERS      dependency parser -> its opener, see `harness.data.instructions.parsers`
    STATISTICS   statistic of a cell -> "module:function", see `harness.suites.statistics`
    LOSSES       preference loss -> its definition, see `harness.training.losses`
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from operator import attrgetter
from types import ModuleType
from typing import Any

from harness.core.errors import EnvironmentProblem, UserError, unknown
from harness.engine import plugins
from harness.engine.operations import OPERATIONS, Operation

BUILT_IN = "built-in"
DISTRIBUTION = "crucible-bench"
CATALOGUES = "crucible.catalogues"


@dataclass(frozen=True)
class Entry:
    """One line of a catalogue.

    Attributes:
        target: "module:attribute".
        needs: extras that it requires.
        group: kind shown in the catalogue.
        recipe: method whose recipe includes this one, if it has no recipe file.
        origin: distribution that provides it.
        problem: reason why it cannot be used, known without importing it.
    """

    name: str
    target: str
    summary: str
    needs: tuple[str, ...] = ()
    group: str = ""
    paper: str = ""
    recipe: str = ""
    origin: str = BUILT_IN
    problem: str = ""


@cache
def _catalogues() -> tuple[ModuleType, ...]:
    """Catalogues of all rooms.

    Raises:
        EnvironmentProblem: the distribution is not installed.
    """
    own = [point for point in _points() if _is_own(point)]
    if not own:
        raise EnvironmentProblem(
            f"{DISTRIBUTION} is not installed, so its catalogues cannot be found; install it: "
            "pip install -e ."
        )
    return tuple(importlib.import_module(point.value) for point in own)


@cache
def _foreign_catalogues() -> tuple[tuple[ModuleType, ...], tuple[str, ...]]:
    """Catalogues of other distributions, and why some cannot be used."""
    found: list[ModuleType] = []
    problems: list[str] = []
    for point in _points():
        if _is_own(point):
            continue
        try:
            found.append(importlib.import_module(point.value))
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            whose = point.dist.name if point.dist is not None else point.name
            problems.append(f"catalogue {point.value} of {whose} cannot be loaded: {reason}")
    return tuple(found), tuple(problems)


@cache
def _points() -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=CATALOGUES))


def _is_own(point: metadata.EntryPoint) -> bool:
    return point.dist is None or plugins.canonical(point.dist.name) == DISTRIBUTION


def catalogue_problems() -> tuple[str, ...]:
    """Catalogues of other distributions that cannot be used, each with the reason."""
    return _foreign_catalogues()[1]


@cache
def table(name: str) -> dict[str, Any]:
    """The tables called `name` of all catalogues, as one; those of other distributions add keys.

    Raises:
        ValueError: two catalogues define the same key.
    """
    found: dict[str, Any] = {}
    for catalogue in _catalogues():
        own = getattr(catalogue, name, {})
        if twice := found.keys() & own.keys():
            raise ValueError(f"{name}: {', '.join(sorted(twice))} is in two catalogues")
        found |= own
    for catalogue in _foreign_catalogues()[0]:
        found = {**getattr(catalogue, name, {}), **found}
    return found


def _built_in(group: str) -> dict[str, Entry]:
    lists = [getattr(catalogue, group.upper(), ()) for catalogue in _catalogues()]
    return {entry.name: entry for own in lists for entry in own}


def load_target(target: str) -> Any:
    """Import "module:attribute"."""
    module, _, attribute = target.partition(":")
    return attrgetter(attribute)(importlib.import_module(module))


def entries(group: str) -> dict[str, Entry]:
    """Entries of a group by name, built-ins first; nothing is imported."""
    return _resolved(group)[0]


def notes(group: str) -> tuple[str, ...]:
    """Remarks on the plugins of a group: which replace another entry, which are inactive."""
    return _resolved(group)[1]


@cache
def _resolved(group: str) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """Entries and remarks of a group.

    Raises:
        UserError: an override of this group names a distribution that does not provide the name.
    """
    found: dict[str, Entry] = _built_in(group)
    offered: dict[str, list[plugins.Offer]] = {}
    for offer in plugins.offers()[0]:
        if offer.group == group:
            offered.setdefault(offer.name, []).append(offer)
    chosen = {name: source for (kind, name), source in plugins.overrides().items() if kind == group}
    remarks = []
    for name, source in chosen.items():
        rivals = offered.get(name, [])
        offered[name] = [o for o in rivals if plugins.canonical(o.distribution) == source]
        if not offered[name]:
            known = ", ".join(sorted(o.distribution for o in rivals)) or "no plugin"
            raise UserError(
                f'{plugins.VARIABLE} takes the {_kind(group)} "{name}" from {source}, which does '
                f"not provide it; {known} does"
            )
        place = "the built-in" if name in found else "other plugins of that name"
        remarks.append(f'"{name}" comes from {source}, not from {place} ({plugins.VARIABLE})')
    for name, rivals in offered.items():
        if name in found and name not in chosen:
            for rival in rivals:
                choice = f"{plugins.VARIABLE}={group}:{name}={rival.distribution}"
                remarks.append(
                    f'the {_kind(group)} "{name}" of {rival.distribution} is inactive: a '
                    f"built-in has the same name ({choice} selects the plugin)"
                )
        else:
            found[name] = _entry_of(group, name, rivals, found.get(name))
    return found, tuple(remarks)


def _kind(group: str) -> str:
    return group.removesuffix("s")


def _entry_of(group: str, name: str, rivals: list[plugins.Offer], old: Entry | None) -> Entry:
    """Entry of a plugin in place of `old`; unusable if several distributions offer the name."""
    first, names = rivals[0], sorted({rival.distribution for rival in rivals})
    problem = ""
    if len(names) > 1:
        problem = (
            f'the {_kind(group)} "{name}" is registered by {" and by ".join(names)}; uninstall one '
            f"of them, or choose: {plugins.VARIABLE}={group}:{name}={names[0]}"
        )
    elif len(rivals) > 1:
        problem = f'{names[0]} registers the {_kind(group)} "{name}" twice; expected one entry'
    entry = replace(old or Entry(name, "", ""), target=first.target, origin=" and ".join(names))
    return replace(entry, summary=first.summary or entry.summary, problem=problem)


def entry(group: str, name: str) -> Entry:
    """The entry called `name`.

    Raises:
        UnknownName: with the nearest name and the command that lists the group.
    """
    known = entries(group)
    if name not in known:
        raise unknown(_kind(group), name, known, f"crucible {group}")
    return known[name]


def load(group: str, name: str) -> Any:
    """Import and return the object registered as `name`.

    Raises:
        UnknownName: if there is no such entry.
        EnvironmentProblem: if the plugin cannot be imported, provides an object of another type, or
            shares its name with another plugin; names the distribution.
    """
    found = entry(group, name)
    if found.origin == BUILT_IN:
        return load_target(found.target)
    if found.problem:
        raise EnvironmentProblem(found.problem)
    whose = f'the {_kind(group)} "{name}" of {found.origin}'
    try:
        provided = load_target(found.target)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EnvironmentProblem(
            f"{whose} cannot be loaded: {reason}; repair or uninstall {found.origin}"
        ) from error
    if misfit := _misfit(group, name, provided):
        raise EnvironmentProblem(f"{whose} ({found.target}) {misfit}")
    return provided


def _misfit(group: str, name: str, provided: Any) -> str:
    """Reason why the object of a plugin cannot be used, or ""."""
    contract, base = table("CONTRACTS").get(group), table("BASES").get(group)
    if base is not None:
        if not (isinstance(provided, type) and issubclass(provided, load_target(base))):
            return f"is no subclass of {base.replace(':', '.')}"
    elif contract is not None:
        if not isinstance(provided, load_target(contract)):
            return f"is a {type(provided).__name__}; expected a {contract.replace(':', '.')}"
        if provided.name != name:
            return f'is named "{provided.name}"; expected the name of its entry point'
    elif not callable(provided):
        return f"is a {type(provided).__name__}; expected something callable"
    return ""


def plugin_versions(used: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Distribution -> version of the plugins among (group, name) pairs, for provenance."""
    origins = {entry(group, name).origin for group, name in used} - {BUILT_IN}
    return {origin: metadata.version(origin) for origin in sorted(origins)}


@cache
def added_targets() -> dict[str, str]:
    """Names of judges, backends and catalogue entries of other distributions, with their targets.

    A scheme such as "acme" stands for all references "acme:...".
    """
    found: dict[str, str] = {}
    for catalogue in _foreign_catalogues()[0]:
        for name, own in vars(catalogue).items():
            if name.isupper() and isinstance(own, dict):
                found |= {k: v for k, v in own.items() if isinstance(k, str) and isinstance(v, str)}
    for group in ("judges", "backends"):
        own_entries = entries(group).values()
        found |= {entry.name: entry.target for entry in own_entries if entry.origin != BUILT_IN}
    return found


@cache
def schemes() -> frozenset[str]:
    """First parts of references that are no modules: of models, data, judges and backends."""
    tables = (table("SOURCES"), table("CHECKPOINTS"), entries("judges"), entries("backends"))
    return frozenset(name for known in tables for name in known)


def plugin_name(module: str) -> str:
    """Names of the plugins whose code is in the package of a module, or the module itself."""
    first = module.partition(".")[0]
    names = [
        o.name for o in plugins.offers()[0] if o.target.partition(":")[0].split(".")[0] == first
    ]
    return ", ".join(dict.fromkeys(names)) or module


def load_operation(name: str) -> Operation[Any]:
    """The operation called `name`; imports the module that defines it if necessary.

    Raises:
        UnknownName: if no catalogue and no imported plugin defines it.
    """
    modules = table("OPERATIONS")
    if name not in OPERATIONS and name in modules:
        importlib.import_module(modules[name])
    if name not in OPERATIONS:
        raise unknown("operation", name, {*OPERATIONS, *modules})
    return OPERATIONS[name]
