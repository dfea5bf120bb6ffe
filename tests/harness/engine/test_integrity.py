"""Inventories, manifests and files of artifacts: every difference is found and named."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.hashing import digest
from harness.engine import integrity
from harness.engine.integrity import (
    files_problem,
    inventory,
    list_files,
    listed_files_are_sound,
    manifest_problem,
    seal,
    state_of,
)

ID = "ab" * 16
PLAIN: dict[str, Any] = {
    "id": ID, "operation": "o", "version": 1, "label": "", "params": {}, "inputs": {},
}  # fmt: skip


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of an artifact, hidden ones and manifests among them."""
    for name, data in {
        "rows.jsonl": b'{"id":"a"}\n{"id":"b"}\n',
        "b/weights": b"0123456789",
        "b/manifest.json": b"{}",
        "b/.hidden": b"x",
        "manifest.json": b"{}",
        ".partial": b"x",
        ".cache/file": b"x",
        "a.": b"",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("block", [3, 1 << 20])
def test_an_inventory_has_every_file_that_is_read(
    folder: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "BLOCK", block)
    found = inventory(folder)
    rows = b'{"id":"a"}\n{"id":"b"}\n'
    assert found == {
        "a.": {"bytes": 0, "sha256": sha(b"")},
        "b/manifest.json": {"bytes": 2, "sha256": sha(b"{}")},
        "b/weights": {"bytes": 10, "sha256": sha(b"0123456789")},
        "rows.jsonl": {"bytes": 22, "sha256": sha(rows), "rows": 2},
    }
    assert list(found) == sorted(found)
    assert files_problem(folder, {"files": found}) == ""


def test_a_manifest_is_sealed_with_a_digest_of_itself() -> None:
    sealed = seal({**PLAIN, "params": {1: "one"}})
    text = {**PLAIN, "params": {"1": "one"}}
    assert sealed == {**text, "digest": digest(text)}
    assert manifest_problem(sealed, ID) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"inputs": {"a": "x", "b": ["y", "z"]}}, ""),
        ({"version": "1"}, "manifest.json: key \"version\" is '1'"),
        ({"params": None}, 'manifest.json: key "params" is None'),
        ({"inputs": {"a": ["x", 3]}}, 'manifest.json: key "inputs" lists something other than ids'),
        ({"inputs": {"a": 3}}, 'manifest.json: key "inputs" lists something other than ids'),
        ({"id": "cd" * 16}, f"manifest.json is that of artifact {'cd' * 16}"),
        ({"digest": "0" * 32}, "manifest.json is not what was written"),
        ({"digest": digest(PLAIN)}, ""),
        ({"files": {}}, "manifest.json is not what was written"),
        ({"files": {}, "digest": digest({**PLAIN, "files": {}})}, ""),
    ],
)
def test_a_manifest_that_was_not_written_is_named(changes: dict[str, Any], said: str) -> None:
    assert manifest_problem({**PLAIN, **changes}, ID) == said
    assert manifest_problem([PLAIN], ID) == "manifest.json contains list; expected an object"


def test_each_difference_of_the_files_is_named(folder: Path) -> None:
    listed = {"files": inventory(folder)}
    weights, rows = folder / "b" / "weights", folder / "rows.jsonl"
    weights.write_bytes(b"0123456780")
    said = "b/weights has another content than was written, in the same 10 bytes"
    assert files_problem(folder, listed) == said
    assert files_problem(folder, listed, 9) == ""  # larger ones by their size alone
    assert files_problem(folder, listed, 10) == said
    weights.write_bytes(b"0123456789")
    rows.write_bytes(b'{"id":"a"}\n')
    assert files_problem(folder, listed, 1) == "rows.jsonl has 11 bytes; 22 in 2 rows were written"
    weights.write_bytes(b"")
    assert files_problem(folder, listed) == "b/weights has 0 bytes; 10 were written"
    weights.unlink()
    assert files_problem(folder, listed) == "b/weights is missing"
    weights.mkdir()
    assert files_problem(folder, listed) == "b/weights is not a file"


def test_files_that_were_not_written_with_it_are_named(folder: Path) -> None:
    listed = {"files": inventory(folder)}
    (folder / "zz").touch()
    (folder / "more").touch()
    assert files_problem(folder, listed) == "more was not written with it"
    assert files_problem(folder, listed, others=False) == ""


