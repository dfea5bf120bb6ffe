"""The process is killed between any two steps: files and folders are old or new, never between."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.engine.io import atomic_folder, move, replace_file
from harness.engine.store import Store
from tests.kills import killed_below

ID = "ab" + "0" * 30
MANIFEST = {"id": ID, "operation": "test", "version": 1, "label": "", "params": {}, "inputs": {}}
Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fill(output: Path, mark: str = "") -> None:
    (output / "rows.jsonl").write_text(f'{{"id": "a{mark}"}}\n')
    (output / "model" / "deep").mkdir(parents=True)
    (output / "model" / "deep" / "weights").write_bytes(b"w" * 5000)
    (output / "zz").write_text("last")


def commit(root: Path) -> None:
    store = Store(root)
    with store.lock(ID):
        if store.has(ID):
            return
        fill(store.fresh_output(ID))
        store.commit(ID, MANIFEST)


def steps_of(work: Callable[[Path], object], root: Path) -> list[str]:
    with killed_below(root) as steps:
        work(root)
    assert not steps.killed
    return steps.names


def test_a_commit_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    names = steps_of(commit, tmp_path / "calm")
    assert [name for name in names if name.startswith("rename")][-1] == f"rename output {ID}"
    assert len(names) > 10
    expected = files_of(Store(tmp_path / "calm").folder(ID))
    for number in range(1, len(names) + 1):
        root = tmp_path / f"cut-{number}"
        with killed_below(root, number) as steps:
            commit(root)
        assert steps.killed
        store = Store(root)
        seen = store.folder(ID).exists()
        assert seen == store.has(ID), names[number - 1]
        assert store.problem(ID) == "", names[number - 1]
        if seen:
            assert files_of(store.folder(ID)) == expected
        # Nothing is there before the one rename, everything after it.
        assert seen == (f"rename output {ID}" in names[: number - 1]), names[number - 1]
        commit(root)
        assert files_of(store.folder(ID)) == expected
        assert not (root / "damaged").exists()


def test_a_discarded_artifact_is_there_whole_or_gone(tmp_path: Path) -> None:
    commit(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "calm")
    names = steps_of(lambda root: Store(root).discard(ID), tmp_path / "calm")
    assert not Store(tmp_path / "calm").has(ID)
    for number in range(1, len(names) + 1):
        root = tmp_path / f"cut-{number}"
        shutil.copytree(tmp_path / "whole", root)
        with killed_below(root, number):
            Store(root).discard(ID)
        gone = any(name.startswith("rename") for name in names[: number - 1])
        assert Store(root).ids() == ([] if gone else [ID]), names[number - 1]
        assert Store(root).problem(ID) == "", names[number - 1]
        Store(root).discard(ID)
        assert Store(root).ids() == []
        assert not Store(root).folder(ID).exists()


def test_a_replaced_file_is_old_or_new(tmp_path: Path) -> None:
    def replace(root: Path) -> None:
        replace_file(root / "file", b"new" * 1000)

    for number in range(1, 20):
        root = tmp_path / str(number)
        root.mkdir()
        (root / "file").write_bytes(b"old")
        with killed_below(root, number) as steps:
            replace(root)
        renamed = any(name.startswith("rename") for name in steps.names)
        assert (root / "file").read_bytes() == (b"new" * 1000 if renamed else b"old")
        if not steps.killed:
            break
    assert not steps.killed
    assert number > 2
    assert [path.name for path in root.iterdir()] == ["file"]


@pytest.mark.parametrize("merge", [False, True])
def test_a_published_folder_has_whole_files_alone(merge: bool, tmp_path: Path) -> None:
    """Without `merge` all files or none; with it each file is old or new, and others stay."""
    old = {"rows.jsonl": b"old rows", "other": b"stays"} if merge else {}

    def publish(root: Path) -> None:
        with atomic_folder(root / "out", merge=merge) as folder:
            (folder / "rows.jsonl").write_bytes(b"new rows")
            (folder / "cells.json").write_bytes(b"new cells")

    new = {"rows.jsonl": b"new rows", "cells.json": b"new cells"}
    for number in range(1, 60):
        root = tmp_path / str(number)
        root.mkdir()
        if merge:
            (root / "out").mkdir()
            for name, data in old.items():
                (root / "out" / name).write_bytes(data)
        with killed_below(root, number) as steps:
            publish(root)
        found = files_of(root / "out")
        for name, data in found.items():
            assert data in (old.get(name), new.get(name)), (name, steps.names)
        assert merge or found in ({}, new)
        assert old.keys() <= found.keys()
        if merge or not found:
            publish(root)
        assert files_of(root / "out") == {**old, **new}
        if not steps.killed:
            break
    assert not steps.killed
    assert number > 4


def test_a_move_to_another_disk_shows_no_half_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a rename is refused, a copy is made beside the target and renamed at the end."""
    rename = Path.rename

    def across(self: Path, target: Path) -> Path:
        if self.name == "made":
            raise OSError(errno.EXDEV, "another disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    for number in range(1, 60):
        root = tmp_path / str(number)
        (root / "made").mkdir(parents=True)
        fill(root / "made")
        expected = files_of(root / "made")
        with killed_below(root, number) as steps:
            move(root / "made", root / "out")
        if (root / "out").exists():
            assert files_of(root / "out") == expected, steps.names
        else:
            assert files_of(root / "made") == expected, steps.names
        if not steps.killed:
            break
    assert not steps.killed
    assert [path.name for path in root.iterdir()] == ["out"]


def test_a_store_that_is_killed_while_it_is_made_is_made_again(tmp_path: Path) -> None:
    for number in range(1, 12):
        root = tmp_path / str(number)
        with killed_below(root, number) as steps:
            Store(root)
        Store(root)
        assert json.loads((root / "store.json").read_text()) == {"format": 1}
        if not steps.killed:
            break
    assert not steps.killed
