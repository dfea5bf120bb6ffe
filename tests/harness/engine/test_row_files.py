"""Rows of a file by their places: byte-order marks, ends of lines, errors, closed files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.engine.row_files import RowFile, RowsById

BOM = b"\xef\xbb\xbf"


def rows_of(path: Path, data: bytes, size: int = 2) -> list[list[str]]:
    path.write_bytes(data)
    file = RowFile(path, size, "input")
    found = [[row["id"] for row in file.read(batch)] for batch in range(file.batches)]
    assert [row["id"] for row in file.read(0)] == found[0]
    file.close()
    return found


@pytest.mark.parametrize(
    "data",
    [
        b'{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n',
        b'{"id":"a"}\n{"id":"b"}\n{"id":"c"}',
        b'{"id":"a"}\r\n{"id":"b"}\r\n{"id":"c"}\r\n',
        BOM + b'{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n',
        b'\n \n{"id":"a"}\n\n{"id":"b"} \n\t\n{"id":"c"}\n\n',
        b' {"id":"a"}\n{"id":"b"}\n{"id":"c"}\n',
        b'[{"id":"a"},{"id":"b"},{"id":"c"}]',
        b'\n  [{"id":"a"},\n{"id":"b"},{"id":"c"}]\n',
        BOM + b'[{"id":"a"},{"id":"b"},{"id":"c"}]',
        BOM + b'\n [{"id":"a"},{"id":"b"},{"id":"c"}]',
    ],
)
def test_rows_are_read_whatever_stands_around_them(data: bytes, tmp_path: Path) -> None:
    assert rows_of(tmp_path / "rows", data) == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"id":"a"}\n' + BOM + b'{"id":"b"}\n', "row 2: not JSON"),
        (b'{"id":"a"}\n{"id":"b"}x\n', "row 2: not JSON"),
        (b'{"id":"a"}\n{"id":"b"}x', "row 2: not JSON"),
        (b'{"id":"a"}\n{"id":"b"}xy', "row 2: not JSON"),
        (b'{"id":"a"}\n"b"\n', "row 2: expected an object, found b"),
        (b'{"id":"a"}\n{"id":"b\xff"}\n', "row 2: not JSON"),
        (b'{"id":"a"}\n{"id":' + b"[" * 100_000 + b"\n", "row 2: not JSON"),
        (b'{"id":"b"}\n{"id":"a"}\n{"id":"c"}\n{"id":"a"}\n', '"a" occurs twice'),
        (b'{"id":"a"}\n{"id":"b"}\n{"id":7}\n', "input: row id is missing or not text"),
    ],
)
def test_the_row_that_is_none_is_named_and_the_file_closed(
    data: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "rows").write_bytes(data)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BadData, match=said) as caught:
        RowFile(tmp_path / "rows", 2, "input")
    caught.value.__traceback__ = None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_row_that_changes_later_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    lines = [b'{"id":"r%d"}\n' % n for n in range(6)]
    path.write_bytes(b"".join(lines))
    before = len(os.listdir("/proc/self/fd"))
    file = RowFile(path, 2, "input")
    with path.open("r+b") as stream:
        stream.seek(sum(map(len, lines[:5])))
        stream.write(b"{no json!!")
    assert len(file.read(1)) == 2
    with pytest.raises(BadData, match="row 6: not JSON"):
        file.read(2)
    file.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="none: cannot be read: No such file"):
        RowFile(tmp_path / "none", 2, "input")


def test_rows_by_id_are_those_of_the_file_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes('{"id":"b","x":"ä"}\n{"id":"a","x":2}\n'.encode())
    found = RowsById(tmp_path / "rows.jsonl")
    assert (list(found), len(found)) == (["b", "a"], 2)
    assert [found["a"], found["b"], found["a"]] == [
        {"id": "a", "x": 2},
        {"id": "b", "x": "ä"},
        {"id": "a", "x": 2},
    ]
    assert found.get("c") is None
    found.close()
