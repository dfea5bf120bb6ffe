"""Execution of plans: missing artifacts are computed, existing ones reused, no finished batch lost.

InlineExecutor     one stage after another, in this process
ClusterExecutor    stages side by side on the nodes of a cluster, see `harness.engine.cluster`
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.errors import DamagedArtifact
from harness.engine.calls import Services
from harness.engine.mending import mend
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.stages import Reporter, Silent, run_stage
from harness.engine.store import Store

__all__ = ["Executor", "InlineExecutor", "Reporter", "RunSummary", "Silent", "run_stage"]

ATTEMPTS = 5  # at a run whose artifacts are damaged while it goes on


@dataclass(frozen=True)
class RunSummary:
    """Result of a run.

    Attributes:
        executed: ids of the stages that were executed.
        reused: number of stages whose artifacts existed or were not needed.
    """

    executed: tuple[str, ...]
    reused: int
    seconds: float


class Executor(ABC):
    """Executes what a store lacks of a plan.

    Args:
        services: clients, servers and account shared by the stages; the caller owns and closes
            them. Without it, each run opens services with default settings and closes them.
    """

    def __init__(self, services: Services | None = None) -> None:
        self.services = services

    def execute(
        self, plan: Plan, targets: Sequence[Handle], store: Store, reporter: Reporter | None = None
    ) -> RunSummary:
        reporter = reporter or Silent()
        start = time.monotonic()
        executed: list[str] = []
        worked: set[str] = set()
        own = Services() if self.services is None else None
        try:
            services = self.services or own
            assert services is not None
            for _ in range(ATTEMPTS):
                finished = mend(plan, targets, store, reporter.note)
                todo = plan.needed(targets, finished)
                worked.update(stage.id for stage in todo)
                try:
                    self._run(plan, todo, store, reporter, services, executed)
                    break
                except DamagedArtifact as error:  # since the plan was examined
                    damage = error
            else:
                raise damage
        finally:
            if own is not None:
                own.close()
        reused = len(plan.stages) - len(worked)
        return RunSummary(tuple(executed), reused, time.monotonic() - start)

    @abstractmethod
    def _run(
        self,
        plan: Plan,
        todo: Sequence[Stage],
        store: Store,
        reporter: Reporter,
        services: Services,
        executed: list[str],
    ) -> None:
        """Compute the stages `todo` and append the ids of those that were computed here."""


class InlineExecutor(Executor):
    """Executes one stage at a time, in this process."""

    def _run(
        self,
        plan: Plan,
        todo: Sequence[Stage],
        store: Store,
        reporter: Reporter,
        services: Services,
        executed: list[str],
    ) -> None:
        for number, stage in enumerate(todo, 1):
            began = time.monotonic()
            reporter.begin(stage, number, len(todo))
            if run_stage(stage, store, reporter, services):
                executed.append(stage.id)
            reporter.end(stage, time.monotonic() - began)
