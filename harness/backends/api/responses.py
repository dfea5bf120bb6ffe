"""The file of stored responses: SQLite, one row per call, written before an answer is yielded.

    store = ResponseStore(Path("responses.sqlite"))
    store.put([Stored(key, model, body, tokens_in, tokens_out, latency_s, time)])
    found = store.get(keys)

Several processes and threads may share a file (write-ahead log, one short transaction per group of
arrivals). A committed row survives `kill -9` of the process; after a power failure the file is
intact and may lack its last rows. A read-only file or folder still returns its rows. Rows contain
the server's body unchanged, and never an API key or secrets of a URL.

Each row has a digest of what was stored; a row that differs from its digest is not returned, so
that its response is requested again. Rows of format 1 have none.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from harness.core.errors import StoreProblem
from harness.engine.io import disk_errors

FORMAT = 2
LOOKUP = 500  # keys per query; SQLite's limit on variables is at least 999
MAGIC = b"SQLite format 3\0"  # first bytes of an SQLite file
BUSY_S = 0.1  # maximum time that one statement waits for another process
PATIENCE_S = 60.0  # maximum time that a blocking caller waits

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS responses (key BLOB NOT NULL UNIQUE, model TEXT NOT NULL, "
    "body TEXT NOT NULL, tokens_in INTEGER, tokens_out INTEGER, latency_s REAL, "
    "time REAL NOT NULL, digest BLOB)",
    "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One response.

    Attributes:
        key: 64 hexadecimal digits, see `wire.Call`.
        body: complete JSON of the server.
        tokens_in, tokens_out: None if the server did not count them.
        time: arrival in seconds since 1970.
    """

    key: str
    model: str
    body: str
    tokens_in: int | None
    tokens_out: int | None
    latency_s: float | None
    time: float


_COLUMNS = "key, model, body, tokens_in, tokens_out, latency_s, time"


def _digest(row: Sequence[Any]) -> bytes:
    """Digest of the values of `_COLUMNS`."""
    *values, latency_s, time = row
    times = (None if latency_s is None else float(latency_s), float(time))
    text = repr((*values, *times))
    return hashlib.sha256(text.encode(errors="backslashreplace")).digest()[:16]


@dataclass(frozen=True)
class Verified:
    """Number of rows that are what was stored, of rows without a digest, and keys of others."""

    sound: int
    unlisted: int
    damaged: tuple[str, ...]


class Busy(Exception):
    """Another process is writing; try again."""


