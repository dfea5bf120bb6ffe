"""Limits, places and bytes of the readers and writers, and which errors are the disk's."""

from __future__ import annotations

import errno
import gzip
import io as streams
import json
import os
from pathlib import Path

import pytest

from harness.core.errors import BadData, StoreProblem, UserError
from harness.engine import io
from harness.engine.io import (
    UNPACKED_BYTES,
    UNPACKED_TIMES,
    atomic_folder,
    disk_errors,
    make_folder,
    move,
    publish,
    read_json,
    read_objects,
    read_text,
    replace_file,
    unpacked,
    write_json,
)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_text_is_utf_8_and_its_line_ends_stay(tmp_path: Path, name: str) -> None:
    data = b"\xef\xbb\xbf\xc3\xa9\r\nb\rc\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read_text(tmp_path / name) == "é\r\nb\rc\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"a": 1}\n\n3\n', "line 3: expected an object, found 3"),
        ('[{"a": 1}, {}, 3]', "item 3: expected an object, found 3"),
        ('[\n{"a": 1},\n oops]', "line 3: not JSON"),
        ("\n\n[1, oops]", "line 3: not JSON"),
        ('\n {"a": oops}', "line 2: not JSON"),
        ('{"a": ' + "[" * 100_000, "line 1: not usable JSON"),
    ],
)
def test_the_place_of_an_error_is_counted_from_one(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(BadData, match=where):
        read_objects(tmp_path / "a")


def test_json_values_name_their_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a": 1,\n"b": oops}')
    with pytest.raises(BadData, match=r"a, line 2: not JSON: Expecting value$"):
        read_json(tmp_path / "a")
    (tmp_path / "a").write_text("[1, 2]")
    assert read_json(tmp_path / "a") == [1, 2]
    assert read_objects_of(tmp_path / "a", '  {"a": 1}  \n\t{"b": 2}') == [{"a": 1}, {"b": 2}]


def read_objects_of(path: Path, text: str) -> list[dict[str, object]]:
    path.write_text(text)
    return read_objects(path)


def packed_size(zeros: int) -> int:
    return len(gzip.compress(b"0" * zeros))


def test_a_gzipped_file_may_grow_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (UNPACKED_BYTES, UNPACKED_TIMES) == (16_777_216, 100)
    path = tmp_path / "a.gz"
    # As many zeros as take 600 times the bytes of their gzipped form.
    sizes = {600 * n: n for n in range(60, 200)}
    most = next(n for n in sizes if packed_size(n) == packed_size(n + 1) == sizes[n])
    for limit, times in ((most, 0), (0, 600)):
        monkeypatch.setattr(io, "UNPACKED_BYTES", limit)
        monkeypatch.setattr(io, "UNPACKED_TIMES", times)
        path.write_bytes(gzip.compress(b"0" * most))
        assert unpacked(path).read() == b"0" * most
        path.write_bytes(gzip.compress(b"0" * (most + 1)))
        with pytest.raises(BadData, match=f"and more than {most:,} unpacked"):
            unpacked(path).read()


def test_a_gzipped_stream_gives_what_was_asked_for(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # more than one read
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(data))
    with unpacked(path) as stream:
        assert stream.read(0) == b""
        first = stream.read(10)
        assert data.startswith(first)
        assert 0 < len(first) <= 10
        assert first + stream.read(None) == data
    with unpacked(path) as stream:
        assert stream.read() == data
    assert streams.BufferedReader(unpacked(path)).read() == data  # type: ignore[arg-type]


def test_stored_json_has_one_space_sorted_keys_and_an_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_json(path, {"b": [1], "a": "\ud800é"})
    assert path.read_bytes() == b'{\n "a": "\\ud800\\u00e9",\n "b": [\n  1\n ]\n}\n'
    write_json(path, {"b": "\ud800é", "a": 1}, ascii=False, sort_keys=False, indent=None, end="!")
    assert path.read_bytes() == '{"b": "\\ud800é", "a": 1}!'.encode()


# What is on disk before it has its name


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flushes and renames in their order, by the name that the thing has then."""
    done: list[str] = []
    rename = Path.rename

    def flush(descriptor: int) -> None:
        done.append("flush " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"rename {self.name} {Path(target).name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "replace", renamed)
    return done


def test_a_file_is_flushed_before_its_name_and_the_name_after(
    tmp_path: Path, seen: list[str]
) -> None:
    replace_file(tmp_path / "f", b"x")
    fresh = seen[0].removeprefix("flush ")
    assert fresh.startswith(f".f.{os.getpid()}.")
    assert seen == [f"flush {fresh}", f"rename {fresh} f", f"flush {tmp_path.name}"]


def test_a_folder_is_flushed_whole_before_its_name(tmp_path: Path, seen: list[str]) -> None:
    (tmp_path / "made" / "in").mkdir(parents=True)
    (tmp_path / "made" / "in" / "file").touch()
    publish(tmp_path / "made", tmp_path / "new" / "out")
    assert seen[0] == f"flush {tmp_path.name}"  # of the new parent's name
    assert sorted(seen[1:4]) == ["flush file", "flush in", "flush made"]
    assert seen[4:] == ["rename made out", "flush new"]


@pytest.mark.parametrize("at_once", [True, False])
def test_files_that_are_merged_are_flushed_before_their_names(
    tmp_path: Path, seen: list[str], monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Both folders change places in one step; where a file system cannot, file by file."""
    if not at_once:
        monkeypatch.setattr(io, "replace_folder", lambda *_: False)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other").touch()
    publish(tmp_path / "made", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["file", "other"]
    renamed = [] if at_once else ["rename file file"]
    last = tmp_path.name if at_once else "out"
    assert seen == ["flush file", "flush made", *renamed, f"flush {last}"]


def test_a_move_is_flushed(tmp_path: Path, seen: list[str]) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "to").mkdir()
    move(tmp_path / "a", tmp_path / "to" / "b")
    assert seen == ["rename a b", "flush to"]


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_a_move_to_another_disk_copies_what_it_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, rename = tmp_path / "thing", tmp_path / "out", Path.rename
    (tmp_path / "far").write_text("far")
    if kind == "folder":
        path.mkdir()
        (path / "link").symlink_to(tmp_path / "far")
    elif kind == "link":
        path.symlink_to(tmp_path / "far")
    else:
        path.write_text("here")
    (tmp_path / f".out.{os.getpid()}").mkdir()  # what a killed process of this number left

    def across(self: Path, target: Path) -> Path:
        if self == path:
            raise OSError(number, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    number = errno.EACCES
    with pytest.raises(OSError, match="no"):
        move(path, out)
    assert os.path.lexists(path)
    number = errno.EXDEV
    move(path, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["far", "out"]
    assert out.is_symlink() is (kind == "link")
    assert (out / "link").is_symlink() is (kind == "folder")
    assert kind != "file" or out.read_text() == "here"


def test_a_folder_may_be_made_by_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes it between the look and the making."""
    mkdir = Path.mkdir

    def twice(self: Path, **options: bool) -> None:
        mkdir(self, **options)
        mkdir(self, **options)

    monkeypatch.setattr(Path, "mkdir", twice)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_only_an_empty_folder_may_be_written_into(tmp_path: Path) -> None:
    for name in ("file", "full"):
        place = tmp_path / name
        (place.mkdir() or (place / "in").touch()) if name == "full" else place.touch()
        with pytest.raises(UserError, match="exists already"), atomic_folder(place):
            pass
    with atomic_folder(tmp_path / "full", merge=True) as folder:
        assert folder == tmp_path / ".full.partial"
        (folder / "new").touch()
    assert sorted(p.name for p in (tmp_path / "full").iterdir()) == ["in", "new"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left for here; kept: free some space"),
        (errno.EDQUOT, "no space left for here; kept: free some space"),
        (errno.EROFS, "here cannot be written (Read-only file system); choose another folder"),
        (errno.EACCES, "here cannot be written (Permission denied)"),
        (errno.EPERM, "here cannot be written (Operation not permitted)"),
        (errno.EIO, "here cannot be used: there: Input/output error; check the disk, or choose"),
        (errno.ENOLCK, "the file system must support flock, or choose another folder"),
        (errno.EFBIG, "raise the limit on the size of files (ulimit -f)"),
        (errno.EMFILE, "raise the limit of open files (ulimit -n)"),
        (errno.ENOTDIR, "here cannot be used: there: Not a directory; look at there and move it"),
        (errno.EXDEV, "here cannot be used: there: Invalid cross-device link; look at there"),
        (errno.EBUSY, "run again; kept"),
    ],
)
def test_each_error_of_a_disk_says_what_to_do(number: int, said: str) -> None:
    with pytest.raises(StoreProblem) as caught, disk_errors(Path("here"), "kept"):
        raise OSError(number, os.strerror(number), "there")
    assert said in str(caught.value)
    assert caught.value.__suppress_context__
    if number not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
        with pytest.raises(StoreProblem, match="used: here: "), disk_errors(Path("here")):
            raise OSError(number, os.strerror(number))


def test_other_errors_are_not_the_disks() -> None:
    for error in (OSError(errno.ENOENT, "x"), ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), disk_errors(Path("here")):
            raise error
    with disk_errors(Path("here")):
        json.loads("1")
