"""Operations and artifacts: what is registered, and what is read of an artifact."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from harness.core.records import Record
from harness.engine.operations import OPERATIONS, Artifact, Estimate, Operation, operation


class Params(Record):
    size: int = 7


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for name in ("test_full", "test_bare"):
        OPERATIONS.pop(name, None)


def test_an_operation_is_registered_with_everything_that_it_declares() -> None:
    def cells(*_: Any) -> None: ...

    def estimate(*_: Any) -> Estimate:
        return Estimate()

    def notes(*_: Any) -> list[str]:
        return []

    declared: dict[str, Any] = {
        "version": 3, "params": Params, "rows": "own", "libraries": ("numpy",),
        "batch_size": lambda params: params.size, "estimate": estimate, "notes": notes,
        "asks": True,
    }  # fmt: skip
    assert operation("test_full", **declared)(cells) is cells
    assert OPERATIONS["test_full"] == Operation(name="test_full", function=cells, **declared)
    operation("test_bare", version=1, params=Params)(cells)
    bare = OPERATIONS["test_bare"]
    assert (bare.rows, bare.libraries, bare.batch_size, bare.asks) == (None, (), None, False)
    assert (bare.estimate, bare.notes) == (None, None)


def test_a_name_belongs_to_one_module() -> None:
    def first() -> None: ...

    def again() -> None: ...

    def other() -> None: ...

    other.__module__ = "somewhere.else"
    register = operation("test_full", version=1, params=Params)
    register(first)
    register(again)  # the same module, read again
    assert OPERATIONS["test_full"].function is again
    with pytest.raises(ValueError, match=r'"test_full" is already defined in .*must choose'):
        register(other)
    assert OPERATIONS["test_full"].function is again


def test_libraries_count_by_major_and_minor_version() -> None:
    made = Operation("o", 1, Params, print, libraries=("numpy", "pydantic", "no-such-library"))
    assert made.library_versions(Params()) == {
        "numpy": ".".join(metadata.version("numpy").split(".")[:2]),
        "pydantic": ".".join(metadata.version("pydantic").split(".")[:2]),
        "no-such-library": "absent",
    }
    assert Operation("o", 1, Params, print).library_versions(Params()) == {}
    by_size = Operation("o", 1, Params, print, libraries=lambda params: ("a",) * (params.size > 7))
    assert by_size.library_versions(Params()) == {}
    assert by_size.library_versions(Params(size=8)) == {"a": "absent"}


def test_an_artifact_reads_its_files(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id":"b","x":1}\n{"id":"a","x":2}\n')
    (tmp_path / "facts.json").write_text('{"n": 3}')
    made = Artifact("id", tmp_path)
    assert made.rows() == [{"id": "b", "x": 1}, {"id": "a", "x": 2}]
    assert made.row_ids == ["b", "a"]
    assert made.read_json("facts.json") == {"n": 3}
    assert (made.operation, made.params) == ("", {})
