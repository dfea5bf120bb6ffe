"""Which stage runs where: stages whose inputs are there go to workers that fit them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import EnvironmentProblem
from harness.engine.calls import Services
from harness.engine.cluster.jobs import Job, RowsJob, Task, WholeJob
from harness.engine.cluster.messages import message_of
from harness.engine.cluster.needs import Need, Node, check_fits, need_of
from harness.engine.cluster.pools import Handle, LocalPool, Pool
from harness.engine.cluster.worker import raised
from harness.engine.plan import Plan, Stage
from harness.engine.run import Executor
from harness.engine.stages import Reporter
from harness.engine.store import Store

HOME = "home"  # key of stages that run in this process
LOOK_S = 2.0  # between two looks at the nodes
WAIT_S = 0.2
DOUBT_S = 10.0  # a node at which a worker died gets no work: a dead one seems alive for a while
PATIENCE_S = 60.0  # for nodes, where none is left that could go on


@dataclass(eq=False)
class Place:
    """A worker with what it occupies."""

    pool: Pool
    handle: Handle
    need: Need
    nodes: tuple[Node, ...]
    task: Task | None = None
    seen: set[str] = field(default_factory=set)  # models that it was asked for


class ClusterExecutor(Executor):
    """Executes stages side by side on the workers of a pool.

    Stages that share a model go to the same workers, so that it is loaded once per worker.

    Args:
        open_pool: store -> pool; it is closed at the end of each run.
        replicas: most workers of a row stage.
        asked: reference of the model that a stage asks, if it has one.
        stays: whether a stage runs in this process: hosted models are asked from one place, which
            has keys, limits and stored responses.
    """

    def __init__(
        self,
        open_pool: Callable[[Store], Pool],
        services: Services | None = None,
        *,
        replicas: int = 1,
        asked: Callable[[Plan, Stage], str | None] = lambda plan, stage: None,
        stays: Callable[[Plan, Stage], bool] = lambda plan, stage: False,
    ) -> None:
        super().__init__(services)
        self._open_pool, self._replicas = open_pool, replicas
        self._asked, self._stays = asked, stays

    def _run(
        self,
        plan: Plan,
        todo: Sequence[Stage],
        store: Store,
        reporter: Reporter,
        services: Services,
        executed: list[str],
    ) -> None:
        if not todo:
            return
        reporter.note(todo[0], "waits for the cluster, whose nodes are checked first")
        pool = self._open_pool(store)
        try:
            nodes = pool.nodes()
            cores, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
            have = f"nodes: {len(nodes)}, cores: {cores:g}, GPUs: {gpus:g}"
            reporter.note(todo[0], f"the cluster is there ({have})")
            jobs = self._jobs(plan, todo, nodes)
            run = _Run(jobs, pool, store, reporter, services, self._replicas)
            try:
                run.loop()
            finally:
                executed += [job.stage.id for job in jobs if job.made]
                for job in jobs:
                    job.abandon()
        finally:
            pool.close()

    def _jobs(self, plan: Plan, todo: Sequence[Stage], nodes: Sequence[Node]) -> list[Job]:
        estimates, total = plan.estimates(), len(todo)
        jobs: list[Job] = []
        for number, stage in enumerate(todo, 1):
            if self._stays(plan, stage):
                jobs.append(WholeJob(stage, Need(HOME), number, total))
                continue
            need = need_of(stage, estimates, self._asked(plan, stage), nodes)
            kind = WholeJob if stage.operation.rows is None else RowsJob
            jobs.append(kind(stage, need, number, total))
        away = {job.stage.label: job.need for job in jobs if job.need.key != HOME}
        check_fits(away, nodes)
        return jobs


class _Run:
    """The state of a run between two events."""

    def __init__(
        self,
        jobs: Sequence[Job],
        pool: Pool,
        store: Store,
        reporter: Reporter,
        services: Services,
        replicas: int,
    ) -> None:
        self.jobs, self.pool, self.store = list(jobs), pool, store
        self.reporter, self.services, self.replicas = reporter, services, replicas
        here = Node(HOME, HOME, 1, 0, 0.0)
        self.home = LocalPool(store, services, [here])
        self.places: list[Place] = []
        self.waiting = {job.stage.id for job in jobs}  # stages without an artifact
        self.failure: BaseException | None = None
        self.nodes = pool.nodes()
        self.doubted: dict[str, float] = {}  # node -> when a worker died there
        self.looked = self.moved = time.monotonic()

    def loop(self) -> None:
        """Until all stages are finished, or one failed and the others came to an end."""
        while self._goes_on():
            if self.failure is None:
                self._hand_out()
            events = self.pool.wait(0.0 if self._idle(self.pool) else WAIT_S)
            events += self.home.wait(0.0 if self._idle(self.home) else WAIT_S / 4)
            if not events and self._idle(self.pool) and self._idle(self.home):
                self._nothing_happens()
            for handle, (kind, value) in events:
                self._take(handle, kind, value)
        if self.failure is not None:
            raise self.failure

    def _goes_on(self) -> bool:
        if self.failure is None:
            return any(not job.finished for job in self.jobs)
        # What one worker computes as a whole would be lost, batches are kept.
        return any(place.task and place.task.batches is None for place in self.places)

    def _idle(self, pool: Pool) -> bool:
        return not any(place.task for place in self.places if place.pool is pool)

    def _nothing_happens(self) -> None:
        """No worker works: another process has the stages, or no node could take them."""
        now = time.monotonic()
        ready = [job for job in self.jobs if self._is_ready(job)]
        if any(self.store.locked(job.stage.id) for job in ready) or not ready:
            self.moved = now
        elif now - self.moved > PATIENCE_S:
            check_fits({job.stage.label: job.need for job in ready}, self.nodes)
            raise EnvironmentProblem(
                f"no node took {ready[0].stage.label} within {PATIENCE_S:.0f} s; run the command "
                "again when the cluster is there"
            )
        time.sleep(WAIT_S / 4)

    # Handing out

    def _is_ready(self, job: Job) -> bool:
        return not job.finished and not self.waiting.intersection(job.stage.input_ids())

    def _hand_out(self) -> None:
        self._look()
        for job in self.jobs:  # one worker for each first
            if self._is_ready(job) and not job.tasks:
                self._give(job, evict=True)
        for job in self.jobs:
            more = isinstance(job, RowsJob) and self._is_ready(job)
            while more and 0 < job.tasks < self.replicas:
                more = self._give(job, evict=False)
        needed = {"", *(job.need.key for job in self.jobs if not job.finished)}
        for place in [p for p in self.places if p.task is None and p.need.key not in needed]:
            self._stop(place)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self.looked > LOOK_S:
            self.nodes, self.looked = self.pool.nodes(), now

    def _give(self, job: Job, evict: bool) -> bool:
        """Let one more worker work on a stage; False if that is not possible now."""
        if job.begun is None and self.store.locked(job.stage.id):  # by another process
            return False
        place = self._free(job, evict)
        if place is None:
            return False
        if job.begun is None:
            self._guarded(job, lambda: job.begin(self.store, self.reporter, self.services))
            self._note_finished(job)
            if job.finished or self.failure is not None:
                return False
        task = job.next_task(self.replicas if isinstance(job, RowsJob) else 1)
        if task is None:
            return False
        place.task = task
        place.seen.update(job.stage.input_ids())
        batches = None if task.batches is None else list(task.batches.values())
        place.pool.submit(place.handle, message_of(job.stage), batches)
        self.moved = time.monotonic()
        return True

    def _free(self, job: Job, evict: bool) -> Place | None:
        """An idle worker for a stage, started if there is room.

        Args:
            evict: end idle workers for other stages to make room.
        """
        need = job.need
        idle = [p for p in self.places if p.task is None and p.need == need]
        if idle:
            models = set(job.stage.input_ids())
            return max(idle, key=lambda place: len(models & place.seen))
        if need.key == HOME:
            return self._start(self.home, self.home.nodes(), need, most=1)
        others = [p for p in self.places if p.task is None and p.pool is self.pool]
        while True:
            place = self._start(self.pool, self.nodes, need)
            if place is not None or not evict or not others:
                return place
            self._stop(others.pop(0))

    def _start(
        self, pool: Pool, nodes: Sequence[Node], need: Need, most: int | None = None
    ) -> Place | None:
        if most is not None and sum(p.pool is pool for p in self.places) >= most:
            return None
        before = time.monotonic() - DOUBT_S
        left = [self._left(node) for node in nodes if self.doubted.get(node.id, before) <= before]
        fitting = [node for node in left if need.fits(node)]
        if len(fitting) < need.machines:
            return None
        fitting.sort(key=lambda node: (-node.gpus, -node.cpus, node.name))
        chosen = tuple(fitting[: need.machines])
        place = Place(pool, pool.start(chosen, need), need, chosen)
        self.places.append(place)
        return place

    def _left(self, node: Node) -> Node:
        """A node with what no worker occupies."""
        cpus, gpus, memory = node.cpus, node.gpus, node.memory_gib
        for place in self.places:
            if any(one.id == node.id for one in place.nodes):
                cpus -= place.need.cpus
                gpus -= place.need.gpus
                memory -= place.need.memory_gib
        return Node(node.id, node.name, cpus, gpus, memory, node.gpu_gib)

    def _stop(self, place: Place) -> None:
        self.places.remove(place)
        place.pool.stop(place.handle)

    # Results

    def _take(self, handle: Handle, kind: str, value: Any) -> None:
        place = next((place for place in self.places if place.handle is handle), None)
        if place is None or (place.task is None and kind != "lost"):
            return  # of a worker that was stopped
        task = place.task
        if kind in ("ended", "error", "lost"):
            place.task = None
        if kind == "lost":
            self._stop(place)
            self.doubted |= {node.id: time.monotonic() for node in place.nodes}
        if task is None:
            return
        job = task.job
        if kind == "error":
            job.failed()
            self._fail(raised(value, job.stage.label, place.nodes[0].name), job)
        elif kind == "lost":
            self._guarded(job, lambda: job.lost(task, value))
        else:
            self._guarded(job, lambda: job.take(task, kind, value))
        self._note_finished(job)

    def _note_finished(self, job: Job) -> None:
        if job.finished:
            self.waiting.discard(job.stage.id)

    def _guarded(self, job: Job, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._fail(error, job)

    def _fail(self, error: BaseException, job: Job) -> None:
        if self.failure is not None:
            return
        self.failure = error
        job.stop()
        running = [p.task.job for p in self.places if p.task and p.task.batches is None]
        if running:
            labels = ", ".join(other.stage.label for other in running[:3])
            self.reporter.note(
                job.stage,
                f"failed; the run ends after what is still computed as a whole: {labels} "
                "(Ctrl-C ends it now)",
            )
