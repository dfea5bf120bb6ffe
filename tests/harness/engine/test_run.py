"""The engine: what is computed, what is reused, and what survives an interruption."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, CrucibleError, StoreProblem
from harness.core.records import Record
from harness.engine.operations import OPERATIONS, Artifact, Context, Row, operation
from harness.engine.plan import Plan
from harness.engine.row_files import RowFile
from harness.engine.run import InlineExecutor, Silent
from harness.engine.store import Journal, Store


class NumbersParams(Record):
    n: int


@operation("test_numbers", version=1, params=NumbersParams)
def numbers(context: Context, params: NumbersParams) -> None:
    lines = [json.dumps({"id": f"r{i}", "value": i}) for i in range(params.n)]
    (context.directory / "rows.jsonl").write_text("\n".join(lines) + "\n")


class DoubleParams(Record):
    batch_size: int = 3
    fail_at: int | None = None


CALLS: list[list[str]] = []


@operation(
    "test_double", version=1, params=DoubleParams, rows="rows", batch_size=lambda p: p.batch_size
)
def double(
    context: Context, params: DoubleParams, batches: Iterable[list[Row]], *, rows: Artifact
) -> Iterator[list[Row]]:
    for batch in batches:
        CALLS.append([row["id"] for row in batch])
        if len(CALLS) == params.fail_at:
            raise KeyboardInterrupt
        context.count(tokens_out=len(batch))
        yield [{"id": row["id"], "value": 2 * row["value"]} for row in batch]


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


def two_stages(n: int = 10, **params: object) -> tuple[Plan, list]:
    plan = Plan()
    rows = plan.stage("test_numbers", n=n)
    return plan, [plan.stage("test_double", rows=rows, **params)]


def test_a_finished_plan_executes_nothing_again(tmp_path: Path) -> None:
    store, (plan, targets) = Store(tmp_path), two_stages()
    first = InlineExecutor().execute(plan, targets, store)
    second = InlineExecutor().execute(plan, targets, store)
    assert (len(first.executed), second.executed, second.reused) == (2, (), 2)
    assert [row["value"] for row in store.artifact(targets[0].id).rows()] == list(range(0, 20, 2))


def test_a_row_stage_closes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    for kind in (RowFile, Journal):
        monkeypatch.setattr(kind, "close", lambda self, kind=kind: closed.append(kind.__name__))
    plan, targets = two_stages()
    InlineExecutor().execute(plan, targets, Store(tmp_path))
    assert sorted(closed) == ["Journal", "RowFile"]


def test_an_interrupted_stage_computes_only_the_missing_batches(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan, targets = two_stages(fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().execute(plan, targets, store)
    finished = CALLS[:-1]
    CALLS.clear()
    CALLS.extend([["padding"]] * 3)  # past fail_at, so that the resumed stage runs through
    InlineExecutor().execute(plan, targets, store)
    again = CALLS[3:]
    assert not {tuple(batch) for batch in finished} & {tuple(batch) for batch in again}
    assert sorted(id for batch in finished + again for id in batch) == sorted(
        f"r{i}" for i in range(10)
    )


def test_a_torn_journal_line_is_as_if_never_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(0, [{"id": "a"}])
    journal.append(1, [{"id": "b"}])
    journal.close()
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        again = Journal(path)
        whole = data[:cut].count(b"\n")
        assert sorted(again.batches) == list(range(whole))
        again.append(7, [{"id": "c"}])
        again.close()
        assert all(json.loads(line) for line in path.read_bytes().splitlines())


@given(st.integers(0, 25), st.integers(1, 7))
def test_rows_keep_their_order_whatever_the_batches(n: int, size: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store, (plan, targets) = Store(Path(folder)), two_stages(n, batch_size=size)
        InlineExecutor().execute(plan, targets, store)
        assert store.artifact(targets[0].id).row_ids == [f"r{i}" for i in range(n)]


def test_inputs_of_a_finished_stage_may_be_deleted(tmp_path: Path) -> None:
    import shutil

    store, (plan, targets) = Store(tmp_path), two_stages()
    InlineExecutor().execute(plan, targets, store)
    shutil.rmtree(store.folder(next(iter(plan.stages))))
    assert InlineExecutor().execute(plan, targets, store).executed == ()


def test_an_operation_that_loses_rows_is_an_error(tmp_path: Path) -> None:
    @operation("test_loses", version=1, params=DoubleParams, rows="rows")
    def loses(
        context: Context, params: DoubleParams, batches: Iterable[list[Row]], *, rows: Artifact
    ) -> Iterator[list[Row]]:
        yield next(iter(batches))

    plan = Plan()
    rows = plan.stage("test_numbers", n=3)
    target = plan.stage("test_loses", rows=rows)
    with pytest.raises(CrucibleError, match="1 of 3 batches"):
        InlineExecutor().execute(plan, [target], Store(tmp_path))
    del OPERATIONS["test_loses"]


def test_repeated_row_ids_are_named(tmp_path: Path) -> None:
    @operation("test_repeats", version=1, params=NumbersParams)
    def repeats(context: Context, params: NumbersParams) -> None:
        (context.directory / "rows.jsonl").write_text('{"id":"x","value":1}\n' * params.n)

    plan = Plan()
    target = plan.stage("test_double", rows=plan.stage("test_repeats", n=2))
    with pytest.raises(BadData, match='"x" occurs twice'):
        InlineExecutor().execute(plan, [target], Store(tmp_path))
    del OPERATIONS["test_repeats"]


def test_a_failing_file_stage_leaves_no_artifact(tmp_path: Path) -> None:
    @operation("test_half", version=1, params=NumbersParams)
    def half(context: Context, params: NumbersParams) -> None:
        (context.directory / "first").write_text("1")
        raise BadData("no second")

    plan, store = Plan(), Store(tmp_path)
    target = plan.stage("test_half", n=1)
    with pytest.raises(BadData):
        InlineExecutor().execute(plan, [target], store)
    assert store.ids() == []
    del OPERATIONS["test_half"]


def test_a_full_disk_is_one_clear_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (plan, targets) = Store(tmp_path), two_stages()
    real, calls = os.pwrite, []

    def full(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(len(data))
        if len(calls) == 3:
            real(descriptor, data[:5], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreProblem, match="no space left"):
        InlineExecutor().execute(plan, targets, store)
    monkeypatch.undo()
    seen = len(CALLS)
    InlineExecutor().execute(plan, targets, store)
    assert len(CALLS) - seen == 2  # two of four batches were kept


def test_a_full_disk_reported_by_a_library_is_the_same_line(tmp_path: Path) -> None:
    @operation("test_wrapped", version=1, params=NumbersParams)
    def wrapped(context: Context, params: NumbersParams) -> None:
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")

    plan = Plan()
    target = plan.stage("test_wrapped", n=1)
    with pytest.raises(StoreProblem, match=r"no space left for .*CRUCIBLE_HOME"):
        InlineExecutor().execute(plan, [target], Store(tmp_path))
    del OPERATIONS["test_wrapped"]


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreProblem, match="format 99"):
        Store(tmp_path)


def test_two_threads_compute_a_stage_once(tmp_path: Path) -> None:
    def work() -> None:
        plan, targets = two_stages(30, batch_size=1)
        InlineExecutor().execute(plan, targets, Store(tmp_path))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(CALLS) == 30


SCRIPT = """
import json, os, sys, time
from harness.engine.operations import operation
from harness.engine.plan import Plan
from harness.core.records import Record
from harness.engine.row_files import RowFile
from harness.engine.run import InlineExecutor, Silent
from harness.engine.store import Store

