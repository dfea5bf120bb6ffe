"""Operations: the versioned pure functions that every plan is made of.

A *row* operation maps rows with stable ids to rows with the same ids, batch by batch; the engine
cuts the input into fixed batches, keeps each finished batch, and asks again only for the missing
ones. A *file* operation fills a fresh directory that appears as a whole or not at all.

    @operation("double", version=1, params=DoubleParams, rows="numbers")
    def double(context, params, batches, *, numbers):
        for batch in batches:
            yield [{"id": row["id"], "value": row["value"] * params.by} for row in batch]
"""

from __future__ import annotations

from collections.abc import Callable
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
    """What an operation may ask of the engine that runs it."""

    directory: Path
    scratch: Path
    device: str
    services: Services

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        """Report how far a file operation has come."""

    def count(
        self,
        *,
        tokens_in: int = 0,
        tokens_out: int = 0,
        requests: int = 0,
        cached: int = 0,
        cost_usd: float | None = None,
    ) -> None:
        """Add to the stage's ledger; `cached` answers came from stored responses."""


@dataclass(frozen=True)
class Artifact:
    """What a finished stage made: a folder, addressed by the stage's id."""

    id: str
    path: Path
    operation: str = ""
    params: dict[str, Any] = field(default_factory=dict, compare=False)

    def rows(self) -> list[Row]:
        """All rows, in the order of the input they were made from."""
        return read_objects(self.path / "rows.jsonl")

    def read_json(self, name: str) -> Any:
        return read_json(self.path / name)

    @cached_property
    def row_ids(self) -> list[str]:
        return [row["id"] for row in self.rows()]


@dataclass(frozen=True)
class Estimate:
    """What a stage is expected to cost. None means unknown, never zero.

    `responses` are those in each row; `tokens` counts those read and written, `tokens_out` those
    written; `requests` are those that a hosted model would get.
    """

    rows: int | None = None
    tokens: int | None = None
    requests: int | None = None
    tokens_out: int | None = None
    parameters_b: float | None = None
    gpu_gib: float | None = None
    gpu_seconds: float | None = None
    responses: int | None = None


@dataclass(frozen=True)
class Operation(Generic[P]):
    """A registered operation; its name and version are part of every id made with it."""

    name: str
    version: int
    params: type[P]
    function: Callable[..., Any]
    rows: str | None = None
    libraries: tuple[str, ...] = ()
    batch_size: Callable[[Any], int] | None = None
    estimate: Callable[..., Estimate] | None = None

    def library_versions(self) -> dict[str, str]:
        """major.minor of the libraries whose version changes what this operation means."""
        return {library: _installed(library) for library in self.libraries}


@cache
def _installed(library: str) -> str:
    # Reading a distribution's metadata took nine tenths of the time of making a large plan.
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
    libraries: tuple[str, ...] = (),
    batch_size: Callable[[P], int] | None = None,
    estimate: Callable[..., Estimate] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as an operation.

    Args:
        version: raise it whenever the same inputs and parameters would give another result.
        params: the record that validates and completes the parameters.
        rows: name of the driving input of a row operation; None makes a file operation.
        libraries: distributions whose major.minor version belongs to the stage id.
        batch_size: rows a batch, from the parameters; 1 when not given.
        estimate: (params, inputs' estimates by name) -> Estimate.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        known = OPERATIONS.get(name)
        if known is not None and known.function.__module__ != function.__module__:
            raise ValueError(
                f'operation "{name}" is already defined in {known.function.__module__}; '
                f"{function.__module__} must choose another name"
            )
        OPERATIONS[name] = Operation(
            name, version, params, function, rows, libraries, batch_size, estimate
        )
        return function

    return register
