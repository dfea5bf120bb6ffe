"""Files of lines: their bytes, what is passed over, and what the disk may do to them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.engine import journal as module
from harness.engine.journal import Journal, LineFile, Log, parsed

REST = b'{"batch":1,"rows":[{"id":"a","x":1},\t{"id":"b"}]}'
ROWS = [{"x": 1, "id": "a"}, {"id": "b"}]


def marked(rest: bytes) -> bytes:
    digest = hashlib.sha256(rest).hexdigest()[:32].encode()
    return b'{"digest":"' + digest + b'",' + rest[1:] + b"\n"


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_batch_is_one_line_with_a_digest_of_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    before = opened()
    journal = Journal(path)
    journal.append(1, ROWS)
    journal.append(0, [{"id": "é"}])
    assert path.read_bytes() == marked(REST) + marked('{"batch":0,"rows":[{"id":"é"}]}'.encode())
    journal.write_rows(tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_text("utf-8") == (
        '{"id":"é"}\n{"id":"a","x":1}\n{"id":"b"}\n'
    )
    assert (len(journal), list(journal.batches), journal.dropped) == (2, [0, 1], 0)
    journal.close()
    assert opened() == before


def test_lines_of_earlier_versions_are_read_and_written_in_canonical_form(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"rows": [{"x": 1, "id": "a"}, {"id": "b"}], "batch": 3}\n' + marked(REST))
    journal = Journal(path)
    assert list(journal.batches) == [1, 3]
    journal.write_rows(tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_bytes() == 2 * b'{"id":"a","x":1}\n{"id":"b"}\n'


def test_a_batch_written_twice_is_the_last_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(2, [{"id": "old"}])
    journal.append(2, [{"id": "new"}])
    assert (len(journal), list(journal.batches)) == (1, [2])
    assert [number in journal for number in range(5)] == [False, False, True, False, False]
    journal.write_rows(tmp_path / "rows")
    assert (tmp_path / "rows").read_bytes() == b'{"id":"new"}\n'


def test_every_line_that_is_passed_over_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "j"
    good = marked(REST)
    damaged = good.replace(b'"x":1', b'"x":2')
    other = marked(b'{"batch":0,"rows":[{"id":"a"},\t{"id":"b"}]}')
    lines = [damaged, b"no json\n", b'{"batch":5,"rows":[1]}\n', b'{"batch":5,"rows":[{},1]}\n',
             b'{"rows":[]}\n', b'{"batch":"1","rows":[]}\n', b"[]\n", other, good]  # fmt: skip
    path.write_bytes(b"".join(lines) + good[:-1])
    journal = Journal(path, lambda number, rows: number == 1 and rows == ROWS)
    assert (list(journal.batches), journal.dropped) == ([1], 8)
    assert path.read_bytes() == b"".join(lines)  # the torn end is cut off
    assert list(Journal(path).batches) == [0, 1]


def test_a_log_keeps_entries_with_its_keys(tmp_path: Path) -> None:
    path, before = tmp_path / "log", opened()
    path.write_bytes(b'{"a":1,"b":2}\n{"a":1}\n{"b":1}\n[1]\n{"a":0,"b":0,"c":0}\n')
    log = Log(path, ("a", "b"))
    assert log.found == [{"a": 1, "b": 2}, {"a": 0, "b": 0, "c": 0}]
    log.append(b'{"a":3,"b":4}')
    log.close()
    assert opened() == before
    again = Log(path, ("a", "b"))
    assert again.found[2:] == [{"a": 3, "b": 4}]
    again.close()
    assert parsed(b"[" * 100_000) is None
    assert parsed(b'{"a": 1}') == {"a": 1}


def test_lines_are_found_at_any_place_and_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PART", 64)  # shorter and longer than a line with its digest
    file = LineFile(tmp_path / "lines")
    texts = [json.dumps({"n": "x" * size}).encode() for size in (0, 8, 200, 1, 64, 0, 63, 500, 2)]
    starts = [file.append(text) for text in texts]
    data = (tmp_path / "lines").read_bytes()
    assert starts == [sum(len(marked(t)) for t in texts[:n]) for n in range(len(texts))]
    assert data == b"".join(map(marked, texts))
    for order in (range(9), reversed(range(9)), (4, 4, 0, 8, 2, 7, 1, 1, 3)):
        for number in order:
            assert file.line(starts[number]) == marked(texts[number])
    os.truncate(tmp_path / "lines", len(data) - 1)
    with pytest.raises(BadData, match="became shorter while it was used; run again"):
        LineFile.line(_forgetful(file), starts[-1])


def _forgetful(file: LineFile) -> LineFile:
    file._window = 0, b""
    return file


def test_a_line_that_ends_with_the_part_that_was_read_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LineFile(tmp_path / "lines")
    starts = [file.append(b'{"a":1}'), file.append(b'{"b":2}')]
    whole = len(marked(b'{"a":1}'))
    for part in (whole - 1, whole, whole + 1, 2 * whole - 1, 2 * whole, 2 * whole + 1):
        monkeypatch.setattr(module, "_PART", part)
        assert LineFile.line(_forgetful(file), starts[0]) == marked(b'{"a":1}')
        assert file.line(starts[1]) == marked(b'{"b":2}')


def test_a_disk_that_takes_few_bytes_at_a_time_gets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:7], at))
    file = LineFile(tmp_path / "lines")
    assert [file.append(b'{"a":1}'), file.append(b'{"b":2}')] == [0, len(marked(b'{"a":1}'))]
    assert (tmp_path / "lines").read_bytes() == marked(b'{"a":1}') + marked(b'{"b":2}')


@pytest.mark.parametrize("kind", [Journal, Log])
def test_a_file_that_cannot_be_read_is_moved_away_and_nothing_of_it_is_used(
    kind: type[Journal] | type[Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "j", opened()
    (tmp_path / "j.damaged").mkdir()
    path.write_bytes(marked(REST) + marked(REST.replace(b"1", b"2")) + b"more\n")
    lines = LineFile._lines

    def failing(self: LineFile) -> Iterator[tuple[int, bytes]]:
        yield from islice(lines(self), 2)
        raise OSError(number, "failing")

    monkeypatch.setattr(LineFile, "_lines", failing)
    number = errno.EIO
    made = kind(path)
    if isinstance(made, Journal):
        assert (len(made), list(made.batches), made.dropped) == (0, [], 2)
        made.append(0, ROWS)
    else:
        assert made.found == []
        made.append(REST)
    assert (tmp_path / "j.damaged").read_bytes().endswith(b"more\n")
    assert path.read_bytes().count(b"\n") == 1
    made.close()
    assert opened() == before
    number = errno.EACCES
    with pytest.raises(OSError, match="failing"):
        kind(path)


def test_files_of_lines_may_be_shared_with_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their mode is left to the umask."""
    mask = os.umask(0)
    try:
        Journal(tmp_path / "j").close()

        def failing(self: LineFile) -> Iterator[tuple[int, bytes]]:
            raise OSError(errno.EIO, "failing")
            yield

        monkeypatch.setattr(LineFile, "_lines", failing)
        Log(tmp_path / "l").close()
    finally:
        os.umask(mask)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "jl"] == [0o666, 0o666]


def test_what_is_no_file_is_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "j"
    (path / "inside").mkdir(parents=True)
    Journal(path).close()
    assert path.read_bytes() == b""
    assert (tmp_path / "j.damaged" / "inside").is_dir()