class P(Record):
    n: int = 40

@operation("slow_numbers", version=1, params=P)
def numbers(context, params):
    (context.directory / "rows.jsonl").write_text(
        "".join(json.dumps({"id": f"r{i}", "value": i}) + "\\n" for i in range(params.n)))

@operation("slow_squares", version=1, params=P, rows="rows", batch_size=lambda p: 2)
def squares(context, params, batches, *, rows):
    for batch in batches:
        time.sleep(0.02)
        with open(sys.argv[2], "a") as log:
            log.write("".join(row["id"] + "\\n" for row in batch))
        yield [{"id": row["id"], "square": row["value"] ** 2} for row in batch]

from pathlib import Path
plan = Plan()
target = plan.stage("slow_squares", rows=plan.stage("slow_numbers"))
store = Store(Path(sys.argv[1]))
InlineExecutor().execute(plan, [target], store)
print(store.folder(target.id) / "rows.jsonl")
"""


def test_kill_nine_loses_at_most_the_batch_under_way(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    log, home = tmp_path / "log", tmp_path / "home"
    command = [sys.executable, str(script), str(home), str(log)]
    kills = 0
    for delay in (0.05, 0.15, 0.1, 0.2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        before = len(log.read_text().splitlines()) if log.exists() else 0
        while process.poll() is None:
            lines = len(log.read_text().splitlines()) if log.exists() else 0
            if lines - before >= delay * 40:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in Path(done.stdout.strip()).read_text().splitlines()]
    assert rows == [{"id": f"r{i}", "square": i * i} for i in range(40)]
    # Each kill may cost the one batch whose result was not yet written, never more.
    assert kills
    assert 40 <= len(log.read_text().splitlines()) <= 40 + 2 * kills


class NotingParams(Record):
    notes: tuple[str, ...] = ()


@operation("test_noting", version=1, params=NotingParams)
def noting(context: Context, params: NotingParams) -> None:
    for text in params.notes:
        context.note(text)


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, stage: object, text: str) -> None:
        self.said.append(text)

    def end(self, stage: object, seconds: float) -> None:
        self.said.append("end")


def test_notes_are_said_at_the_end_of_a_stage_and_kept(tmp_path: Path) -> None:
    store, plan, heard = Store(tmp_path), Plan(), Heard()
    noted = plan.stage("test_noting", notes=("one", "two", "one"))
    silent = plan.stage("test_noting")
    InlineExecutor().execute(plan, [noted, silent], store, heard)
    assert heard.said == ["one", "two", "end", "end"]
    assert store.manifest(noted.id)["notes"] == ["one", "two"]
    assert "notes" not in store.manifest(silent.id)
