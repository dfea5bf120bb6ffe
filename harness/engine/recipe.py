"""Recipes: a run as data.

    method = "wrpo"                   # base: holds for every profile
    [train]
    beta = 0.01
    [profile.nano.train]              # the profile over the base
    beta = 0.1
    [profile.nano-control]            # one profile over another: what differs from it
    like = "nano"

`load_recipe` resolves base, profile and `--set a.b=c` into the method's frozen recipe record. Facts
about a model or data set are dropped where a profile, an override or the settings of a system put
another one in its place, see `About`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel

from harness.core.errors import BadRecord, unknown
from harness.core.hashing import digest
from harness.core.records import Record, identity, parse, record_at
from harness.engine.io import meant_file
from harness.engine.overrides import Overrides, merge, overridden, set_key
from harness.engine.preconditions import Preconditions
from harness.engine.recipe_keys import with_meant_key

Reference = Literal[
    "language_model",  # a ModelSpec without metadata is one
    "student",  # a language model with the tokenizer of the recipe's first one
    "reward_model",
    "encoder",
    "reader",  # a chat model that is asked about long texts
    "prompts",
    "preferences",
    "documents",
    "authors",
    "answers",
    "rated",  # answers with scores or ranks
    "tables",
    "tasks",
    "judge",
    "layout",  # how referenced data are laid out: split, column, files
    "columns",  # field of the rows -> column of the data
    "categories",
    "domains",
]


@dataclass(frozen=True)
class Refers:
    """Field metadata: the field refers to something outside the recipe, of this kind.

        reward: Annotated[ModelSpec, Refers("reward_model")]
        prompts: Annotated[str, Refers("prompts")]

    A rehearsal replaces it by its nano counterpart, see `harness.nano.rehearsal`.
    """

    to: Reference


@dataclass(frozen=True)
class Rehearsed:
    """Field metadata: value of the field in a rehearsal, from its value in the recipe; idempotent.

    gap: Annotated[float | None, Rehearsed(lambda gap: None)]
    """

    value: Callable[[Any], Any]


@dataclass(frozen=True)
class About:
    """Field metadata: a fact about what another field of the record refers to.

        revision: Annotated[str | None, About("ref")] = None

    Where an override replaces that field and does not set this one, this one takes its default.
    """

    field: str


class ModelSpec(Record):
    """A model: `nano:<name>`, a folder, or a hub id with an optional revision.

    Attributes:
        name: name on boards and in rows (default: last part of `ref`).
        parameters_b: billions of parameters, for the estimates of a plan; None is unknown.
        trust_remote_code: whether code that comes with the model may run.
    """

    ref: str
    name: Annotated[str | None, About("ref")] = None
    revision: Annotated[str | None, About("ref")] = None
    dtype: Annotated[str, About("ref")] = "auto"
    parameters_b: Annotated[float | None, About("ref")] = None
    trust_remote_code: Annotated[bool, About("ref")] = False

    def display_name(self) -> str:
        """Name on boards and in rows.

        >>> ModelSpec(ref="meta-llama/Meta-Llama-3-8B-Instruct").display_name()
        'Meta-Llama-3-8B-Instruct'
        """
        return self.name or self.ref.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1]


class SystemSpec(Record):
    """One row of the board: a method, with settings that differ from the recipe."""

    name: str
    method: str
    set: dict[str, Any] = {}
    note: str = ""


class SuiteSpec(Record):
    """A benchmark suite with the settings that differ from its defaults.

    Attributes:
        edition: "nano", or "official" for the published questions and judge; "" is nano.
    """

    name: str
    edition: str = ""
    settings: dict[str, Any] = {}


class Recipe(Record):
    """Fields of every recipe; a method adds its own tables in a subclass."""

    method: str
    title: str = ""
    paper: str = ""
    profile: str = ""
    seed: int = 42
    systems: tuple[SystemSpec, ...]
    suites: tuple[SuiteSpec, ...]
    claims: tuple[dict[str, Any], ...] = ()

    def id(self) -> str:
        """Digest of the resolved recipe, shown on every board made from it."""
        return digest(identity(self))


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        recipe: record that validates its recipes.
        plan: (recipe, stage) -> handle of the model artifact, or a `harness.suites.base.Program`.
        recipe_file: TOML file with profiles; None for a method that runs as a system of another
            method's recipe.
        variants: recipe -> systems that one entry of the recipe expands to, for methods such as
            `source` that are several systems.
        fidelity: "reconstruction" for a method whose paper's settings and code are not public;
            shown on boards and recorded in cells.
        preconditions: what must be true of a run before the paper's effect can appear in it.
    """

    name: str
    recipe: type[Recipe]
    plan: Callable[..., Any]
    recipe_file: Path | None = None
    variants: Callable[[Any], tuple[SystemSpec, ...]] | None = field(default=None, kw_only=True)
    fidelity: Literal["", "reconstruction"] = field(default="", kw_only=True)
    preconditions: Preconditions | None = field(default=None, kw_only=True)


