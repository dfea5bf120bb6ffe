"""Records: frozen, strict data that crosses a seam.

A record refuses unknown fields and never changes; `parse` turns pydantic's report into one line
that names file, key, what was found and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from harness.core.errors import BadRecord, nearest

R = TypeVar("R", bound="Record")

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class How:
    """Field metadata: the field says how something is computed, not what; see `identity`.

    launch: Annotated[LaunchSettings | None, How()] = None
    """


def identity(record: Record) -> dict[str, Any]:
    """The record as JSON without fields that are marked as `How`, for digests."""
    return record.model_dump(mode="json", exclude=_how(record) or None)


def _how(record: Record) -> dict[str, Any]:
    """Fields to leave out, also of records inside, as pydantic names them."""
    found: dict[str, Any] = {}
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if any(isinstance(mark, How) for mark in field.metadata):
            found[name] = True
        elif isinstance(value, Record) and (inside := _how(value)):
            found[name] = inside
    return found


def parse(model: type[R], data: Mapping[str, object], where: str) -> R:
    """Validate `data` as a record.

    Args:
        where: the file or option the data came from, for the message.

    Raises:
        BadRecord: one line with place, dotted key, what was found and what was expected.
    """
    if not isinstance(data, Mapping):
        raise BadRecord(f"{where}: expected an object, found {type(data).__name__}")
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise BadRecord(f"{where}: {_first_problem(model, error)}") from None


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    # A misspelt key reads as one missing and one unknown: naming the unknown one helps more.
    problem = min(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        guess = nearest(path[-1], field_names(model, path[:-1]))
        hint = f'; did you mean "{guess}"?' if guess else ""
        return f'unknown key "{key}"{hint}{more}'
    if problem["type"] == "missing":
        return f'key "{key}" is missing{more}'
    message = problem["msg"].removeprefix("Value error, ")
    if not path:  # a rule about several keys names them itself
        return f"expected {message[0].lower()}{message[1:]}{more}"
    found = repr(problem["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    return f'key "{key}" is {found}; expected: {message[0].lower()}{message[1:]}{more}'


def field_names(model: type[BaseModel], path: list[str]) -> list[str]:
    """Names of the fields of the record found at `path` inside `model`, see `record_at`."""
    found = record_at(model, path)
    return list(found.model_fields) if found else []


def record_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The record at `path` inside `model`, None if there is none; list indexes are skipped."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is None:
            return None
        field = current.model_fields.get(part)
        if field is not None:
            current = _record_inside(field.annotation)
    return current


def _record_inside(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _record_inside(argument)
        if found is not None:
            return found
    return None


class Interval(Record):
    """An interval around a score; `kind` says what was resampled."""

    low: float
    high: float
    level: float = 0.95
    kind: str


class Resampled(Record):
    """The sample behind a cell's replicates.

    For a mean or a ratio of sums, value = sum(values) / sum(weights) over the rows that have a
    value, so that two cells can be compared on the rows that both have. Rows are in the order of
    the prompt set.

    Attributes:
        units: number of resampling units (prompts or clusters) with a value.
        span: lowest and highest possible value of the metric.
        values: numerator of each row, in the cell's unit times weight; None for a row that failed
            or does not belong to the metric. () for a metric that is not a mean.
        weights: denominator of each row; () if all are 1.
        clusters: number of each row's resampling unit; () if every row is one.
        failed_scored: failed rows have a value by the metric's own rule (an abstention counts as
            wrong); the bounds then do not qualify comparisons.
        statistic: for a metric that is no ratio of sums, the name of the function of the sums of
            `columns` that gives it, see `harness.suites.statistics`.
        columns: sufficient statistics: for each, one number per row, 0 for a row left out.
    """

    units: int
    span: tuple[float, float] | None = None
    values: tuple[float | None, ...] = ()
    weights: tuple[float, ...] = ()
    clusters: tuple[int, ...] = ()
    failed_scored: bool = False
    statistic: str = Field(default="", exclude_if=lambda name: not name)
    columns: tuple[tuple[float, ...], ...] = Field(default=(), exclude_if=lambda found: not found)


class Cell(Record):
    """One score of one system in one suite, for one seed: the unit every board is made of.

    `replicates` hold the metric under prompt resamples that all systems share, so that the
    difference of two cells has a paired interval without going back to the samples. `resampled` is
    absent from cells of earlier versions, and from their serialised form.
    """

    system: str
    suite: str
    metric: str
    unit: str = "%"
    value: float | None
    interval: Interval | None = None
    n_expected: int
    n_scored: int
    n_failed: int
    bounds: tuple[float, float] | None = None
    seed: int = 0
    scale: str
    judge: str | None
    judge_fingerprint: str | None
    decode_fingerprint: str | None
    prompt_set: str
    artifacts: dict[str, str] = {}
    replicates: tuple[float, ...] = ()
    higher_is_better: bool = True
    primary: bool = True
    details: dict[str, float | int | str | bool | None] = {}
    resampled: Resampled | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        found: dict[str, object] = serialise(self)
        if self.resampled is None:
            found.pop("resampled", None)
        return found
