"""A store in any state: a run completes, or ends with a sentence that says what to do."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from harness.core.errors import BadData, DamagedArtifact, StoreProblem
from harness.core.hashing import canonical_json
from harness.core.records import Record
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Journal, Store


class Size(Record):
    n: int = 6
    stop: int | None = None


@operation("test_store_rows", version=1, params=Size)
def store_rows(context: Context, params: Size) -> None:
    write_rows(context.directory / "rows.jsonl", [{"id": f"r{n}", "n": n} for n in range(params.n)])


COMPUTED: list[str] = []


@operation("test_store_squares", version=1, params=Size, rows="rows", batch_size=lambda _: 2)
def store_squares(
    context: Context, params: Size, batches: Iterable[list[Row]], *, rows: Artifact
) -> Iterator[list[Row]]:
    for batch in batches:
        COMPUTED.extend(row["id"] for row in batch)
        yield [{"id": row["id"], "square": row["n"] ** 2} for row in batch]
        if params.stop is not None and len(COMPUTED) >= params.stop:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    COMPUTED.clear()
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # see test_power_cuts.py; it is slow


def planned(**params: object) -> tuple[Plan, Handle]:
    plan = Plan()
    return plan, plan.stage("test_store_squares", rows=plan.stage("test_store_rows"), **params)


def run(root: Path) -> list[int]:
    store, (plan, target) = Store(root), planned()
    InlineExecutor().execute(plan, [target], store)
    return [row["square"] for row in store.artifact(target.id).rows()]


SQUARES = [n * n for n in range(6)]
TARGET = planned()[1].id
SOURCE = next(iter(planned()[0].stages))


# The marker of the format


@pytest.mark.parametrize(
    "content",
    ['{"format": true}', "[]", "", "\0" * 14, '{"format": "1"}', '{"format": 1.0}',
     '{"format": 0}', '{"format": null}', "[" * 100_000, '{"format": 1'],
)  # fmt: skip
def test_a_damaged_marker_is_written_again(tmp_path: Path, content: str) -> None:
    run(tmp_path)
    (tmp_path / "store.json").write_text(content)
    COMPUTED.clear()
    assert run(tmp_path) == SQUARES
    assert COMPUTED == []
    assert json.loads((tmp_path / "store.json").read_text()) == {"format": 1}
    assert (tmp_path / "damaged" / "store.json").read_text() == content


def test_a_newer_format_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 2}')
    with pytest.raises(StoreProblem, match="format 2, this version reads up to 1; upgrade"):
        Store(tmp_path)
    assert (tmp_path / "store.json").read_text() == '{"format": 2}'


def test_a_file_instead_of_a_store_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    with pytest.raises(StoreProblem, match=r"home.*look at .* and move it away"):
        Store(tmp_path / "home")


# Things of the wrong kind


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "inside").write_text("x")


def a_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def a_link(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.parent / "no" / "where")


@pytest.mark.parametrize("make", [a_folder, a_file, a_link])
@pytest.mark.parametrize(
    "name",
    [
        "store.json",
        f"partial/{TARGET}.lock",
        f"partial/{TARGET}/journal.jsonl",
        f"partial/{TARGET}/scratch",
        f"partial/{TARGET}/output",
        f"partial/{TARGET}",
        "partial",
        f"artifacts/{TARGET[:2]}/{TARGET}",
        f"artifacts/{TARGET[:2]}",
        "artifacts",
        "damaged",
    ],
)
def test_what_is_in_the_way_is_set_aside(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    root = tmp_path / "home"
    make(root / name)
    if make is a_link and name in ("artifacts", "partial"):  # a disk that is not mounted
        with pytest.raises(StoreProblem, match=r"is a link to .*, which is not there; mount"):
            run(root)
        return
    assert run(root) == SQUARES
    if name == "damaged":
        (root / "artifacts" / TARGET[:2] / TARGET / "rows.jsonl").write_bytes(b"")
        assert run(root) == SQUARES
    COMPUTED.clear()
    assert run(root) == SQUARES
    assert COMPUTED == []


# Other disks, unreadable files, failing disks


def test_artifacts_may_be_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, other = tmp_path / "home", tmp_path / "other"
    other.mkdir()
    root.mkdir()
    (root / "artifacts").symlink_to(other)
    rename = os.rename

    def across(source: Path, target: Path) -> None:
        sides = [Path(path).resolve().is_relative_to(other) for path in (source, target)]
        if sides[0] != sides[1]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    assert run(root) == SQUARES
    assert (other / TARGET[:2] / TARGET / "manifest.json").is_file()
    (other / TARGET[:2] / TARGET / "rows.jsonl").write_bytes(b"")
    assert run(root) == SQUARES
    assert (root / "damaged" / TARGET / "rows.jsonl").read_bytes() == b""
    Store(root).discard(TARGET)
    assert sorted(path.name for path in other.glob("*/*")) == [SOURCE]


UNREADABLE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.harness.engine.test_store import SQUARES, run
assert run(Path(sys.argv[2])) == SQUARES
"""


