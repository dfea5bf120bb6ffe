"""Files of JSON lines that survive a crash: what a stage has finished so far.

    Log        objects, one per line, all in memory
    Journal    batches of rows of a row stage, in memory by their place in the file only

A line begins with a digest of the rest of it. A last line that was cut off is dropped when the file
is opened; any other line that is not what was written is passed over, so that its content is made
again. Lines of earlier versions have no digest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import BadData
from harness.core.hashing import canonical_json
from harness.engine.io import make_folder, move, remove

_MARK = b'{"digest":"'
_DIGEST = 32  # characters
_PART = 1 << 18  # bytes read at once
_START = len(_MARK) + _DIGEST + 2  # of the rest of a line, after `",`
_ROWS = b',"rows":['
_BETWEEN = (
    b",\t"  # of rows in a line; in canonical JSON there is no tab, so that it can be cut there
)

Row = dict[str, Any]


def _digest(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest()[:_DIGEST].encode("ascii")


class Unreadable(Exception):
    """The disk cannot read a file; it was moved away, and nothing of it is used."""


def _sound(line: bytes) -> bytes:
    """The content of a line that is what was written; else nothing."""
    if not line.startswith(_MARK):
        return line[:-1]
    rest = b"{" + line[_START:-1]
    return rest if line[len(_MARK) : len(_MARK) + _DIGEST] == _digest(rest) else b""


class LineFile:
    """Lines in a file, each with a digest and written at once.

    Attributes:
        dropped: number of damaged lines that were passed over.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.dropped = 0
        self._size = 0
        self._window = 0, b""  # place and content of the part that was read last
        make_folder(path.parent)
        if os.path.lexists(path) and not path.is_file():  # not made by a store
            self._move_away()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def _move_away(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        remove(aside)
        move(self._path, aside)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Start and content of every sound line, digest removed; then the file ends with them.

        A file that the disk cannot read is moved away, and a new one begun.
        """
        try:
            for start, line in self._lines():
                rest = _sound(line)
                if rest:
                    yield start, rest
                else:
                    self.dropped += 1
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            os.close(self._descriptor)
            self._move_away()
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            self._size = 0
            raise Unreadable from None
        os.ftruncate(self._descriptor, self._size)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Start and content of every complete line."""
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            for line in stream:
                if line.endswith(b"\n"):
                    yield self._size, line
                    self._size += len(line)

    def append(self, line: bytes) -> int:
        """Append one JSON object, given as one line without its end; returns where it starts."""
        data = _MARK + _digest(line) + b'",' + line[1:] + b"\n"
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._size + written)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        start, self._size = self._size, self._size + len(data)
        return start

    def line(self, start: int) -> bytes:
        """The line that starts at a place, with its end."""
        size = _PART
        while True:
            place, held = self._window
            found = held.find(b"\n", start - place) if start >= place else -1
            if found >= 0:
                return held[start - place : found + 1]
            held = os.pread(self._descriptor, size, start)
            if len(held) < size and not held.endswith(b"\n"):
                raise BadData(f"{self._path} became shorter while it was used; run again")
            self._window = start, held
            size *= 2

    def close(self) -> None:
        os.close(self._descriptor)


class Log:
    """JSON objects, one per line, each appended in one write.

    Args:
        keys: keys that a line must have; others are passed over.

    Attributes:
        found: objects written by earlier attempts.
    """

    def __init__(self, path: Path, keys: Sequence[str] = ()) -> None:
        self._file = LineFile(path)
        self.found: list[Row] = []
        try:
            for _, line in self._file.read():
                entry = parsed(line)
                if isinstance(entry, dict) and all(key in entry for key in keys):
                    self.found.append(entry)
        except Unreadable:
            self.found.clear()

    def append(self, line: bytes) -> None:
        """Append one JSON object, given as one line without its end."""
        self._file.append(line)

    def close(self) -> None:
        self._file.close()


def parsed(line: bytes) -> Any:
    """The JSON value of a line; None if it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class Journal:
    """Finished batches of a row stage, in the order in which they were finished.

    Args:
        fits: whether a batch with these rows belongs to the stage; others are passed over.

    Attributes:
        dropped: number of lines of earlier attempts that were passed over.
    """

    def __init__(self, path: Path, fits: Callable[[int, list[Row]], bool] | None = None) -> None:
        self._file = LineFile(path)
        self._starts = array("q")  # of lines, by number of the batch; -1 is not finished
        self._known = self.dropped = 0
        try:
            for start, line in self._file.read():
                number, rows = _batch(parsed(line))
                if number < 0 or (fits is not None and not fits(number, rows)):
                    self.dropped += 1
                else:
                    self._place(number, start)
        except Unreadable:
            self.dropped += self._known
            self._starts, self._known = array("q"), 0
        self.dropped += self._file.dropped

    def _place(self, number: int, start: int) -> None:
        lacking = number + 1 - len(self._starts)
        if lacking > 0:
            self._starts.extend([-1] * lacking)
        self._known += self._starts[number] < 0
        self._starts[number] = start

    def __len__(self) -> int:
        return self._known

    def __contains__(self, number: int) -> bool:
        return number < len(self._starts) and self._starts[number] >= 0

    @property
    def batches(self) -> Iterator[int]:
        """Numbers of the finished batches in order, those of earlier attempts included."""
        return (number for number, start in enumerate(self._starts) if start >= 0)

    def append(self, batch: int, rows: Sequence[Row]) -> None:
        """Store a finished batch."""
        text = _BETWEEN.join(map(canonical_json, rows))
        self._place(batch, self._file.append(b'{"batch":%d%s%s]}' % (batch, _ROWS, text)))

    def write_rows(self, path: Path) -> None:
        """Write the rows of all batches, by number of the batch, one canonical line each."""
        with path.open("wb") as stream:
            for number in self.batches:
                stream.write(_lines(self._file.line(self._starts[number])))

    def close(self) -> None:
        self._file.close()


def _batch(entry: Any) -> tuple[int, list[Row]]:
    """Number and rows of a line; -1 if it is no batch."""
    if not isinstance(entry, dict):
        return -1, []
    number, rows = entry.get("batch"), entry.get("rows")
    if type(number) is not int or not isinstance(rows, list):
        return -1, []
    return (number, rows) if all(isinstance(row, dict) for row in rows) else (-1, [])


def _lines(line: bytes) -> bytes:
    """The rows of a line, each in canonical form on a line of its own."""
    if line.startswith(_MARK):
        rows = line[line.index(_ROWS) + len(_ROWS) : -len(b"]}\n")]
        return rows.replace(_BETWEEN, b"\n") + b"\n"
    return b"".join(canonical_json(row) + b"\n" for row in json.loads(line)["rows"])