def test_a_sound_file_is_read_again_only_after_it_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, read = {"files": inventory(folder)}, []
    digest_of = hashlib.file_digest

    def seen(stream: Any, kind: str) -> Any:
        read.append(Path(stream.name).name)
        return digest_of(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", seen)
    monkeypatch.setattr(integrity, "_READ", {})
    assert files_problem(folder, listed) == ""
    assert files_problem(folder, listed) == ""
    assert sorted(read) == ["a.", "manifest.json", "rows.jsonl", "weights"]
    os.utime(folder / "b" / "weights", ns=(1, 1))
    assert files_problem(folder, listed) == ""
    assert read[4:] == ["weights"]


def test_the_state_of_a_file_has_everything_that_changes_with_it() -> None:
    names = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    status = SimpleNamespace(**{name: number for number, name in enumerate(names, 1)})
    assert state_of(status) == (1, 2, 3, 4, 5)  # type: ignore[arg-type]


def test_a_file_that_the_disk_cannot_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"files": inventory(folder)}
    (folder / "a.").touch()
    for file, said in ((str(folder / "b" / "weights"), "weights"), (None, folder.name)):

        def failing(*_: object, named: str | None = file) -> None:
            raise OSError(errno.EIO, "Input/output error", named)

        monkeypatch.setattr(Path, "open", failing)
        assert files_problem(folder, listed) == f"{said} cannot be read: Input/output error"


# Artifacts of earlier versions, which have no list of files


def tensors(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


TWO = {"__metadata__": {"format": "pt"}, "a": {"data_offsets": [4, 12]},
       "b": {"data_offsets": [0, 4]}}  # fmt: skip
SOUND = tensors(TWO, b"x" * 12)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("rows.jsonl", b'{"id":"a"}\n{"id":"b"}\n', ""),
        ("rows.jsonl", b'{"id":"a"}\n{"id":"a"}\n', 'rows.jsonl: row "a" occurs twice'),
        ("rows.jsonl", b'{"id":1}\n{"x":2}\n', 'rows.jsonl: row "None" occurs twice'),
        ("other.jsonl", b'{"id":"a"}\n{"id":"a"}\n', ""),
        ("other.jsonl", b'{"id":"a"}\n{', "other.jsonl, line 2: not JSON"),
        ("x.json", b'{"a": 1}', ""),
        ("x.json", b'{"a": ', "x.json, line 1: not JSON"),
        ("x.txt", b'{"a": ', ""),
        ("m.safetensors", SOUND, ""),
        ("m.safetensors", tensors({}, b""), ""),
        ("m.safetensors", SOUND[:-1], "m.safetensors: has"),
        ("m.safetensors", SOUND + b"x", "its header describes"),
        ("m.safetensors", SOUND[:20], "its header cannot be read"),
        ("m.safetensors", b"\xff" * 8 + SOUND[8:], "its header cannot be read"),
        ("m.safetensors", tensors({"a": {"data_offsets": [0]}}, b""), "header cannot be read"),
    ],
)
def test_earlier_artifacts_are_examined_by_their_form(
    name: str, data: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    found = files_problem(tmp_path, PLAIN)
    assert said in found
    assert bool(found) is bool(said)
    assert files_problem(tmp_path, PLAIN, len(data)) == found
    assert files_problem(tmp_path, PLAIN, len(data) - 1) == ""


def test_a_header_longer_than_the_format_allows_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(SOUND)
    length = int.from_bytes(SOUND[:8], "little")
    for limit, said in ((length, ""), (length - 1, "its header cannot be read")):
        monkeypatch.setattr(integrity, "HEADER", limit)
        monkeypatch.setattr(integrity, "_READ", {})
        assert said in files_problem(tmp_path, PLAIN)
        assert bool(files_problem(tmp_path, PLAIN)) is bool(said)
    # Sound for this process: not parsed again before it changes.
    monkeypatch.setattr(integrity, "_READ", {str(path): state_of(path.stat())})
    assert files_problem(tmp_path, PLAIN) == ""


# Folders that a stage keeps


def test_a_listing_says_whether_the_files_are_what_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a").write_bytes(b"one")
    (folder / "b").write_bytes(b"two")
    listing = folder / ".listed"
    assert not listed_files_are_sound(listing)
    list_files(folder, listing)
    assert json.loads(listing.read_bytes()) == inventory(folder)
    assert listed_files_are_sound(listing)
    (folder / "in" / "a").write_bytes(b"TWO")
    assert not listed_files_are_sound(listing)
    (folder / "in" / "a").unlink()
    assert not listed_files_are_sound(listing)
    for text, sound in ((b"", True), (b"{}", True), (b"[]", False), (b"{", False)):
        listing.write_bytes(text)
        assert listed_files_are_sound(listing) is sound
    for entry in ("1", '{"bytes": 1}', '{"sha256": "x"}'):
        listing.write_text(f'{{"b": {entry}}}')
        assert not listed_files_are_sound(listing)


def test_files_are_on_disk_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"one")
    flushed: list[tuple[int, bool]] = []
    listing = tmp_path / ".listed"
    monkeypatch.setattr(
        os, "fsync", lambda fd: flushed.append((os.fstat(fd).st_ino, listing.exists()))
    )
    list_files(tmp_path, listing)
    for path in (tmp_path, tmp_path / "in", tmp_path / "in" / "a"):
        assert (path.stat().st_ino, False) in flushed
