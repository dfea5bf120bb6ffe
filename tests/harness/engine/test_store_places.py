"""Places of a store: names, prefixes, locks, what is set aside, what is read once."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, DamagedArtifact, StoreProblem
from harness.engine import store as module
from harness.engine.operations import Artifact
from harness.engine.store import Store, default_root, inputs_of

ONE, TWO, OTHER = "aa11" + "0" * 28, "aa22" + "0" * 28, "bb33" + "0" * 28


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # see test_power_cuts.py; it is slow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def finish(store: Store, id: str, **inputs: Any) -> None:
    (store.fresh_output(id) / "data.json").write_text('{"a": 1}')
    manifest = {"id": id, "operation": "op", "version": 1, "label": "l", "params": {"p": 2}}
    store.commit(id, {**manifest, "inputs": inputs})


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_store_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUCIBLE_HOME", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
    assert Store().root == tmp_path / "own"
    assert Store(tmp_path / "other").root == tmp_path / "other"
    monkeypatch.setenv("CRUCIBLE_HOME", "")
    assert default_root() == Path(".crucible")
    monkeypatch.chdir(tmp_path)
    assert Store(Path("here")).root == tmp_path / "here"
    assert json.loads((tmp_path / "here" / "store.json").read_text()) == {"format": 1}


def test_an_artifact_is_found_under_its_id(store: Store) -> None:
    finish(store, ONE, rows=OTHER)
    folder = store.root / "artifacts" / "aa" / ONE
    assert store.folder(ONE) == folder
    assert store.has(ONE)
    assert not store.has(TWO)
    assert store.artifact(ONE) == Artifact(ONE, folder, "op")
    assert store.artifact(ONE).params == {"p": 2}
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert store.manifest(ONE) == manifest
    assert manifest["files"]["data.json"]["bytes"] == 8
    assert not (folder / "manifest.json").read_bytes().endswith(b"\n")
    assert list((store.root / "partial").iterdir()) == []
    for missing in (store.manifest, store.artifact):
        with pytest.raises(StoreProblem, match=f"artifact {TWO} is missing from the store"):
            missing(TWO)
    assert store.problem(TWO) == ""


def test_a_prefix_names_one_artifact(store: Store) -> None:
    for id in (TWO, ONE, OTHER):
        finish(store, id)
    assert store.ids() == [ONE, TWO, OTHER]
    assert [store.find(prefix) for prefix in ("aa1", ONE, "b")] == [ONE, ONE, OTHER]
    for prefix, said in (("aa", "2 artifacts in .* begin with"), ("c", "no artifact in .* begins"),
                         ("", "no artifact in .* begins")):  # fmt: skip
        with pytest.raises(BadData, match=said):
            store.find(prefix)


def test_hidden_folders_are_no_artifacts(store: Store) -> None:
    finish(store, ONE)
    folder = store.folder(ONE)
    folder.rename(folder.with_name(f".{ONE}.discarded"))
    assert store.ids() == []
    finish(store, ONE)
    store.discard(ONE)  # also what an earlier one left
    assert list(folder.parent.iterdir()) == []
    store.discard(ONE)


def test_descendants_are_found_however_far(store: Store) -> None:
    finish(store, ONE)
    finish(store, TWO, rows=ONE)
    finish(store, OTHER, all=["x", TWO])
    assert store.made_from([ONE]) == [TWO, OTHER]
    assert store.made_from([TWO]) == [OTHER]
    assert store.made_from([ONE, TWO]) == [OTHER]
    assert store.made_from([]) == []
    assert inputs_of({"inputs": {"a": "x", "b": ["y", "z"]}}) == ["x", "y", "z"]
    assert inputs_of({}) == []


def test_a_manifest_is_read_again_only_after_it_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, ONE)
    read, real = [], module.read_json
    monkeypatch.setattr(module, "read_json", lambda path: read.append(path) or real(path))
    first = store.manifest(ONE)
    assert store.manifest(ONE) is first
    assert len(read) == 1
    path = store.folder(ONE) / "manifest.json"
    path.write_text(path.read_text().replace('"label": "l"', '"label": "m"'))
    with pytest.raises(DamagedArtifact, match=r"manifest\.json is not what was written"):
        store.manifest(ONE)
    assert store.problem(ONE) == "manifest.json is not what was written"
    path.write_text("{")
    assert store.problem(ONE).startswith("manifest.json, line 1: not JSON")
    path.unlink()
    assert store.problem(ONE) == "manifest.json is missing"
    path.parent.joinpath("data.json").unlink()
    assert not store.has(ONE)


def test_a_manifest_that_the_disk_cannot_read_is_a_problem(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, ONE)

    def failing(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.os, "stat", failing)
    assert store.problem(ONE) == "manifest.json cannot be read: Input/output error"


def test_an_artifact_is_opened_only_with_its_listed_files(store: Store) -> None:
    finish(store, ONE)
    (store.folder(ONE) / "more").touch()
    assert store.problem(ONE) == "more was not written with it"
    assert store.artifact(ONE).id == ONE  # what is listed is sound
    (store.folder(ONE) / "data.json").write_text('{"a": 2}')
    assert store.problem(ONE, 7) == "more was not written with it"
    assert store.problem(ONE, 8).startswith("data.json has another content")
    with pytest.raises(DamagedArtifact, match="another content"):
        store.artifact(ONE)


def test_an_attempt_begins_with_an_empty_output(store: Store) -> None:
    output = store.fresh_output(ONE)
    assert output == store.root / "partial" / ONE / "output"
    (output / "left").touch()
    assert list(store.fresh_output(ONE).iterdir()) == []


def test_what_is_in_the_place_of_an_artifact_is_set_aside(store: Store) -> None:
    folder = store.folder(ONE)
    folder.mkdir(parents=True)
    (folder / "left").touch()
    finish(store, ONE)
    aside = store.root / "damaged"
    assert (aside / ONE / "left").exists()
    said = "found without manifest.json where an artifact was expected\n"
    assert (aside / f"{ONE}.txt").read_text() == said
    (store.root / "partial" / "x").write_text("")
    store.make_way(store.root / "partial" / "x" / "scratch")
    assert (aside / "x.txt").read_text() == "found where a folder was expected\n"


def test_a_folder_that_cannot_be_written_is_set_aside_too(store: Store) -> None:
    finish(store, ONE)
    store.folder(ONE).chmod(0o500)
    assert store.set_aside(ONE, "why") == store.root / "damaged" / ONE
    assert (store.root / "damaged" / ONE).stat().st_mode & 0o777 == 0o700
    (store.root / "damaged2").symlink_to(store.root / "damaged")  # a link is moved as it is
    place = store._put_aside(store.root / "damaged2", "why")
    assert place.is_symlink()


# Locks


def test_a_lock_is_held_by_one_and_its_file_left_to_the_umask(store: Store) -> None:
    mask, before = os.umask(0), opened()
    try:
        with store.lock(ONE):
            assert store.locked(ONE)
            assert not store.locked(TWO)
            assert opened() == before + 1
    finally:
        os.umask(mask)
    assert opened() == before
    path = store.root / "partial" / f"{ONE}.lock"
    assert path.stat().st_mode & 0o777 == 0o666
    assert not store.locked(ONE)
    assert sorted(p.name for p in path.parent.iterdir()) == [f"{ONE}.lock"]
    with store.lock(TWO), store.lock(ONE):
        assert store.locks() == [ONE, TWO]


def test_a_lock_that_is_no_file_is_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.root / "partial" / f"{ONE}.lock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        monkeypatch.chdir(path.parent)  # names of sockets are short
        made.bind(path.name)
        mask = os.umask(0)
        with store.lock(ONE):
            assert path.is_file()
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666
    said = (store.root / "damaged" / f"{ONE}.lock.txt").read_text()
    assert said == "found where a lock was expected\n"


def test_an_error_of_the_disk_is_no_lock_in_the_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(module.os, "open", failing)
    with pytest.raises(StoreProblem, match="cannot be written"), store.lock(ONE):
        pass
    monkeypatch.undo()
    assert not (store.root / "damaged").exists()


def test_who_waits_for_a_lock_takes_the_new_file_after_a_commit(store: Store) -> None:
    waiting, release, seen = threading.Event(), threading.Event(), []

    def wait() -> None:
        waiting.set()
        with store.lock(ONE):
            seen.append((store.has(ONE), store.locked(ONE)))
            release.wait(20)

    thread = threading.Thread(target=wait)
    with store.lock(ONE):
        thread.start()
        waiting.wait(20)
        time.sleep(0.1)  # for the lock of the file that is removed now
        finish(store, ONE)
    while not seen:
        time.sleep(0.01)
    assert store.locked(ONE)
    release.set()
    thread.join()
    assert seen == [(True, True)]


def test_nothing_of_a_stage_is_left_beside_its_artifact(store: Store) -> None:
    with store.lock(ONE):
        finish(store, ONE)
    assert store.has(ONE)
    assert list((store.root / "partial").iterdir()) == []
