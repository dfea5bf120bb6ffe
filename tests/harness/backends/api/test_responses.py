"""The file of stored responses: sharing, damage, a full disk, reading without writing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness.backends.api.responses import Busy, ResponseStore, Stored, Verified
from harness.core.errors import StoreProblem


def row(number: int, body: str = '{"choices": []}') -> Stored:
    return Stored(f"{number:064x}", "m", body, 3, None, 0.5, 1700000000.0)


def test_rows_come_back_by_key_and_the_first_one_stays(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "new" / "r.sqlite")
    store.put([row(n) for n in range(1200)])
    store.put([row(1, "{}")])
    found = store.get([f"{n:064x}" for n in range(1100, 1300)])
    assert sorted(found) == [f"{n:064x}" for n in range(1100, 1200)]
    assert store.get([row(1).key])[row(1).key] == row(1)
    assert len(store) == 1200
    assert store.get([]) == {}
    assert [r.key for r in store.all()] == [row(n).key for n in range(1200)]
    store.close()


def test_notes(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    assert store.note("a:1") is None
    store.write_note("a:1", {"x": 1})
    store.write_note("a:1", {"x": 2})
    store.write_note("b:1", {})
    assert store.note("a:1") == {"x": 2}
    assert store.notes("a:") == {"a:1": {"x": 2}}
    store.write_note("a:1", None)
    assert store.notes("a:") == {}
    store.close()


def test_two_handles_write_from_several_threads(tmp_path: Path) -> None:
    stores = [ResponseStore(tmp_path / "r.sqlite") for _ in range(2)]

    def write(start: int) -> None:
        for number in range(start, start + 40):
            stores[number % 2].put([row(number)])

    threads = [threading.Thread(target=write, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores[0]) == len(stores[1]) == 160
    for store in stores:
        store.close()


def test_another_writer_is_waited_for_or_reported(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    other = sqlite3.connect(tmp_path / "r.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy):
        store.put([row(1)], wait=False)
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    store.put([row(2)])
    assert len(store) == 1
    timer.join()
    other.close()
    store.close()


@pytest.mark.parametrize("content", [b"not a database at all, only text" * 40, b"x"])
def test_a_foreign_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreProblem, match=r"r\.sqlite"):
        ResponseStore(path)
    assert path.read_bytes() == content


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store = ResponseStore(path)
    store.put([row(n, "x" * 500) for n in range(400)])
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StoreProblem, match=r"r\.sqlite is not an intact file"):
        list(ResponseStore(path).all())


def test_a_changed_row_is_not_returned_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store = ResponseStore(path)
    store.put([row(n) for n in range(4)])
    store.close()
    changes = ("body = 'x'", "tokens_out = 9", "body = CAST(X'ff' AS TEXT)")
    with sqlite3.connect(path) as connection:
        for number, change in enumerate(changes):
            key = bytes.fromhex(row(number).key)
            connection.execute(f"UPDATE responses SET {change} WHERE key = ?", [key])
    connection.close()
    store = ResponseStore(path)
    keys = [row(n).key for n in range(4)]
    assert list(store.get(keys)) == keys[3:]
    assert store.verify() == Verified(1, 0, tuple(keys[:3]))
    store.put([row(1, "new"), row(3, "other")])
    assert [found.body for found in store.get(keys[1:]).values()] == ["new", row(3).body]
    store.drop([keys[0], keys[2]])
    assert store.verify() == Verified(2, 0, ())
    store.close()


OLD = """
CREATE TABLE responses (
    key BLOB NOT NULL UNIQUE, model TEXT NOT NULL, body TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, latency_s REAL, time REAL NOT NULL
);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version=1;
"""


def test_a_file_of_the_first_format_gains_digests(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    old = row(1)
    with sqlite3.connect(path) as connection:
        connection.executescript(OLD)
        values = (old.key, old.model, old.body, old.tokens_in, old.tokens_out, None, old.time)
        connection.execute(
            "INSERT INTO responses VALUES (?,?,?,?,?,?,?)", (bytes.fromhex(old.key), *values[1:])
        )
    connection.close()
    store = ResponseStore(path)
    assert store.get([old.key])[old.key].body == old.body
    store.put([row(2)])
    assert store.verify() == Verified(1, 1, ())
    assert [found.key for found in store.all()] == [old.key, row(2).key]
    store.close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "r.sqlite")
    connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(StoreProblem, match="format 9"):
        ResponseStore(tmp_path / "r.sqlite")


def test_a_full_disk_is_one_clear_line_and_keeps_what_is_there(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    store.put([row(1)])
    store._connection.execute("PRAGMA max_page_count=20")
    with pytest.raises(StoreProblem, match="no space left"):
        store.put([row(2, "x" * 200_000), row(3)])
    assert sorted(store.get([row(n).key for n in (1, 2, 3)])) == [row(1).key]
    store.close()


READ = """
import os, sys
from pathlib import Path
from harness.backends.api.responses import ResponseStore, Stored
from harness.core.errors import StoreProblem
if os.geteuid() == 0:
    os.setuid(65534)
store = ResponseStore(Path(sys.argv[1]))
print(len(store), store.read_only)
store.write_note("a", {})
try:
    store.put([Stored("0" * 64, "m", "{}", 1, 1, None, 1.0)])
except StoreProblem as problem:
    print("is read-only" in str(problem))
"""


def test_a_read_only_folder_still_answers() -> None:
    with tempfile.TemporaryDirectory() as name:  # one that somebody else may enter
        folder = Path(name)
        store = ResponseStore(folder / "r.sqlite")
        store.put([row(1), row(2)])
        store.close()
        folder.chmod(0o555)
        try:
            command = [sys.executable, "-c", READ, str(folder / "r.sqlite")]
            done = subprocess.run(command, capture_output=True, text=True)
        finally:
            folder.chmod(0o755)
    assert done.stdout.split() == ["2", "True", "True"], done.stderr


def test_reading_ten_thousand_rows_is_fast(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    store.put([row(n, "x" * 600) for n in range(10_000)])
    begun = time.process_time()
    assert len(store.get([f"{n:064x}" for n in range(10_000)])) == 10_000
    assert time.process_time() - begun < 1
    store.close()
