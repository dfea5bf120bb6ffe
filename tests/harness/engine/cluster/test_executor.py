"""A run on workers gives the bytes of a run without, whatever becomes of the workers."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, CrucibleError, EnvironmentProblem
from harness.core.records import Record
from harness.engine.calls import CallSettings, Services
from harness.engine.cluster import executor, jobs
from harness.engine.cluster.executor import ClusterExecutor
from harness.engine.cluster.messages import message_of, stage_of
from harness.engine.cluster.needs import Need, Node
from harness.engine.cluster.pools import Handle, LocalPool
from harness.engine.cluster.worker import Event, Worker
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.engine.plan import Handle as Planned
from harness.engine.plan import Plan, Stage
from harness.engine.run import InlineExecutor, Silent
from harness.engine.stages import Batch
from harness.engine.store import Store

NODES = [Node(f"n{number}", f"n{number}", 2, 0, 8.0) for number in range(2)]
COMPUTED: list[str] = []  # first ids of batches
TOGETHER = threading.Barrier(2, timeout=20)


class Params(Record):
    n: int = 0
    how: str = ""
    model: int = 0


class OneBadRow(BadData):
    """As operations define them: the process of the run knows its base alone."""


@operation("test_cluster_rows", version=1, params=Params)
def cluster_rows(context: Context, params: Params) -> None:
    context.note(f"{params.n // (params.n + 1)} and {params.n} rows")
    write_rows(context.directory / "rows.jsonl", [{"id": f"r{i}"} for i in range(params.n)])


@operation(
    "test_cluster_map", version=1, params=Params, rows="rows", batch_size=lambda params: 3,
    notes=lambda params, rows: [f"{len(list(rows))} mapped"],
)  # fmt: skip
def cluster_map(
    context: Context, params: Params, batches: Iterable[list[Row]], *, rows: Artifact
) -> Iterator[list[Row]]:
    kept = []
    for batch in batches:
        COMPUTED.append(batch[0]["id"])
        if params.how == "together":
            TOGETHER.wait()
        if params.how == "fails" and batch[0]["id"] == "r6":
            raise OneBadRow("row r6 is wrong")
        context.count(tokens_out=len(batch))
        kept.append([{"id": row["id"], "value": len(row["id"])} for row in batch])
    yield from reversed(kept)  # any order is allowed
    context.note("computed")


@operation("test_cluster_end", version=1, params=Params)
def cluster_end(context: Context, params: Params, *, all: tuple[Artifact, ...]) -> None:
    if params.how == "together":
        TOGETHER.wait()
    (context.directory / "n").write_text(str([len(one.rows()) for one in all]))


@pytest.fixture(autouse=True)
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    COMPUTED.clear()
    TOGETHER.reset()
    monkeypatch.setattr(executor, "DOUBT_S", 0.0)


def planned(n: int = 20, how: str = "") -> tuple[Plan, list[Planned]]:
    plan = Plan()
    rows = plan.stage("test_cluster_rows", n=n)
    maps = [plan.stage("test_cluster_map", rows=rows, n=i, how=how, label=f"{i}") for i in range(3)]
    return plan, [plan.stage("test_cluster_end", all=maps)]


class Dying(LocalPool):
    """A pool whose workers die at random, after some of their events."""

    def __init__(self, *arguments: Any, seed: int, most: int = 6, share: float = 0.3) -> None:
        super().__init__(*arguments)
        self._random, self.deaths, self._most, self._share = random.Random(seed), 0, most, share
        self._dead: list[Handle] = []

    def wait(self, seconds: float) -> list[tuple[Handle, Event]]:
        found = []
        for worker, event in super().wait(seconds):
            if worker in self._dead:
                continue
            if self.deaths < self._most and self._random.random() < self._share:
                self.deaths += 1
                self._dead.append(worker)
                event = ("lost", "killed")
            found.append((worker, event))
        return found


def files(store: Store, plan: Plan) -> dict[str, bytes]:
    """Every file of the artifacts of a plan, but their manifests."""
    return {
        f"{id}/{path.name}": path.read_bytes()
        for id in plan.stages
        for path in store.folder(id).iterdir()
        if path.name != "manifest.json"
    }


def on_workers(
    plan: Plan, targets: Sequence[Planned], store: Store, **more: Any
) -> tuple[ClusterExecutor, Any]:
    pools: list[LocalPool] = []

    def opened(store: Store) -> LocalPool:
        pools.append(LocalPool(store, Services(), more.pop("nodes", NODES)))
        return pools[-1]

    executor = ClusterExecutor(more.pop("pool", opened), **more)
    return executor, executor.execute(plan, targets, store)


def inline(tmp_path: Path, n: int = 20) -> dict[str, bytes]:
    plan, targets = planned(n)
    store = Store(tmp_path / "inline")
    InlineExecutor().execute(plan, targets, store)
    COMPUTED.clear()
    return files(store, plan)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 20])
def test_workers_give_the_bytes_of_an_inline_run(tmp_path: Path, n: int, replicas: int) -> None:
    store, (plan, targets) = Store(tmp_path), planned(n)
    _, summary = on_workers(plan, targets, store, replicas=replicas)
    assert files(store, plan) == inline(tmp_path, n)
    assert sorted(summary.executed) == sorted(plan.stages)
    _, again = on_workers(plan, targets, store)
    assert (again.executed, again.reused) == ((), len(plan.stages))


def test_a_manifest_has_the_counts_and_notes_of_all_workers(tmp_path: Path) -> None:
    store, (plan, targets) = Store(tmp_path), planned()
    on_workers(plan, targets, store, replicas=3)
    stage = next(s for s in plan.stages.values() if s.label == "1")
    manifest = store.manifest(stage.id)
    assert manifest["ledger"]["tokens_out"] == 20
    assert manifest["notes"] == ["computed", "20 mapped"]
    assert manifest["ledger"]["peak_memory_mib"] > 1


@pytest.mark.parametrize("seed", range(12))
def test_workers_that_die_cost_their_unfinished_batches_alone(tmp_path: Path, seed: int) -> None:
    store, (plan, targets) = Store(tmp_path), planned(40)
    pool = Dying(store, Services(), NODES, seed=seed)
    with suppress(CrucibleError):  # three died one after the other: it happens
        on_workers(plan, targets, store, replicas=2, pool=lambda store: pool)
    on_workers(plan, targets, store)
    assert pool.deaths > 0
    assert files(store, plan) == inline(tmp_path, 40)


def test_a_stage_at_which_workers_keep_dying_ends_the_run(tmp_path: Path) -> None:
    store, (plan, targets) = Store(tmp_path), planned(40)
    pool = Dying(store, Services(), NODES, seed=0, most=99, share=1.0)
    with pytest.raises(CrucibleError, match=r"3 workers died one after the other \(killed\)"):
        on_workers(plan, targets, store, pool=lambda store: pool)
    assert pool.deaths == 3


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, stage: Stage, text: str) -> None:
        self.said.append(text)


def test_a_run_says_what_it_waits_for_and_what_the_cluster_has(tmp_path: Path) -> None:
    store, (plan, targets) = Store(tmp_path), planned(3)
    heard = Heard()
    runs = ClusterExecutor(lambda store: LocalPool(store, Services(), NODES))
    runs.execute(plan, targets, store, heard)
    assert heard.said[:2] == [
        "waits for the cluster, whose nodes are checked first",
        "the cluster is there (nodes: 2, cores: 4, GPUs: 0)",
    ]


class Sizes(LocalPool):
    """A pool that writes down how many rows each task has."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sizes: list[int] = []

    def submit(self, worker: Handle, message: Any, batches: Sequence[Batch] | None) -> None:
        self.sizes += [] if batches is None else [sum(len(rows) for _, rows in batches)]
        super().submit(worker, message, batches)


