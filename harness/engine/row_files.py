"""Rows of a file of JSON lines, read from their places in the file when they are needed.

RowFile     batch by batch; for each row 8 bytes are in memory, for each batch 8 more
RowsById    by id, of a finished artifact; ids and places are in memory
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from harness.core.errors import BadData
from harness.core.hashing import canonical_json
from harness.engine.io import iterate_objects

Row = dict[str, Any]
_DECODE = json.JSONDecoder().raw_decode  # a third faster than json.loads
_BOM = b"\xef\xbb\xbf"


class RowFile:
    """The input of a row stage.

    Args:
        size: rows per batch.
        reader: whose input it is, for messages.

    Raises:
        BadData: a line is no object, or its id is missing, not text, or not unique.
    """

    def __init__(self, path: Path, size: int, reader: str) -> None:
        self.path = path
        self._size, self._reader = size, reader
        self._starts = array("q")  # of batches
        self._ids = array("q")  # hashes of the rows' ids
        self._stream = _opened(path)
        try:
            self._index()
        except BaseException:
            self._stream.close()
            raise

    def _index(self) -> None:
        for start, line in self._lines():
            if len(self._ids) % self._size == 0:
                self._starts.append(start)
            id = self._parsed(line, len(self._ids) + 1).get("id")
            if not isinstance(id, str):
                raise BadData(f"{self._reader}: row id is missing or not text")
            self._ids.append(hash(id))
        if twice := self._repeated():
            self._refuse_repeated(twice)

    def _repeated(self) -> set[int]:
        """Hashes that occur twice."""
        import numpy as np  # a sorted list would take 40 bytes per row

        hashes = np.array(self._ids, np.int64)
        hashes.sort()
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())

    def _refuse_repeated(self, hashes: set[int]) -> None:
        seen = set()
        for number, (_, line) in enumerate(self._lines(), 1):
            id = self._parsed(line, number)["id"]
            if id in seen:
                raise BadData(f'{self._reader}: row id "{id}" occurs twice')
            if hash(id) in hashes:
                seen.add(id)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Place and content of every line that is not blank."""
        self._stream.seek(0)
        start = 0
        for line in self._stream:
            if start == 0 and line.startswith(_BOM):
                start, line = len(_BOM), line[len(_BOM) :]
            if line != b"\n" and not line.isspace():
                yield start, line
            start += len(line)

    def _parsed(self, line: bytes, number: int) -> Row:
        try:
            text = line.decode("utf-8")
            row, end = _DECODE(text) if text[0] == "{" else (json.loads(text), len(text))
            if text[end:] not in ("", "\n"):
                row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadData(f"{self.path}, row {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise BadData(f"{self.path}, row {number}: expected an object, found {str(row)[:40]}")
        return row

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def batches(self) -> int:
        """Number of batches."""
        return len(self._starts)

    def count(self, batch: int) -> int:
        """Number of rows of a batch."""
        return min(self._size, len(self._ids) - batch * self._size)

    def read(self, batch: int) -> list[Row]:
        """The rows of a batch, by its number from 0."""
        self._stream.seek(self._starts[batch])
        rows: list[Row] = []
        while len(rows) < self.count(batch):
            line = self._stream.readline()
            if not line:
                raise BadData(f"{self.path} became shorter while it was read; run again")
            if not line.isspace():
                rows.append(self._parsed(line, batch * self._size + len(rows) + 1))
        return rows

    def fits(self, batch: int, rows: list[Row]) -> bool:
        """Whether results belong to a batch of this file: as many rows, with the same ids."""
        if not 0 <= batch < self.batches or len(rows) != self.count(batch):
            return False
        start = batch * self._size
        return all(
            isinstance(id := row.get("id"), str) and hash(id) == self._ids[start + number]
            for number, row in enumerate(rows)
        )

    def close(self) -> None:
        self._stream.close()


class RowsById(Mapping[str, Row]):
    """The rows of an artifact by id, in their order; each is read again whenever it is asked for.

    Args:
        path: JSON lines with unique ids, as a stage writes them.
    """

    def __init__(self, path: Path) -> None:
        self._places: dict[str, int] = {}
        self._stream = path.open("rb")
        start = 0
        for line in self._stream:
            self._places[json.loads(line)["id"]] = start
            start += len(line)

    def __getitem__(self, id: str) -> Row:
        self._stream.seek(self._places[id])
        row: Row = json.loads(self._stream.readline())
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._stream.close()


def _opened(path: Path) -> BinaryIO:
    """The file as a stream of lines; a file with one JSON list is written out as lines first."""
    try:
        stream = path.open("rb")
        head = next((line for line in stream if not line.removeprefix(_BOM).isspace()), b"")
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}") from None
    if not head.removeprefix(_BOM).lstrip().startswith(b"["):
        return stream
    stream.close()
    lines: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
    lines.writelines(canonical_json(row) + b"\n" for row in iterate_objects(path))
    return lines
