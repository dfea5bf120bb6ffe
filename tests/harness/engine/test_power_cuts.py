"""The power is cut before each flush in turn; the next run ends with the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from harness.core.records import Record
from harness.engine.io import atomic_folder, replace_file, write_json, write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from tests.power_cuts import disk_under


class NoParams(Record):
    pass


@operation("test_cut_rows", version=1, params=NoParams)
def cut_rows(context: Context, params: NoParams) -> None:
    write_rows(context.directory / "rows.jsonl", [{"id": f"r{n}", "n": n} for n in range(7)])


@operation("test_cut_squares", version=1, params=NoParams, rows="rows", batch_size=lambda _: 2)
def cut_squares(
    context: Context, params: NoParams, batches: Iterable[list[Row]], *, rows: Artifact
) -> Iterator[list[Row]]:
    for batch in batches:
        yield [{"id": row["id"], "square": row["n"] ** 2} for row in batch]


@operation("test_cut_model", version=1, params=NoParams)
def cut_model(context: Context, params: NoParams, *, rows: Artifact) -> None:
    (context.directory / "tokenizer").mkdir()
    (context.directory / "tokenizer" / "vocabulary.json").write_text('{"a": 1}')
    (context.directory / "model.safetensors").write_bytes(bytes(range(256)) * 100)


@operation("test_cut_cells", version=1, params=NoParams)
def cut_cells(context: Context, params: NoParams, *, rows: Artifact, model: Artifact) -> None:
    total = sum(row["square"] for row in rows.rows())
    size = (model.path / "model.safetensors").stat().st_size
    write_json(context.directory / "cells.json", [{"value": total, "size": size}])


def planned() -> tuple[Plan, Handle]:
    plan = Plan()
    squares = plan.stage("test_cut_squares", rows=plan.stage("test_cut_rows"))
    model = plan.stage("test_cut_model", rows=squares)
    return plan, plan.stage("test_cut_cells", rows=squares, model=model)


def run(root: Path) -> None:
    """A run and its board."""
    store, (plan, target) = Store(root), planned()
    InlineExecutor().execute(plan, [target], store)
    with atomic_folder(root / "boards" / "board", merge=True) as folder:
        cells = store.artifact(target.id).read_json("cells.json")
        write_json(folder / "cells.json", cells)
        (folder / "board.md").write_text(str(cells))


def made(root: Path) -> dict[str, bytes]:
    """All files of artifacts and boards; of manifests, what does not change from run to run."""
    found = {}
    for path in sorted((*root.glob("artifacts/**/*"), *root.glob("boards/*/*"))):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "manifest.json":
                data = json.dumps(json.loads(data)["files"]).encode()
            found[str(path.relative_to(root))] = data
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, bytes]]:
    """Flushes of an undisturbed run, and its files."""
    root = tmp_path_factory.mktemp("calm") / "home"
    with disk_under(root) as disk:
        run(root)
    return disk.flushes, made(root)


def test_every_power_cut_leaves_a_store_that_the_next_run_completes(
    calm: tuple[int, dict[str, bytes]], tmp_path: Path
) -> None:
    flushes, expected = calm
    assert flushes >= 30
    root = tmp_path / "home"
    for cut in range(1, flushes + 1):
        with disk_under(root, cut):
            run(root)
        store = Store(root)
        assert [store.problem(id) for id in store.ids()] == [""] * len(store.ids())
        with disk_under(root):
            run(root)
        assert made(root) == expected, f"cut before flush {cut}"
        assert not (root / "damaged").exists(), f"cut before flush {cut}"
        shutil.rmtree(root)


def test_power_cuts_one_after_another(calm: tuple[int, dict[str, bytes]], tmp_path: Path) -> None:
    flushes, expected = calm
    root = tmp_path / "home"
    for cut in range(flushes, 0, -3):
        with disk_under(root, cut):
            run(root)
    with disk_under(root):
        run(root)
    assert made(root) == expected


def test_a_finished_run_is_on_disk(calm: tuple[int, dict[str, bytes]], tmp_path: Path) -> None:
    flushes, expected = calm
    root = tmp_path / "home"
    with disk_under(root, flushes + 1):
        run(root)
        replace_file(root / "later", b"x")
    assert made(root) == expected
