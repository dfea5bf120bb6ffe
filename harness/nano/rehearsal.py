"""Rehearsals: a recipe on nano models, nano data and a few rows, with the stages of its own plan.

    rehearsal = Rehearsal()
    small = rehearsal.recipe(recipe)

The records of the recipe are walked; methods contribute declarations only. A field marked with
`harness.engine.recipe.Refers` is replaced by its nano counterpart:

    language_model                   target, source_a, source_b, source_c in order of appearance
    student                          student, which has the tokenizer of target
    reward_model, encoder, reader    the nano model of that kind
    prompts, preferences, documents  the nano training split
    rated                            rated answers of the nano world of symbols
    layout                           the default of the field
    columns                          the nano answer, for every column
    categories                       one nano category per prompt set, so that sets stay distinct
    domains                          nano skills

A suite runs in its nano edition: its settings that refer to anything are dropped, and tasks become
nano tasks. Different models of a recipe stay different and equal ones equal, so that a plan and its
rehearsal have the same stages. Sizes listed in `SIZES` shrink; fields marked with
`harness.engine.recipe.Rehearsed` follow their own rule. Other settings, systems and claims stay.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from harness.core.records import Record, parse
from harness.engine import registry
from harness.engine.recipe import ModelSpec, Recipe, Refers, Rehearsed, SuiteSpec
from harness.nano.world.types import CATEGORY, SKILLS
from harness.suites.base import SYSTEM, Suite
from harness.suites.editions import NANO, resolve_settings
from harness.suites.lm_eval.catalogue import NANO as NANO_TASKS

MODELS = {
    "language_model": ("nano:target", "nano:source_a", "nano:source_b", "nano:source_c"),
    "student": ("nano:student",),
    "reward_model": ("nano:reward",),
    "encoder": ("nano:encoder",),
    "reader": ("nano:reader",),
}
# Two models replaced by the same nano model differ in dtype, hence have separate stages.
DTYPES = ("float32", "auto", "bfloat16")
SPLIT = "nano:train"
RATED = "nano:symbols/costly"
CATEGORIES = tuple(category for category in CATEGORY.values() if category != "math")
# Field -> its largest value. It also replaces a `limit` of None; other fields keep None.
SIZES = {
    "limit": 24,
    "max_tokens": 96,
    "max_length": 256,
    "max_prompt_length": 128,
    "block_size": 256,
    "batch_size": 24,
    "per_device_batch_size": 2,
    "accumulation_steps": 2,
}

R = TypeVar("R", bound=Recipe)


class Rehearsal:
    """Replaces the outside references of recipes; one object per run.

    Equal models get the same replacement in all recipes of one object, so that systems with
    settings of their own share models with the recipe they modify.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, dict[Hashable, int]] = {}

    def recipe(self, recipe: R) -> R:
        """The recipe with everything replaced; applying it twice changes nothing more.

        Raises:
            UnknownName: a suite of the recipe does not exist.
            BadRecord: for a setting that a suite does not have.
        """
        return parse(type(recipe), self._record(recipe).model_dump(), "rehearsal")

    def _record(self, record: Any) -> Any:
        changed = {
            name: self._field(record, name, field)
            for name, field in type(record).model_fields.items()
        }
        return record.model_copy(update=changed)

    def _field(self, record: Record, name: str, field: FieldInfo) -> Any:
        value = getattr(record, name)
        own = declared(type(record), name, Rehearsed)
        if own is not None:
            return own.value(value)
        kind = refers_to(type(record), name)
        if kind in ("", *MODELS):
            return self._value(name, kind, value)
        return self._referred(kind, record, field, value)

    def _value(self, name: str, kind: str, value: Any) -> Any:
        if isinstance(value, ModelSpec):
            return self._model(kind or "language_model", value)
        if isinstance(value, SuiteSpec):
            return self._suite(value)
        if isinstance(value, Record):
            return self._record(value)
        if isinstance(value, tuple):
            return tuple(self._value(name, kind, item) for item in value)
        if isinstance(value, dict):
            return {key: self._value("", kind, item) for key, item in value.items()}
        if name == "dtype" and value in ("bfloat16", "float16"):
            return "float32"
        if name == "limit" and value is None:
            return SIZES[name]
        return min(value, SIZES[name]) if name in SIZES and isinstance(value, int) else value

    def _model(self, kind: str, spec: ModelSpec) -> ModelSpec:
        if spec.ref.startswith("nano:"):
            return spec
        refs = MODELS[kind]
        identity = (spec.ref, spec.revision, spec.dtype, spec.trust_remote_code)
        turn, place = divmod(self._number(kind, identity), len(refs))
        dtype = DTYPES[turn % len(DTYPES)]
        return ModelSpec(ref=refs[place], name=spec.display_name(), dtype=dtype)

    def _number(self, kind: str, identity: Hashable) -> int:
        """Number of an identity among those of its kind, in order of appearance."""
        known = self._numbers.setdefault(kind, {})
        return known.setdefault(identity, len(known))

    def _referred(self, kind: str, record: Record, field: FieldInfo, value: Any) -> Any:
        match kind:
            case "prompts" | "preferences" | "documents":
                return SPLIT if value and not value.startswith("nano:") else value
            case "rated":
                return RATED if value and not value.startswith("nano:") else value
            case "layout":
                return (
                    value if field.is_required() else field.get_default(call_default_factory=True)
                )
            case "columns":
                return dict.fromkeys(value, "answer")
            case "categories":
                return value if set(value) & {*CATEGORY.values()} else self._category(record)
            case "domains":
                return _each(value, self._skill)
        return value

    def _category(self, record: Record) -> tuple[str]:
        """Mathematics for rows that carry answers to check, which must be numbers; else another."""
        parts = type(record).model_fields
        columns = [getattr(record, n) for n in parts if refers_to(type(record), n) == "columns"]
        if any("answer" in fields for fields in columns):
            return ("math",)
        identity = record.model_dump_json()
        return (CATEGORIES[self._number("categories", identity) % len(CATEGORIES)],)

    def _skill(self, name: str) -> str:
        return name if name in SKILLS else SKILLS[self._number("domains", name) % len(SKILLS)]

    def _suite(self, spec: SuiteSpec) -> SuiteSpec:
        """The suite on its nano questions with its nano judge; its other settings stay."""
        suite: Suite = registry.load("suites", spec.name)
        required = {k for k, f in suite.settings.model_fields.items() if f.is_required()}
        given = {
            k: v
            for k, v in spec.settings.items()
            if k in required or not refers_to(suite.settings, k) or _is_system(v)
        }
        resolved = resolve_settings(suite, NANO if NANO in suite.editions else "", given)
        small = {
            name: NANO_TASKS.tasks if kind == "tasks" else self._field(resolved, name, field)
            for name, field in suite.settings.model_fields.items()
            if (kind := refers_to(suite.settings, name)) in ("", "tasks")
        }
        before, after = (r.model_dump() for r in (resolved, resolved.model_copy(update=small)))
        changed = {name: after[name] for name in small if after[name] != before[name]}
        return spec.model_copy(update={"edition": "", "settings": {**given, **changed}})


def _is_system(value: Any) -> bool:
    """Whether a setting names a system of the recipe, or a table of systems."""
    values = value.values() if isinstance(value, dict) else [value]
    return all(str(one).startswith(SYSTEM) for one in values)


def refers_to(record: type[Record], name: str) -> str:
    """Kind of thing that a field refers to, as declared; "" for none."""
    found = declared(record, name, Refers)
    return "" if found is None else found.to


M = TypeVar("M", Refers, Rehearsed)


def declared(record: type[Record], name: str, marker: type[M]) -> M | None:
    """The marker of a field, on the record or on one that it extends."""
    for base in record.__mro__:
        if issubclass(base, Record) and name in base.model_fields:
            for item in base.model_fields[name].metadata:
                if isinstance(item, marker):
                    return item
    return None


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """`change` applied to every text of nested tuples."""
    return change(value) if isinstance(value, str) else tuple(_each(v, change) for v in value)
