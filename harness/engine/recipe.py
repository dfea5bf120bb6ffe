"""Recipes: a run as data.

    method = "wrpo"                   # base: holds for every profile
    [train]
    beta = 0.01
    [profile.nano.train]              # one inheritance step: the profile over the base
    beta = 0.1

`load_recipe` resolves base, profile and `--set a.b=c` into the method's frozen recipe record.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from harness.core.errors import BadRecord, UserError, unknown
from harness.core.hashing import digest
from harness.core.records import Record, parse

Reference = Literal[
    "language_model",  # a ModelSpec without metadata is one
    "reward_model",
    "encoder",
    "reader",  # a chat model that is asked about long texts
    "prompts",
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


class ModelSpec(Record):
    """A model: `nano:<name>`, a folder, or a hub id with an optional revision.

    Attributes:
        name: name on boards and in rows (default: last part of `ref`).
        parameters_b: billions of parameters, for the estimates of a plan; None is unknown.
        trust_remote_code: whether code that comes with the model may run.
    """

    ref: str
    name: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    parameters_b: float | None = None
    trust_remote_code: bool = False

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
        return digest(self.model_dump(mode="json"))


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
    """

    name: str
    recipe: type[Recipe]
    plan: Callable[..., Any]
    recipe_file: Path | None = None
    variants: Callable[[Any], tuple[SystemSpec, ...]] | None = field(default=None, kw_only=True)
    fidelity: Literal["", "reconstruction"] = field(default="", kw_only=True)


T = TypeVar("T", bound=Recipe)
Overrides = Mapping[str, Any] | Sequence[str]


def profiles(path: Path) -> list[str]:
    """Names of the profiles in a recipe file."""
    return list(_table(read_toml(path), "profile", path))


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
    data = merge(data, known[profile])
    if "profile" in data:
        raise BadRecord(f'{path}: key "profile.{profile}.profile" is set by the table\'s name')
    data["profile"] = profile
    parse(model, data, str(path))
    for key, value, text in overridden(overrides):
        data = set_key(data, key, value)
        parse(model, data, f"--set {text}")
    if seed is not None:
        data["seed"] = seed
    return parse(model, data, str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        BadRecord: naming the file and what is wrong with it.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecord(f"{path}: not TOML: {error}") from None


def _table(data: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict) or not all(isinstance(v, dict) for v in table.values()):
        raise BadRecord(f'{path}: key "{key}" must be a table of tables')
    return table


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables recursively; other values of `over` replace those of `base`.

    >>> merge({"a": {"x": 1, "y": 2}, "l": [1]}, {"a": {"y": 3}, "l": [2]})
    {'a': {'x': 1, 'y': 3}, 'l': [2]}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def overridden(overrides: Overrides) -> Iterator[tuple[str, Any, str]]:
    """Dotted key, value and text of each override."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            yield key, value, f"{key}={value}"
    else:
        for text in overrides:
            yield *parse_override(text), text


def parse_override(text: str) -> tuple[str, Any]:
    """Split "a.b=value".

    >>> parse_override("train.learning_rate=5e-7")
    ('train.learning_rate', 5e-07)
    >>> parse_override("models.target.ref=nano:target")
    ('models.target.ref', 'nano:target')
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f'--set expects "key=value", found "{text}"; for example train.beta=0.1')
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def set_key(data: Mapping[str, Any], dotted: str, value: object) -> dict[str, Any]:
    """A copy of `data` with the dotted key set; numbers index lists."""
    head, _, rest = dotted.partition(".")
    copied = dict(data)
    if not rest:
        copied[head] = value
        return copied
    inner = copied.get(head, {})
    if isinstance(inner, list):
        index, _, tail = rest.partition(".")
        if not index.isdigit() or int(index) >= len(inner):
            raise BadRecord(f'--set {dotted}: "{head}" is a list of {len(inner)}; found "{index}"')
        items = list(inner)
        items[int(index)] = set_key(items[int(index)], tail, value) if tail else value
        copied[head] = items
    elif isinstance(inner, dict):
        copied[head] = set_key(inner, rest, value)
    else:
        raise BadRecord(f'--set {dotted}: "{head}" is {inner!r}, not a table')
    return copied


def with_settings(recipe: T, settings: Mapping[str, Any], where: str) -> T:
    """The recipe with dotted settings applied, validated."""
    data = recipe.model_dump()
    for key, value in settings.items():
        data = set_key(data, key, value)
    return parse(type(recipe), data, where)