def _without_power() -> None:
    """Give up root's right to read everything."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # DAC_OVERRIDE, DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; without effect for other users


@pytest.mark.parametrize(
    ("id", "name"), [(SOURCE, "rows.jsonl"), (TARGET, "manifest.json"), (SOURCE, "")]
)
def test_what_cannot_be_read_is_computed_again(tmp_path: Path, id: str, name: str) -> None:
    run(tmp_path)
    (tmp_path / "artifacts" / id[:2] / id / name).chmod(0)
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", UNREADABLE, root, str(tmp_path)],
        preexec_fn=_without_power,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "damaged" / f"{id}.txt").is_file()


@pytest.mark.parametrize("call", ["pwrite", "fsync", "rename", "ftruncate"])
def test_a_failing_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    Store(tmp_path)

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(StoreProblem, match=r"Input/output error; check the disk") as caught:
        run(tmp_path)
    assert "CRUCIBLE_HOME" in str(caught.value)
    monkeypatch.undo()
    assert run(tmp_path) == SQUARES


def test_a_journal_that_the_disk_cannot_read_is_begun_again(tmp_path: Path) -> None:
    partial = tmp_path / "partial" / TARGET
    partial.mkdir(parents=True)
    # The first page of a process's memory cannot be read: EIO, as from a broken sector.
    (partial / "journal.jsonl").symlink_to(f"/proc/{os.getpid()}/mem")
    assert run(tmp_path) == SQUARES


# Journals


def batch(number: object, rows: object) -> bytes:
    return canonical_json({"batch": number, "rows": rows}) + b"\n"


GOOD = [{"id": "r2", "square": 4}, {"id": "r3", "square": 9}]


@pytest.mark.parametrize(
    "line",
    [
        batch(99, GOOD), batch(-1, GOOD), batch(True, GOOD), batch("1", GOOD), batch(1.0, GOOD),
        batch(10**30, GOOD), batch(None, GOOD), batch(1, "rows"), batch(1, [1, 2]), batch(1, {}),
        batch(1, GOOD[:1]), batch(1, GOOD[::-1]), batch(0, GOOD), batch(1, [*GOOD, *GOOD]),
        batch(1, [{"id": 2}, {"id": 3}]), b"[]\n", b"[1]\n", b"{}\n", b"null\n", b"7\n", b"\n",
        b'{"batch":1}\n', b'{"rows":[]}\n', b"\0" * 300 + b"\n", b"\xff\xfe\n", b"[" * 9999 + b"\n",
        b'{"digest":"0123456789abcdef0123456789abcdef",' + batch(1, GOOD)[1:],
        b'{"digest":"', b'{"digest":"\n', b'{"batch":1,"rows":[{"id":"r2"',
    ],
)  # fmt: skip
def test_a_damaged_journal_costs_what_it_lost_and_no_more(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "partial" / TARGET / "journal.jsonl"
    path.parent.mkdir(parents=True)
    first = batch(0, [{"id": "r0", "square": 0}, {"id": "r1", "square": 1}])
    last = batch(2, [{"id": "r4", "square": 16}, {"id": "r5", "square": 25}])
    path.write_bytes(first + (line + last if line.endswith(b"\n") else last + line))
    assert run(tmp_path) == SQUARES
    assert COMPUTED == ["r2", "r3"]


def test_a_line_that_changed_after_it_was_written_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "partial" / TARGET / "journal.jsonl"
    journal = Journal(path)
    journal.append(1, GOOD)
    journal.append(0, [{"id": "r0", "square": 0}, {"id": "r1", "square": 1}])
    journal.close()
    path.write_bytes(path.read_bytes().replace(b'"square":9', b'"square":8'))
    assert run(tmp_path) == SQUARES
    assert COMPUTED == ["r2", "r3", "r4", "r5"]


# Artifacts


def test_a_damaged_artifact_is_named_when_it_is_opened(tmp_path: Path) -> None:
    run(tmp_path)
    store = Store(tmp_path)
    path = store.folder(TARGET) / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(
        DamagedArtifact, match=r"rows.jsonl has .* in 6 rows were written.*--repair"
    ):
        store.artifact(TARGET)
    assert store.problem(TARGET).startswith("rows.jsonl has ")
    with pytest.raises(StoreProblem, match="is missing from the store"):
        store.artifact("ab" * 16)
    with pytest.raises(BadData, match="no artifact"):
        store.find("zz")


def test_an_artifact_is_set_aside_under_a_name_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    places = []
    for _ in range(3):
        run(tmp_path)
        places.append(store.set_aside(TARGET, "why"))
    assert [place and place.name for place in places] == [TARGET, f"{TARGET}-1", f"{TARGET}-2"]
    assert (tmp_path / "damaged" / f"{TARGET}-2.txt").read_text() == "why\n"
    assert store.set_aside(TARGET, "why") is None
    assert store.made_from([SOURCE]) == []
    run(tmp_path)
    assert store.made_from([SOURCE]) == [TARGET]


def test_manifests_list_size_rows_and_digest(tmp_path: Path) -> None:
    run(tmp_path)
    (listed,) = Store(tmp_path).manifest(TARGET)["files"].values()
    path = Store(tmp_path).folder(TARGET) / "rows.jsonl"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert listed == {"bytes": path.stat().st_size, "rows": 6, "sha256": digest}


def test_locks_are_seen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.locks() == []
    with store.lock(TARGET):
        assert Store(tmp_path).locked(TARGET)
        assert store.locks() == [TARGET]
    assert not store.locked(TARGET)
