"""What a run tells and stores: events, counts, summary, manifests, services, devices."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.errors import DamagedArtifact
from harness.core.records import Record
from harness.engine import run as module
from harness.engine import stages
from harness.engine.calls import Services
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.run import ATTEMPTS, InlineExecutor, Silent, run_stage
from harness.engine.store import Store


class Params(Record):
    n: int = 5
    again: tuple[int, ...] = ()


@operation("test_told_rows", version=4, params=Params, libraries=("numpy",))
def told_rows(context: Context, params: Params) -> None:
    context.progress(2, params.n)
    context.progress(params.n, params.n, "files")
    context.count(tokens_in=1, tokens_out=20, requests=300, cached=4000, cost_usd=0.5)
    write_rows(context.directory / "rows.jsonl", [{"id": f"r{n}"} for n in range(params.n)])


@operation(
    "test_told_copy", version=1, params=Params, rows="rows",
    notes=lambda params, rows: [f"{len(list(rows))} rows of {params.n}"],
)  # fmt: skip
def told_copy(
    context: Context, params: Params, batches: Iterable[list[Row]], *, rows: Artifact
) -> Iterator[list[Row]]:
    for batch in batches:
        assert len(batch) == 1  # where nothing else is declared
        yield batch


@operation("test_told_end", version=1, params=Params)
def told_end(context: Context, params: Params, *, all: tuple[Artifact, ...]) -> None:
    (context.directory / "n").write_text(str([len(one.rows()) for one in all]))


Told = list[tuple[Any, ...]]


class Telling(Silent):
    """A reporter that writes down everything."""

    def __init__(self) -> None:
        self.told: Told = []

    def begin(self, stage: Stage, number: int, total: int) -> None:
        self.told.append(("begin", stage.label, number, total))

    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None:
        self.told.append(("progress", stage.label, done, total, unit))

    def note(self, stage: Stage, text: str) -> None:
        self.told.append(("note", stage.label, text))

    def end(self, stage: Stage, seconds: float) -> None:
        self.told.append(("end", stage.label, seconds))


def planned(n: int = 2) -> tuple[Plan, list[Handle]]:
    plan = Plan()
    rows = plan.stage("test_told_rows", n=n, label="first")
    copy = plan.stage("test_told_copy", rows=rows)
    return plan, [rows, copy, plan.stage("test_told_end", all=[copy, rows], label="last")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a second later than the one before."""
    ticks = iter(range(1000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(ticks)))


def test_every_event_is_told_once_and_in_order(tmp_path: Path, clock: None) -> None:
    heard, (plan, handles) = Telling(), planned()
    summary = InlineExecutor().execute(plan, handles[2:], Store(tmp_path), heard)
    copied = [("progress", "test_told_copy", done, 2, "rows") for done in range(3)]
    assert [one for one in heard.told if one[0] != "end"] == [
        ("begin", "first", 1, 3), ("progress", "first", 2, 2, "rows"),
        ("progress", "first", 2, 2, "files"), ("begin", "test_told_copy", 2, 3), *copied,
        ("note", "test_told_copy", "2 rows of 5"), ("begin", "last", 3, 3),
    ]  # fmt: skip
    assert [one[0] for one in heard.told].count("end") == 3
    seconds = [one[2] for one in heard.told if one[0] == "end"]
    assert all(1 <= second <= 5 for second in seconds)
    assert sum(seconds) < summary.seconds < 30
    assert (summary.executed, summary.reused) == (tuple(handle.id for handle in handles), 0)


def test_what_exists_is_reused_and_what_is_not_needed_not_run(tmp_path: Path) -> None:
    store, (plan, handles) = Store(tmp_path), planned()
    first = InlineExecutor().execute(plan, handles[:1], store)
    assert (first.executed, first.reused) == ((handles[0].id,), 2)
    heard = Telling()
    more = InlineExecutor().execute(plan, handles[1:2], store, heard)
    assert (more.executed, more.reused) == ((handles[1].id,), 2)
    assert heard.told[0] == ("begin", "test_told_copy", 1, 1)


def test_a_manifest_says_how_an_artifact_was_made(tmp_path: Path) -> None:
    store, (plan, handles) = Store(tmp_path), planned()
    InlineExecutor().execute(plan, handles, store)
    first, copy, last = (store.manifest(handle.id) for handle in handles)
    head = {key: first[key] for key in ("id", "operation", "version", "label", "params", "inputs")}
    assert head == {
        "id": handles[0].id, "operation": "test_told_rows", "version": 4, "label": "first",
        "params": {"n": 2, "again": []}, "inputs": {},
    }  # fmt: skip
    stage = plan.stages[handles[0].id]
    assert first["libraries"] == stage.operation.library_versions(stage.params)
    counts = {"tokens_in": 1, "tokens_out": 20, "requests": 300, "cached": 4000, "cost_usd": 0.5}
    assert counts.items() <= first["ledger"].items()
    assert copy["inputs"] == {"rows": handles[0].id}
    assert last["inputs"] == {"all": [handles[1].id, handles[0].id]}
    assert (first["resumed_batches"], copy["resumed_batches"]) == (None, 0)
    assert copy["notes"] == ["2 rows of 5"]
    assert "notes" not in first
    assert first["code"] == dict(plan.stages[handles[0].id].code)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["finished"])
    assert {"host", "platform", "python", "revision"} < first.keys()
    assert (store.folder(handles[2].id) / "n").read_text() == "[2, 2]"