T = TypeVar("T", bound=Recipe)


def profiles(path: Path) -> list[str]:
    """Names of the profiles in a recipe file."""
    return list(_table(read_toml(path), "profile", path))


def named_systems(path: Path) -> set[str]:
    """Names of the systems in a recipe file, of all profiles."""
    data = read_toml(path)
    tables = [data, *_table(data, "profile", path).values()]
    listed = [system for table in tables for system in table.get("systems", ())]
    return {str(s["name"]) for s in listed if isinstance(s, dict) and "name" in s}


def load_recipe(
    model: type[T], path: Path, profile: str, overrides: Overrides = (), seed: int | None = None
) -> T:
    """Resolve a recipe file.

    Args:
        overrides: {"a.b": value}, or "a.b=value" strings with the value in TOML syntax or as plain
            text.

    Raises:
        UnknownName: for a profile the file does not have.
        BadRecord: for an unknown key or a wrong type; names file, key and what was expected.
    """
    data = read_toml(path)
    known = _table(data, "profile", path)
    data.pop("profile", None)
    if profile not in known:
        raise unknown("profile", profile, known, f"see {path.name}")
    for table in _layers(known, profile, path):
        data = without_stale(model, data, merge(data, table), _keys(table))
    if "profile" in data:
        raise BadRecord(f'{path}: key "profile.{profile}.profile" is set by the table\'s name')
    data["profile"] = profile
    given = list(overridden(overrides))
    changed = with_overrides(model, data, {key: value for key, value, _ in given})
    if seed is not None:
        changed["seed"] = seed
    try:
        return parse(model, changed, " ".join(f"--set {text}" for _, _, text in given) or str(path))
    except BadRecord as error:
        good = parse(model, data, str(path))  # the fault may be the file's
        raise with_meant_key(
            error, (key for key, _, _ in given), _keys(good.model_dump())
        ) from None


def with_overrides(
    model: type[Record], data: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """`data` with dotted keys set, whatever their order: tables before what is inside them.

    A text for a table of which other keys set fields is the table's `ref`.

    Raises:
        BadRecord: a key leads through something that is no table.
    """
    opened = {
        f"{key}.ref" if _is_short(key, values) else key: value for key, value in values.items()
    }
    changed = dict(data)
    for key in sorted(opened, key=lambda key: key.count(".")):
        changed = set_key(changed, key, opened[key])
    return without_stale(model, data, changed, opened)


def _is_short(key: str, values: Mapping[str, Any]) -> bool:
    return isinstance(values[key], str) and any(other.startswith(f"{key}.") for other in values)


def _layers(known: dict[str, Any], profile: str, path: Path) -> Iterator[dict[str, Any]]:
    """The tables of a profile, each over those before it: the one that `like` names, its own."""
    own = dict(known[profile])
    other = own.pop("like", None)
    if other is not None:
        fit = [name for name, table in known.items() if "like" not in table]
        if other not in fit:
            raise BadRecord(
                f'{path}: key "profile.{profile}.like" is {other!r}; expected a profile without '
                f'"like": {", ".join(fit)}'
            )
        yield known[other]
    yield own


def without_stale(
    model: type[Record], before: Mapping[str, Any], after: Mapping[str, Any], given: Iterable[str]
) -> dict[str, Any]:
    """`after` without facts about something that it replaced, see `About`.

    Args:
        model: record of both tables.
        given: dotted keys that were set between the two; their values stay.
    """
    kept = set(given)

    def walked(old: Any, new: Any, path: tuple[str, ...]) -> Any:
        if ".".join(path) in kept:
            return new
        if isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(new, str):
            same = [*old, *[None] * len(new)]
            return [walked(a, b, (*path, str(n))) for n, (a, b) in enumerate(zip(same, new))]
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            return new
        found = record_at(model, path)
        facts = _facts(found) if found is not None else {}
        return {
            key: walked(old.get(key), value, (*path, key))
            for key, value in new.items()
            if key not in facts
            or ".".join((*path, key)) in kept
            or old.get(facts[key]) in (None, new.get(facts[key]))
        }

    return dict(walked(before, after, ()))


def _facts(record: type[BaseModel]) -> dict[str, str]:
    """Fields of a record that are facts -> the fields that they are about."""
    return {
        name: item.field
        for name, field in record.model_fields.items()
        for item in field.metadata
        if isinstance(item, About)
    }


def _keys(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of the values of a table that are no tables."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        BadRecord: naming the file and what is wrong with it.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read: {error.strerror}{meant_file(path)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecord(f"{path}: not TOML: {error}") from None


def _table(data: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict) or not all(isinstance(v, dict) for v in table.values()):
        raise BadRecord(f'{path}: key "{key}" must be a table of tables')
    return table


def with_settings(recipe: T, settings: Mapping[str, Any], where: str) -> T:
    """The recipe with dotted settings applied, validated together."""
    return parse(type(recipe), with_overrides(type(recipe), recipe.model_dump(), settings), where)