@pytest.mark.parametrize(("most", "sizes"), [(4096, [20]), (5, [6, 6, 6, 2])])
def test_a_task_is_no_larger_than_memory_should_hold(
    most: int, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MOST_ROWS", most)
    store, plan = Store(tmp_path), Plan()
    rows = plan.stage("test_cluster_rows", n=20)  # batches have three
    pool = Sizes(store, Services(), NODES)
    on_workers(plan, [plan.stage("test_cluster_map", rows=rows)], store, pool=lambda store: pool)
    assert pool.sizes == sizes


class Closed(LocalPool):
    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("how", ["", "fails"])
def test_a_pool_is_closed_however_its_run_ends(tmp_path: Path, how: str) -> None:
    store, (plan, targets) = Store(tmp_path), planned(9, how)
    pool = Closed(store, Services(), NODES)
    with suppress(BadData):
        on_workers(plan, targets, store, pool=lambda store: pool)
    assert pool.closed == 1
    assert store.has(targets[0].id) is not bool(how)


class OneDead(LocalPool):
    """A pool with a node that is gone, which it does not know yet."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._gone: list[tuple[Handle, Event]] = []
        self.tried = 0

    def start(self, nodes: Sequence[Node], need: Need) -> Handle:
        return super().start(nodes, need) if nodes[0].name != "n0" else object()

    def submit(self, worker: Handle, message: Any, batches: Sequence[Batch] | None) -> None:
        if isinstance(worker, Worker):
            super().submit(worker, message, batches)
        else:
            self.tried += 1
            self._gone.append((worker, ("lost", "the node is gone")))

    def wait(self, seconds: float) -> list[tuple[Handle, Event]]:
        gone, self._gone = self._gone, []
        return gone + super().wait(seconds)


def test_a_node_at_which_workers_die_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "DOUBT_S", 30.0)
    store, (plan, targets) = Store(tmp_path), planned()
    pool = OneDead(store, Services(), NODES)
    on_workers(plan, targets, store, pool=lambda store: pool)
    assert 1 <= pool.tried <= 2  # its two cores, at once
    assert files(store, plan) == inline(tmp_path)


class Ends(LocalPool):
    """A pool that gives one event at a time, and ends the run after some, as Ctrl-C does."""

    left = 32

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kept: list[tuple[Handle, Event]] = []

    def wait(self, seconds: float) -> list[tuple[Handle, Event]]:
        self._kept += super().wait(0 if self._kept else seconds)
        self.left -= bool(self._kept)
        if self.left < 0:
            raise KeyboardInterrupt
        return [self._kept.pop(0)] if self._kept else []


def test_an_interrupted_run_continues_with_the_batches_that_it_lacks(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), Plan()
    rows = plan.stage("test_cluster_rows", n=60)
    mapped = plan.stage("test_cluster_map", rows=rows)
    with pytest.raises(KeyboardInterrupt):
        on_workers(plan, [mapped], store, pool=lambda s: Ends(s, Services(), NODES))
    assert not store.locks()
    kept = len((store.partial(mapped.id) / "journal.jsonl").read_bytes().splitlines())
    assert 5 < kept < 15  # of 20
    InlineExecutor().execute(plan, [mapped], store)  # on a laptop
    assert store.manifest(mapped.id)["resumed_batches"] == kept
    assert [row["id"] for row in store.artifact(mapped.id).rows()] == [f"r{i}" for i in range(60)]


def test_a_row_stage_has_as_many_workers_as_replicas(tmp_path: Path) -> None:
    plan = Plan()
    rows = plan.stage("test_cluster_rows", n=6)
    mapped = plan.stage("test_cluster_map", rows=rows, how="together")
    on_workers(plan, [mapped], Store(tmp_path), replicas=2)  # each batch waits for the other


def test_stages_that_do_not_need_each_other_run_side_by_side(tmp_path: Path) -> None:
    plan = Plan()
    rows = plan.stage("test_cluster_rows", n=3)
    both = [plan.stage("test_cluster_end", all=[rows], n=n, how="together") for n in range(2)]
    on_workers(plan, both, Store(tmp_path))


def test_an_error_is_that_of_an_inline_run_and_finished_batches_stay(tmp_path: Path) -> None:
    plan = Plan()
    rows = plan.stage("test_cluster_rows", n=9)
    slow = plan.stage("test_cluster_end", all=[rows], label="another")
    bad = plan.stage("test_cluster_map", rows=rows, how="fails", label="bad")
    store = Store(tmp_path)
    with pytest.raises(BadData, match=r"^row r6 is wrong$") as caught:
        on_workers(plan, [slow, bad], store)
    assert "in cluster_map" in str(caught.value.__cause__)
    assert (store.has(slow.id), store.has(bad.id), store.locks()) == (True, False, [])


def test_an_error_that_is_none_of_crucibles_names_stage_node_and_type(tmp_path: Path) -> None:
    plan = Plan()
    rows = plan.stage("test_cluster_rows", n=-1, how="breaks", label="broken")
    with pytest.raises(CrucibleError, match=r"^broken, on node n0: ZeroDivisionError: ") as caught:
        on_workers(plan, [rows], Store(tmp_path))
    assert caught.value.exit_code == 1


def test_a_stage_that_stays_runs_in_this_process_with_its_services(tmp_path: Path) -> None:
    class Nowhere(LocalPool):
        def start(self, nodes: Sequence[Node], need: Need) -> Handle:
            raise AssertionError("a worker was started")

    store, (plan, targets) = Store(tmp_path), planned()
    pool = Nowhere(store, Services(), NODES)
    with Services(CallSettings()) as services:
        executor = ClusterExecutor(lambda store: pool, services, stays=lambda plan, stage: True)
        executor.execute(plan, targets, store)
    assert files(store, plan) == inline(tmp_path)


def test_a_message_is_the_same_stage_elsewhere_or_refused(tmp_path: Path) -> None:
    plan, _ = planned()
    for stage in plan.stages.values():
        assert stage_of(message_of(stage)).input_ids() == stage.input_ids()
        assert stage_of(message_of(stage)).id == stage.id
    message = message_of(stage) | {"libraries": {"torch": "1.0"}, "id": "0" * 32}
    with pytest.raises(EnvironmentProblem, match=r"libraries: here \{\}, there \{'torch': '1.0'\}"):
        stage_of(message)


def test_a_cluster_that_is_too_small_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    plan = Plan()
    model = plan.stage("test_cluster_rows", hint=Estimate(parameters_b=70.0))
    rows = plan.stage("test_cluster_rows", n=3)
    asked = plan.stage(
        "test_cluster_asks", rows=rows, model=model, hint=Estimate(gpu_gib=168.0), label="asking"
    )
    with pytest.raises(EnvironmentProblem) as caught:
        on_workers(plan, [asked], Store(tmp_path), asked=lambda plan, stage: None)
    assert "too small for 1 stage: asking needs 1 core, 168 GiB of memory. Its nodes" in str(
        caught.value
    )
    assert not Store(tmp_path).ids()


@operation("test_cluster_asks", version=1, params=Params, rows="rows")
def cluster_asks(
    context: Context,
    params: Params,
    batches: Iterable[list[Row]],
    *,
    rows: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    yield from batches


class Counting(LocalPool):
    started: list[Need]

    def start(self, nodes: Sequence[Node], need: Need) -> Handle:
        self.started.append(need)
        return super().start(nodes, need)


def test_stages_of_one_model_share_a_worker_and_others_make_room(tmp_path: Path) -> None:
    plan = Plan()
    rows = plan.stage("test_cluster_rows", n=3)
    asked = []
    for number in range(3):
        hint = Estimate(parameters_b=8.0)
        model = plan.stage("test_cluster_rows", n=0, model=number, hint=hint)
        for again in range(4):
            asked.append(plan.stage("test_cluster_asks", rows=rows, model=model, n=again))
    store, node = Store(tmp_path), Node("n", "n", 1, 1, 64.0, 24.0)
    pool = Counting(store, Services(), [node])
    pool.started = []
    on_workers(plan, asked, store, pool=lambda store: pool)
    keys = [need.key for need in pool.started if need.key]
    assert len(set(keys)) == 3
    assert len(keys) <= 6
    assert all(need.gpus == 1 for need in pool.started if need.key)


def test_a_stage_on_which_another_process_works_is_waited_for(tmp_path: Path) -> None:
    store, (plan, targets) = Store(tmp_path), planned()
    first = next(iter(plan.stages.values()))
    holding, done = threading.Event(), threading.Event()

    def other() -> None:
        with store.lock(first.id):
            holding.set()
            done.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    holding.wait(20)
    threading.Timer(0.5, done.set).start()
    on_workers(plan, targets, store)
    thread.join()
    assert files(store, plan) == inline(tmp_path)


def test_a_worker_says_what_it_cannot_understand(tmp_path: Path) -> None:
    plan, _ = planned()
    stage: Stage = next(iter(plan.stages.values()))
    batches: list[Batch] | None = None
    message = message_of(stage) | {"operation": "test_cluster_row"}
    *_, (kind, value) = Worker(Store(tmp_path), Services()).run(message, batches)
    assert (kind, value["kind"]) == ("error", "UnknownName")