def test_batches_of_an_earlier_attempt_are_counted_and_damaged_ones_told(tmp_path: Path) -> None:
    store, heard, (plan, handles) = Store(tmp_path), Telling(), planned(3)
    InlineExecutor().execute(plan, handles[:1], store)
    journal = store.make_way(store.partial(handles[1].id)) / "journal.jsonl"
    lines = [{"batch": n, "rows": [{"id": f"r{n}"}]} for n in (0, 2)]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + "damaged\n{}\n")
    InlineExecutor().execute(plan, handles[1:2], store, heard)
    assert store.manifest(handles[1].id)["resumed_batches"] == 2
    assert [one[1:] for one in heard.told if one[0] in ("note", "progress")] == [
        ("test_told_copy", "2 damaged batches of its journal are computed again"),
        ("test_told_copy", 2, 3, "rows"),
        ("test_told_copy", 3, 3, "rows"),
        ("test_told_copy", "3 rows of 5"),
    ]


@pytest.mark.parametrize(
    ("environment", "device", "timed"), [("cuda:1", "cuda:1", True), ("cpu", "cpu", False)]
)
def test_gpu_time_counts_where_the_gpu_was_asked_for(
    environment: str, device: str, timed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asking(context: Context, params: Params) -> None:
        assert context.device == context.device == device

    monkeypatch.setenv("CRUCIBLE_DEVICE", environment)
    stage = made("test_asks_device", asking)
    store = Store(tmp_path)
    assert run_stage(stage, store, Silent())
    assert (store.manifest(stage.id)["ledger"]["gpu_seconds"] is not None) is timed
    idle = made("test_asks_nothing", lambda context, params: None)
    run_stage(idle, store, Silent())
    assert store.manifest(idle.id)["ledger"]["gpu_seconds"] is None
    assert not run_stage(idle, store, Silent())  # another process has computed it


@pytest.mark.parametrize("there", [True, False])
def test_without_a_choice_the_device_is_that_of_torch(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: there))
    monkeypatch.setitem(sys.modules, "torch", torch)  # importing it takes seconds
    assert stages._torch_device() == ("cuda" if there else "cpu")


def made(name: str, function: Callable[..., None]) -> Stage:
    """A stage of an operation that is registered for a test alone."""
    from harness.engine.operations import OPERATIONS

    operation(name, version=1, params=Params)(function)
    plan = Plan()
    handle = plan.stage(name)
    del OPERATIONS[name]
    return plan.stages[handle.id]


class Closing:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_services_are_closed_by_the_one_who_opened_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing, given = Closing(), Services()

    def opening(context: Context, params: Params) -> None:
        context.services.get("thing", lambda: thing)

    stage = made("test_opens", opening)
    plan, handle = Plan({stage.id: stage}), Handle(stage.id)
    InlineExecutor(given).execute(plan, [handle], Store(tmp_path / "a"))
    assert thing.closed == 0
    assert given.get("thing", Closing) is thing
    InlineExecutor().execute(plan, [handle], Store(tmp_path / "b"))
    assert thing.closed == 1


@pytest.mark.parametrize("times", [1, ATTEMPTS - 1, ATTEMPTS])
def test_artifacts_that_are_damaged_during_a_run_are_made_again_a_few_times(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ATTEMPTS == 5
    store, (plan, handles), artifact = Store(tmp_path), planned(), Store.artifact
    left = [None] * times

    def damaged(self: Store, id: str) -> Artifact:
        if left:
            left.pop()
            path = self.folder(id) / "rows.jsonl"
            path.write_bytes(path.read_bytes()[:-1])
        return artifact(self, id)

    monkeypatch.setattr(Store, "artifact", damaged)
    if times == ATTEMPTS:
        with pytest.raises(DamagedArtifact, match=r"rows\.jsonl has"):
            InlineExecutor().execute(plan, handles[2:], store)
        return
    summary = InlineExecutor().execute(plan, handles[2:], store)
    assert summary.executed.count(handles[0].id) == times + 1
    assert summary.reused == 0


def test_scratch_stays_for_the_next_attempt_and_output_does_not(tmp_path: Path) -> None:
    def failing(context: Context, params: Params) -> None:
        kept = context.scratch / "kept"
        assert list(context.directory.iterdir()) == []
        (context.directory / "half").write_text("x")
        if not kept.exists():
            kept.write_text("x")
            raise KeyboardInterrupt
        (context.directory / "half").unlink()

    stage, store = made("test_scratch", failing), Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, store, Silent())
    assert run_stage(stage, store, Silent())
    assert not store.partial(stage.id).exists()
    assert sorted(p.name for p in store.folder(stage.id).iterdir()) == ["manifest.json"]
