"""Files in and out: one reader with its errors, the writers, files and folders that are whole."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, StoreProblem, UserError
from harness.core.hashing import canonical_json
from harness.engine.io import (
    atomic_folder,
    disk_errors,
    iterate_objects,
    make_folder,
    read_json,
    read_objects,
    read_text,
    remove,
    replace_file,
    write_json,
    write_rows,
)

ROWS = [{"id": "1", "text": "one"}, {"id": "2", "text": "two \u2028 lines"}]
LINES = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz", "a.txt"])
@pytest.mark.parametrize("text", [LINES, json.dumps(ROWS), "\n " + json.dumps(ROWS, indent=1)])
def test_lists_and_lines_are_read_whatever_the_name(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read_objects(path) == ROWS
    assert read_text(path) == text
    assert next(iterate_objects(path)) == ROWS[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"a": 1}\n\n{"a": \n',
            r"in\.jsonl, line 3: not JSON: .*; expected a list of objects, or",
        ),
        ('{"a": 1}\n[1]\n', r"in\.jsonl, line 2: expected an object, found \[1\]"),
        ('\n[{"a": 1},\n nope]', r"in\.jsonl, line 3: not JSON"),
        ('[{"a": 1}, "b"]', r"in\.jsonl, item 2: expected an object, found b"),
        ('{\n "a": 1\n}', r"in\.jsonl, line 1: not JSON: .*; expected a list of objects, or"),
    ],
)
def test_bad_files_name_the_place(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    with pytest.raises(BadData, match=reason):
        read_objects(path)


def test_line_ends_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b'id,text\r\n1,"a\r\nb"\n'))
    assert read_text(path) == 'id,text\r\n1,"a\r\nb"\n'
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\r\n{"a":\r2}\r\n')
    assert read_objects(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"none\.json: cannot be read: No such file"):
        read_objects(tmp_path / "none.json")
    (tmp_path / "a.json.gz").write_bytes(b"no gzip")
    with pytest.raises(BadData, match=r"a\.json\.gz: cannot be read"):
        read_objects(tmp_path / "a.json.gz")
    packed = gzip.compress(b"[]" * 100)
    (tmp_path / "a.json.gz").write_bytes(packed[:-9])
    with pytest.raises(BadData, match=r"a\.json\.gz: cannot be read"):
        read_text(tmp_path / "a.json.gz")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadData, match="not UTF-8"):
        read_json(tmp_path / "b.json")
    (tmp_path / "b.json").write_text('{\n "a": }')
    with pytest.raises(BadData, match=r"b\.json, line 2: not JSON: Expecting value$"):
        read_json(tmp_path / "b.json")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(rows=st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=4))
def test_rows_come_back_as_they_were_written(
    rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, iter(rows))
    assert path.read_bytes() == b"".join(canonical_json(row) + b"\n" for row in rows)
    assert read_objects(path) == rows


@given(value=values, ascii=st.booleans(), indent=st.sampled_from([None, 1, 2]))
def test_json_comes_back_as_it_was_written(
    value: object, ascii: bool, indent: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, value, ascii=ascii, indent=indent)
    assert read_json(path) == value


def test_the_layout_of_json_is_chosen(tmp_path: Path) -> None:
    path, value = tmp_path / "a.json", {"b": "é", "a": 1}
    write_json(path, value)
    assert path.read_bytes() == b'{\n "a": 1,\n "b": "\\u00e9"\n}\n'
    write_json(path, value, indent=None, sort_keys=False, ascii=False, end="")
    assert path.read_text("utf-8") == '{"b": "é", "a": 1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, out, fsync = set(), tmp_path / "new" / "out", os.fsync

    def seen(descriptor: int) -> None:
        if not out.exists():
            flushed.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    with atomic_folder(out) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
        assert not out.exists()
    assert (out / "inner" / "file").read_text() == "x"
    assert {path.stat().st_ino for path in (out, *out.rglob("*"))} <= flushed
    assert list(out.parent.iterdir()) == [out]
    with pytest.raises(UserError, match="exists already"), atomic_folder(out):
        pass
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "empty" / "file").exists()


def test_nothing_of_a_folder_that_fails_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fill(error: BaseException) -> None:
        with atomic_folder(out) as folder:
            (folder / "file").write_text("x")
            raise error

    with pytest.raises(KeyboardInterrupt):
        fill(KeyboardInterrupt())
    with pytest.raises(StoreProblem, match=r"no space left for .*nothing of it was kept"):
        fill(OSError(errno.ENOSPC, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial"
    (left / "rubbish").mkdir(parents=True)
    (left / "more").write_text("x")
    with atomic_folder(tmp_path / "out") as folder:
        assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_writers_of_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as folder:
        (folder / "file").write_text("first")
        with pytest.raises(UserError, match="another process is writing"), atomic_folder(out):
            pass
    assert (out / "file").read_text() == "first"


def test_files_are_merged_into_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in ("old", "new"):
        with atomic_folder(out, merge=True) as folder:
            (folder / "file").write_text(text)
        (out / "mine").touch()
    assert {path.name: path.read_text() for path in out.iterdir()} == {"file": "new", "mine": ""}
    with pytest.raises(ZeroDivisionError), atomic_folder(out, merge=True) as folder:
        (folder / "file").write_text(str(1 / 0))
    assert (out / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EDQUOT, "quota"), "no space left for here; what is finished is kept"),
        (RuntimeError("No space left on device (os error 28)"), "no space left for here"),
        (OSError(errno.EROFS, "read-only"), "here cannot be written"),
    ],
)
def test_disk_errors_are_one_line(error: Exception, said: str) -> None:
    with pytest.raises(StoreProblem, match=said), disk_errors(Path("here")):
        raise error
    with pytest.raises(OSError, match="else"), disk_errors(Path("here")):
        raise OSError(errno.ENOENT, "else")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb") as stream:
        for _ in range(20):
            stream.write(b'{"text":"' + b"0" * 2**20 + b'"}\n')
    with pytest.raises(BadData, match=r"more than 16,777,216 unpacked; .* unpack it \(gunzip\)"):
        read_objects(path)
    with gzip.open(path, "wb") as stream:
        stream.write(b"[" + b" " * 2**20 + b"{}]")
    assert read_objects(path) == [{}]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a":' + "9" * 5000 + "}"])
def test_json_that_python_cannot_read_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(BadData, match=r"a\.jsonl, line 1: not"):
        read_objects(path)


def test_folders_are_made_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, fsync = [], os.fsync

    def seen(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2


def test_whatever_it_is_is_removed(tmp_path: Path) -> None:
    (tmp_path / "folder" / "in").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("link", "file", "nothing", "folder"):
        remove(tmp_path / name)
        assert not os.path.lexists(tmp_path / name)
