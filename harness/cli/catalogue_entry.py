"""`crucible methods NAME` and `crucible suites NAME`: one entry of the catalogue in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from harness.cli import screen
from harness.core.errors import UserError
from harness.core.text import line, plain

if TYPE_CHECKING:
    from harness.core.records import Record
    from harness.engine.recipe import Recipe

# Not settings: told above the keys.
_TOLD = {"method", "title", "paper", "profile", "systems", "suites", "claims"}
_LONGEST = 200  # characters of a value


def show_method(name: str) -> None:
    """Print profiles, systems, claims and keys of a method's recipe.

    Raises:
        UnknownName, UserError: no such method, or one without a recipe.
    """
    from harness.engine import registry
    from harness.engine.recipe import load_recipe, profiles
    from harness.reproduce import recipe_of

    entry = registry.entry("methods", name)
    method, path = recipe_of(name)
    host = entry.recipe or name
    record = registry.load("methods", host).recipe if method.recipe_file is None else method.recipe
    names = profiles(path)
    if not names:
        raise UserError(f"{path} has no profile; expected one, such as [profile.nano]")
    recipes = {profile: load_recipe(record, path, profile) for profile in names}
    first = next(iter(recipes.values()))
    console = screen.results()
    console.print(_bold(first.title or name), highlight=False)
    _fact("what it is", entry.summary)
    _fact("paper", first.paper or entry.paper)
    _fact("recipe", f"{path}" + ("" if host == name else f" (of {host})"))
    for profile, recipe in recipes.items():
        suites = ", ".join(suite.name for suite in recipe.suites)
        _fact(f"profile {profile}", f"{len(recipe.systems)} systems on {suites}")
    systems, claims = list(_systems(recipes)), list(_claims(recipes))
    _print_table("Systems", ("system", "method", "settings of its own", "profiles"), systems)
    _print_table("Claims", ("claim", "that", "paper", "profiles"), claims)
    keys = keys_of({profile: _settings(recipe) for profile, recipe in recipes.items()})
    _print_table("Keys (--set KEY=VALUE)", ("key", "value"), keys)
    screen.data(
        {
            "method": name,
            "summary": entry.summary,
            "recipe": str(path),
            "profiles": {
                profile: recipe.model_dump(mode="json") for profile, recipe in recipes.items()
            },
        }
    )


def show_suite(name: str) -> None:
    """Print metrics, editions and settings of a suite.

    Raises:
        UnknownName: no such suite.
    """
    from harness.engine import registry

    entry = registry.entry("suites", name)
    suite = registry.load("suites", name)
    screen.results().print(_bold(name), highlight=False)
    _fact("measures", entry.summary)
    _fact("paper", entry.paper)
    _fact("version", str(suite.version))
    _fact("needs", ", ".join(suite.needs) or "nothing more")
    metrics = [
        (metric.name, metric.unit, "main" if metric.primary else "", metric.summary)
        for metric in suite.metrics
    ]
    _print_table("Metrics", ("metric", "unit", "", "what it is"), metrics)
    defaults = _defaults(suite.settings)
    editions = {"default": defaults} | {
        edition: {**defaults, **dict(_flat(dict(settings)))}
        for edition, settings in suite.editions.items()
    }
    keys = keys_of(editions)
    _print_table(f"Keys (--set {name}.KEY=VALUE)", ("key", "value"), keys)
    screen.data(
        {
            "suite": name,
            "summary": entry.summary,
            "version": suite.version,
            "metrics": [
                dict(zip(("name", "unit", "main", "what"), m, strict=True)) for m in metrics
            ],
            "keys": editions,
        }
    )


def keys_of(profiles: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """Each key with its value, or its values by profile where they differ.

    >>> keys_of({"nano": {"a": "1", "b": "2"}, "paper": {"a": "1", "b": "3"}})
    [('a', '1'), ('b', 'nano: 2; paper: 3')]
    """
    found = []
    for key in dict.fromkeys(key for values in profiles.values() for key in values):
        by_value: dict[str, list[str]] = {}
        for profile, values in profiles.items():
            by_value.setdefault(values.get(key, "not set"), []).append(profile)
        if len(by_value) == 1:
            found.append((key, next(iter(by_value))))
        else:
            said = (f"{', '.join(names)}: {value}" for value, names in by_value.items())
            found.append((key, "; ".join(said)))
    return found


def _settings(recipe: Recipe) -> dict[str, str]:
    values = recipe.model_dump(mode="json")
    found = dict(_flat({key: value for key, value in values.items() if key not in _TOLD}))
    for suite in recipe.suites:
        found |= dict(_flat(dict(suite.settings), f"{suite.name}."))
    return found


def _defaults(settings: type[Record]) -> dict[str, str]:
    found: dict[str, Any] = {}
    for key, field in settings.model_fields.items():
        found[key] = (
            "required" if field.is_required() else field.get_default(call_default_factory=True)
        )
    return dict(_flat(found))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys with their values as text."""
    for key, value in values.items():
        inner = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _said(inner)


def _said(value: Any) -> str:
    """A value as text, cut if it is long.

    >>> _said(None), _said(True), _said(""), _said(("a", 1))
    ('none', 'true', '""', "['a', 1]")
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(list(value)) if isinstance(value, tuple) else str(value) or '""'
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _systems(recipes: Mapping[str, Recipe]) -> Iterator[tuple[str, ...]]:
    seen: dict[tuple[str, ...], list[str]] = {}
    for profile, recipe in recipes.items():
        for system in recipe.systems:
            own = ", ".join(f"{key}={value}" for key, value in _flat(system.set))
            note = "; ".join(filter(None, (own, system.note)))
            seen.setdefault((system.name, system.method, note), []).append(profile)
    yield from _with_profiles(seen, recipes)


def _claims(recipes: Mapping[str, Recipe]) -> Iterator[tuple[str, ...]]:
    from leaderboards.claims import parse_claim

    seen: dict[tuple[str, ...], list[str]] = {}
    for profile, recipe in recipes.items():
        for data in recipe.claims:
            claim = parse_claim(data, f"{profile}, claim")
            metric = f"{claim.suite} {claim.metric.replace('_', ' ')}"
            said = claim.text or claim.said({name: name for name in claim.systems}, metric)
            effect = "" if claim.paper_effect is None else f"{claim.paper_effect:+.4g}"
            paper = " ".join(filter(None, (effect, f"({claim.source})" if claim.source else "")))
            seen.setdefault((claim.id, said, paper), []).append(profile)
    yield from _with_profiles(seen, recipes)


def _with_profiles(
    seen: Mapping[tuple[str, ...], Sequence[str]], recipes: Mapping[str, Recipe]
) -> Iterator[tuple[str, ...]]:
    for told, profiles in seen.items():
        yield (*told, "all" if len(profiles) == len(recipes) else ", ".join(profiles))


def _print_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    rows = list(rows)
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(line(cell)) for cell in row))
    console = screen.results()
    console.print()
    console.print(_bold(title), highlight=False)
    console.print(table)


def _bold(text: str) -> Text:
    return Text(plain(text), style="bold")


def _fact(name: str, value: str) -> None:
    if value:
        said = Text(f"{plain(name):<18} ", style="dim")
        said.append(plain(value), style="not dim")
        screen.results().print(said, highlight=False)