class ResponseStore:
    """Stored responses, and notes about endpoints and batches.

    Raises:
        StoreProblem: the file is damaged, has a newer version, or cannot be created; names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = threading.Lock()
        self.read_only = False
        self._digests = "digest"  # of each row; NULL in a read-only file of format 1
        self._differing: set[bytes] = set()  # keys of rows to be replaced
        with disk_errors(self.path.parent), self._problems():
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        if self.path.is_file():
            with self.path.open("rb") as stream:
                head = stream.read(len(MAGIC))
            if head not in (b"", MAGIC):  # SQLite overwrites some other files
                raise self._damaged("it is not an SQLite file")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connect("rwc")
            self._patiently(lambda: self._prepare(connection))
            return connection
        except (OSError, sqlite3.OperationalError):
            if not self.path.is_file():
                raise
        self.read_only = True
        return self._open_read_only()

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        # A damaged text may be no UTF-8; its digest will tell.
        connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise StoreProblem(
                f"{self.path} has format {version}, this version reads up to {FORMAT}; upgrade "
                "crucible-bench or move the file away"
            )
        if version < FORMAT:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have done it by now.
            if connection.execute("PRAGMA user_version").fetchone()[0] == 1:
                connection.execute("ALTER TABLE responses ADD COLUMN digest BLOB")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={FORMAT}")
            connection.execute("COMMIT")
        else:
            # Fails now, not at the first response, if the folder cannot be written.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE notes SET value = value WHERE name = ''")
            connection.execute("ROLLBACK")
        # Survives the end of the process; only a power failure can lose the last rows.
        connection.execute("PRAGMA synchronous=NORMAL")

    def _open_read_only(self) -> sqlite3.Connection:
        """For a read-only folder: open with the write-ahead log if there is one, else without."""
        log = self.path.with_name(self.path.name + "-wal")
        modes = ["ro"] if log.exists() and log.stat().st_size else ["ro", "ro&immutable=1"]
        for mode in modes:
            connection = self._connect(mode)
            try:
                connection.execute("SELECT count(*) FROM notes").fetchone()
                if connection.execute("PRAGMA user_version").fetchone()[0] < FORMAT:
                    self._digests = "NULL"
                return connection
            except sqlite3.OperationalError:
                connection.close()
        raise StoreProblem(
            f"{self.path} cannot be read: its folder is read-only and its write-ahead log has not "
            "been merged; copy both files to a writable folder and read them there"
        )

    # Responses

    def get(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The stored responses among `keys`."""
        found: dict[str, Stored] = {}
        for start in range(0, len(keys), LOOKUP):
            part = [bytes.fromhex(key) for key in keys[start : start + LOOKUP]]
            marks = ",".join("?" * len(part))
            query = f"SELECT {_COLUMNS}, {self._digests} FROM responses WHERE key IN ({marks})"
            for *values, known in self._rows(query, part):
                if known is not None and known != _digest(values):
                    self._differing.add(values[0])
                    continue
                row = Stored(values[0].hex(), *values[1:])
                found[row.key] = row
        return found

    def verify(self) -> Verified:
        """Compare every row with its digest."""
        sound = unlisted = 0
        damaged = []
        for _, *values, known in self._in_order():
            if known is None:
                unlisted += 1
            elif known == _digest(values):
                sound += 1
            else:
                damaged.append(bytes(values[0]).hex())
        return Verified(sound, unlisted, tuple(damaged))

    def put(self, rows: Sequence[Stored], *, wait: bool = True) -> None:
        """Store rows in one transaction; a known key keeps its first response.

        Raises:
            Busy: another process is writing, and `wait` is false.
            StoreProblem: the disk is full, or the file cannot be written.
        """
        values = [
            (bytes.fromhex(r.key), r.model, r.body, r.tokens_in, r.tokens_out, r.latency_s, r.time)
            for r in rows
        ]
        rowed = [(*value, _digest(value)) for value in values]
        patience_s = PATIENCE_S if wait else 0
        if lost := [(key,) for key, *_ in values if key in self._differing]:
            self._write("DELETE FROM responses WHERE key = ?", lost, patience_s)
        self._write("INSERT OR IGNORE INTO responses VALUES (?,?,?,?,?,?,?,?)", rowed, patience_s)
        self._differing.difference_update(key for key, *_ in values)

    def drop(self, keys: Sequence[str]) -> None:
        """Remove responses that must be requested again; a read-only file keeps them."""
        if not self.read_only:
            values = [(bytes.fromhex(key),) for key in keys]
            self._write("DELETE FROM responses WHERE key = ?", values)

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM responses", [])[0][0])

    def all(self) -> Iterator[Stored]:
        """Every response, in order of arrival."""
        for _, key, *rest, _ in self._in_order():
            yield Stored(key.hex(), *rest)

    def _in_order(self) -> Iterator[tuple[Any, ...]]:
        last = 0
        columns = f"rowid, {_COLUMNS}, {self._digests}"
        while True:
            query = f"SELECT {columns} FROM responses WHERE rowid > ? ORDER BY rowid LIMIT 1000"
            rows = self._rows(query, [last])
            if not rows:
                return
            yield from rows
            last = rows[-1][0]

    # Notes

    def note(self, name: str) -> dict[str, Any] | None:
        """The note with this name; None without one."""
        rows = self._rows("SELECT value FROM notes WHERE name = ?", [name])
        return cast("dict[str, Any]", json.loads(rows[0][0])) if rows else None

    def notes(self, prefix: str) -> dict[str, dict[str, Any]]:
        """All notes whose name begins with `prefix`."""
        query = "SELECT name, value FROM notes WHERE substr(name, 1, ?) = ?"
        return {name: json.loads(value) for name, value in self._rows(query, [len(prefix), prefix])}

    def write_note(self, name: str, value: dict[str, Any] | None) -> None:
        """Write or replace a note; None removes it. Does nothing in a read-only file."""
        if self.read_only:
            return
        if value is None:
            self._write("DELETE FROM notes WHERE name = ?", [(name,)])
        else:
            text = json.dumps(value)
            self._write("INSERT OR REPLACE INTO notes VALUES (?, ?)", [(name, text)])

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # One connection, one statement or transaction at a time

    def _rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._problems(), self._lock:
            return self._patiently(lambda: self._connection.execute(query, values).fetchall())

    def _write(
        self,
        statement: str,
        values: Sequence[tuple[Any, ...]],
        patience_s: float = PATIENCE_S,
    ) -> None:
        if self.read_only:
            raise StoreProblem(
                f"{self.path} is read-only, and new responses cannot be stored; make it writable, "
                "or run with --offline if all responses are stored"
            )

        def transaction() -> None:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, values)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

        with self._problems(), self._lock:
            self._patiently(transaction, patience_s)

    def _patiently(self, work: Any, patience_s: float = PATIENCE_S) -> Any:
        """Do `work`, repeatedly while another process holds the file."""
        end = time.monotonic() + patience_s
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                if not patience_s:
                    raise Busy from None
                if time.monotonic() >= end:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _problems(self) -> Iterator[None]:
        """Turn SQLite's errors into one line."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code == sqlite3.SQLITE_FULL:
                raise StoreProblem(
                    f"no space left for {self.path}; earlier responses are stored: free some space "
                    "and run again"
                ) from None
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._damaged(str(error)) from None
            hint = " (is the disk full?)" if code == sqlite3.SQLITE_IOERR else ""
            raise StoreProblem(f"{self.path} cannot be used: {error}{hint}") from None

    def _damaged(self, why: str) -> StoreProblem:
        return StoreProblem(
            f"{self.path} is not an intact file of responses ({why}); restore it from a copy, or "
            "move it away and run again"
        )


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of the Python module."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
