"""Operations: the versioned pure functions that plans consist of.

A *row* operation maps rows with stable ids to rows with the same ids, batch by batch: the engine
cuts its input into fixed batches, stores each finished batch and recomputes only missing ones. A
*file* operation fills a new directory that becomes visible completely or not at all.

    @operation("double", version=1, params=DoubleParams, rows="numbers")
    def double(context, params, batches, *, numbers):
        for batch in batches:
            yield [{"id": row["id"], "value": row["value"] * params.by} for row in batch]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from harness.core.records import Record
from harness.engine.calls import Services
from harness.engine.io import read_json, read_objects

Row = dict[str, Any]
P = TypeVar("P", bound=Record)


class Context(Protocol):
    """Services of the engine that an operation may use while it runs."""

    directory: Path
    scratch: Path
    services: Services

    @property
    def device(self) -> str: ...

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        """Report the progress of a file operation."""

    def count(
        self,
        *,
        tokens_in: int = 0,
        tokens_out: int = 0,
        requests: int = 0,
        cached: int = 0,
        cost_usd: float | None = None,
    ) -> None:
        """Add to the ledger of the stage; `cached` counts answers from stored responses."""

    def note(self, text: str) -> None:
        """Say a sentence at the end of the stage; it is stored with the artifact."""


@dataclass(frozen=True)
class Artifact:
    """Output of a finished stage: a folder, addressed by the id of the stage."""

    id: str
    path: Path
    operation: str = ""
    params: dict[str, Any] = field(default_factory=dict, compare=False)

    def rows(self) -> list[Row]:
        """All rows, in the order of the input."""
        return read_objects(self.path / "rows.jsonl")

    def read_json(self, name: str) -> Any:
        return read_json(self.path / name)

    @cached_property
    def row_ids(self) -> list[str]:
        return [row["id"] for row in self.rows()]


@dataclass(frozen=True)
class Estimate:
    """Expected cost of a stage. None means unknown, never zero.

    Attributes:
        responses: number of responses in each row.
        tokens: number of tokens read and written.
        requests: number of requests, if the model is hosted.
        tokens_out: number of tokens written.
        parameters_b: billions of parameters of the model that the stage makes or points to.
        at_most: requests and tokens are upper bounds.
        frozen_b: billions of parameters of models that a training runs beside its own.
    """

    rows: int | None = None
    tokens: int | None = None
    requests: int | None = None
    tokens_out: int | None = None
    parameters_b: float | None = None
    gpu_gib: float | None = None
    gpu_seconds: float | None = None
    responses: int | None = None
    at_most: bool = False
    frozen_b: float | None = None


@dataclass(frozen=True)
class Operation(Generic[P]):
    """A registered operation; its name and version are part of the id of each of its stages.

    Attributes:
        asks: it is a file operation that asks its input `model`; row operations need not say so.
    """

    name: str
    version: int
    params: type[P]
    function: Callable[..., Any]
    rows: str | None = None
    libraries: tuple[str, ...] | Callable[[Any], tuple[str, ...]] = ()
    batch_size: Callable[[Any], int] | None = None
    estimate: Callable[..., Estimate] | None = None
    notes: Callable[[Any, Iterable[Row]], Iterable[str]] | None = None
    asks: bool = False

    def library_versions(self, params: Record) -> dict[str, str]:
        """major.minor version of the libraries that the result depends on."""
        named = self.libraries if isinstance(self.libraries, tuple) else self.libraries(params)
        return {library: _installed(library) for library in named}


@cache
def _installed(library: str) -> str:
    # Cached, because reading metadata took 90 % of the time of making a large plan.
    try:
        return ".".join(metadata.version(library).split(".")[:2])
    except metadata.PackageNotFoundError:
        return "absent"


OPERATIONS: dict[str, Operation[Any]] = {}


def operation(
    name: str,
    *,
    version: int,
    params: type[P],
    rows: str | None = None,
    libraries: tuple[str, ...] | Callable[[P], tuple[str, ...]] = (),
    batch_size: Callable[[P], int] | None = None,
    estimate: Callable[..., Estimate] | None = None,
    notes: Callable[[P, Iterable[Row]], Iterable[str]] | None = None,
    asks: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as an operation.

    Args:
        version: to be raised whenever the same inputs and parameters give another result.
        params: record that validates and completes the parameters.
        rows: name of the input that a row operation maps; None makes a file operation.
        libraries: distributions whose major.minor version is part of the stage id; or
            (params) -> them.
        batch_size: (params) -> rows per batch (default: 1).
        estimate: (params, estimates of the inputs by name) -> Estimate.
        notes: of a row operation, (params, all rows) -> sentences for `Context.note`.
        asks: of a file operation, whether it asks its input `model`; plans then list its requests.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        known = OPERATIONS.get(name)
        if known is not None and known.function.__module__ != function.__module__:
            raise ValueError(
                f'operation "{name}" is already defined in {known.function.__module__}; '
                f"{function.__module__} must choose another name"
            )
        OPERATIONS[name] = Operation(
            name, version, params, function, rows, libraries, batch_size, estimate, notes, asks
        )
        return function

    return register
