"""Running one operation on rows, without an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.hashing import canonical_json
from harness.engine.calls import Services
from harness.engine.operations import Artifact, Row
from harness.engine.registry import load_operation


class FakeContext:
    """A context that counts."""

    device = "cpu"

    def __init__(self, directory: Path) -> None:
        self.directory = self.scratch = directory
        self.requests = 0
        self.services = Services()

    def progress(self, done: int, total: int, unit: str = "rows") -> None: ...

    def count(self, *, requests: int = 0, **more: object) -> None:
        self.requests += requests

    def note(self, text: str) -> None: ...


@pytest.fixture
def rows_artifact(tmp_path: Path) -> Callable[[list[Row]], Artifact]:
    """`rows_artifact(rows)`: an artifact that holds them."""
    made = iter(range(1000))

    def make(rows: list[Row]) -> Artifact:
        folder = tmp_path / f"artifact-{next(made)}"
        folder.mkdir()
        (folder / "rows.jsonl").write_bytes(b"".join(canonical_json(r) + b"\n" for r in rows))
        return Artifact(folder.name, folder)

    return make


@pytest.fixture
def run_operation(
    tmp_path: Path, rows_artifact: Callable[[list[Row]], Artifact]
) -> Callable[..., Artifact]:
    """`run_operation("follow_up", {}, responses=artifact)`: what the operation makes."""
    made = iter(range(1000))

    def run(name: str, params: dict[str, Any], **inputs: Any) -> Artifact:
        operation = load_operation(name)
        resolved = operation.params.model_validate(params)
        folder = tmp_path / f"{name}-{next(made)}"
        folder.mkdir()
        context = FakeContext(folder)
        if operation.rows is None:
            operation.function(context, resolved, **inputs)
            return Artifact(folder.name, folder)
        rows = inputs[operation.rows].rows()
        size = operation.batch_size(resolved) if operation.batch_size else 1

        def batches() -> Iterator[list[Row]]:
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

        found = [
            row
            for made in operation.function(context, resolved, batches(), **inputs)
            for row in made
        ]
        assert [row["id"] for row in found] == [row["id"] for row in rows]
        return rows_artifact(found)

    return run
