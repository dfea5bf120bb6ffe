"""Damaged artifacts: which are found, what is lost with them, and what is said."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from harness.core.records import Record
from harness.engine import mending
from harness.engine.io import write_json, write_rows
from harness.engine.mending import examine, mend
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.run import InlineExecutor
from harness.engine.store import Store


class NoParams(Record):
    pass


@operation("test_mend_rows", version=1, params=NoParams)
def mend_rows(context: Context, params: NoParams) -> None:
    write_rows(context.directory / "rows.jsonl", [{"id": f"r{n}"} for n in range(4)])


@operation("test_mend_copy", version=1, params=NoParams, rows="rows")
def mend_copy(
    context: Context, params: NoParams, batches: Iterable[list[Row]], *, rows: Artifact
) -> Iterator[list[Row]]:
    yield from batches


@operation("test_mend_cells", version=1, params=NoParams)
def mend_cells(context: Context, params: NoParams, *, rows: Artifact) -> None:
    write_json(context.directory / "cells.json", rows.row_ids)


def planned() -> tuple[Plan, list[Handle]]:
    """The plan, and the handles of rows, copy and cells."""
    plan = Plan()
    rows = plan.stage("test_mend_rows")
    copy = plan.stage("test_mend_copy", rows=rows)
    return plan, [rows, copy, plan.stage("test_mend_cells", rows=copy)]


PLAN, (ROWS, COPY, CELLS) = planned()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with the finished plan, whose files were never read."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    made = Store(tmp_path / "home")
    InlineExecutor().execute(PLAN, [CELLS], made)
    return Store(tmp_path / "home")


def damage(store: Store, handle: Handle, name: str = "rows.jsonl") -> None:
    """Another content of the same size."""
    path = store.folder(handle.id) / name
    path.write_bytes(path.read_bytes().replace(b"r2", b"r9"))


def said_of(store: Store, *targets: Handle) -> tuple[list[str], list[tuple[str, str]]]:
    said: list[tuple[str, str]] = []

    def report(stage: Stage, text: str) -> None:
        said.append((stage.id, text.replace(str(store.root), "HOME")))

    return mend(PLAN, targets, store, report), said


def test_a_sound_plan_is_finished_and_nothing_is_said(store: Store) -> None:
    assert said_of(store, CELLS) == ([ROWS.id, COPY.id, CELLS.id], [])
    assert not (store.root / "damaged").exists()


@pytest.mark.parametrize(
    ("handle", "name", "more"),
    [
        (ROWS, "rows.jsonl", " with the 2 artifacts made from it"),
        (COPY, "rows.jsonl", " with the artifact made from it"),
        (CELLS, "cells.json", ""),
    ],
)
def test_what_was_made_from_a_damaged_artifact_is_lost_with_it(
    store: Store, handle: Handle, name: str, more: str
) -> None:
    damage(store, handle, name)
    size = (store.folder(handle.id) / name).stat().st_size
    finished, said = said_of(store, CELLS)
    order = [ROWS, COPY, CELLS]
    before, after = order[: order.index(handle)], order[order.index(handle) + 1 :]
    problem = f"{name} has another content than was written, in the same {size} bytes"
    assert said == [(handle.id, f"artifact {handle.id[:10]} is damaged: {problem}; it is in "
                     f"HOME/damaged/{handle.id} and is computed again{more}")]  # fmt: skip
    assert finished == [one.id for one in before]
    assert store.ids() == sorted(finished)
    aside = store.root / "damaged"
    assert (aside / f"{handle.id}.txt").read_text() == f"{problem}\n"
    for lost in after:
        assert (aside / f"{lost.id}.txt").read_text() == "made from a damaged artifact\n"


def test_two_damaged_artifacts_are_both_named(store: Store) -> None:
    damage(store, ROWS)
    damage(store, COPY)
    finished, said = said_of(store, CELLS)
    assert finished == []
    assert [id for id, _ in said] == [ROWS.id, COPY.id]
    assert [text.rpartition("again")[2] for _, text in said] == [
        " with the artifact made from it"
    ] * 2
    assert store.ids() == []


def test_a_large_file_is_read_where_a_run_opens_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "SMALL", 3)
    damage(store, ROWS)
    assert examine(PLAN, [CELLS], store) == ([ROWS.id, COPY.id, CELLS.id], {})  # not opened
    assert list(examine(PLAN, [ROWS], store)[1]) == [ROWS.id]
    store.discard(COPY.id)
    assert list(examine(PLAN, [CELLS], store)[1]) == []  # cells are there, nothing is computed
    store.discard(CELLS.id)
    finished, damaged = examine(PLAN, [CELLS], store)
    assert (finished, list(damaged)) == ([], [ROWS.id])


def test_a_damaged_target_opens_what_it_was_made_from(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "SMALL", 3)
    damage(store, COPY)
    damage(store, CELLS, "cells.json")
    finished, damaged = examine(PLAN, [CELLS], store)
    assert sorted(damaged) == sorted([COPY.id, CELLS.id])
    assert finished == [ROWS.id]


def age(store: Store, handle: Handle) -> None:
    """Make an artifact one of an earlier version, without list of files."""
    path = store.folder(handle.id) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps({k: v for k, v in manifest.items() if k not in ("files", "digest")}))


def test_rows_of_an_earlier_version_are_those_of_its_input(store: Store) -> None:
    age(store, COPY)
    path = store.folder(COPY.id) / "rows.jsonl"
    lines = path.read_bytes().splitlines(True)
    assert examine(PLAN, [CELLS], store)[1] == {}
    for changed, said in (
        ([lines[0], lines[2], lines[1], lines[3]], "row 2 of rows.jsonl is that of 'r2'; 'r1' was"),
        (lines[:3], "row 4 of rows.jsonl is that of None; 'r3' was given"),
        ([*lines, b'{"id":"x"}\n'], "row 5 of rows.jsonl is that of 'x'; None was given"),
    ):
        path.write_bytes(b"".join(changed))
        (problem,) = examine(PLAN, [CELLS], store)[1].values()
        assert problem.startswith(said)
    # Nothing can be said without the input, or with a damaged one.
    damage(store, ROWS)
    assert list(examine(PLAN, [CELLS], store)[1]) == [ROWS.id]
    store.discard(ROWS.id)
    assert examine(PLAN, [CELLS], store)[1] == {}
