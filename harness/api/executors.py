"""The executor that a run was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.api.hosted_models import asked_ref, is_hosted
from harness.core.errors import EnvironmentProblem
from harness.engine.calls import CallSettings, Services
from harness.engine.machines import no_machines
from harness.engine.plan import Plan, Stage
from harness.engine.run import Executor, InlineExecutor


def executor_of(services: Services, plan: Plan) -> Executor:
    """The executor of `CallSettings.executor`; its cluster is reached when it executes."""
    name, _, address = services.settings.executor.partition(":")
    if name == "inline":
        return InlineExecutor(services)
    from harness.engine.cluster.executor import ClusterExecutor
    from harness.engine.cluster.rays import RayPool

    settings = services.settings
    opened = partial(RayPool, calls=settings, address=address, paths=local_paths(plan))
    return ClusterExecutor(
        opened, services, replicas=settings.replicas, asked=asked_ref, stays=stays_here
    )


def check_machines(todo: Sequence[Stage], calls: CallSettings) -> None:
    """Notice before the first stage that a training needs several machines and would not get them.

    Raises:
        EnvironmentProblem: see `harness.engine.machines`.
    """
    if calls.executor != "inline":
        return
    for stage in todo:
        launch = getattr(stage.params, "launch", None)
        if launch is not None and launch.machines > 1:
            raise EnvironmentProblem(f"{stage.label}: {no_machines(launch.machines)}")


def stays_here(plan: Plan, stage: Stage) -> bool:
    """Whether a stage asks a hosted model, or runs code that a model wrote."""
    ref = asked_ref(plan, stage)
    return stage.operation.name == "verify_code" or (ref is not None and is_hosted(ref))


def local_paths(plan: Plan) -> list[str]:
    """Absolute paths of the files and folders that the stages of a plan name as references."""
    refs = (getattr(stage.params, "ref", None) for stage in plan.stages.values())
    found = (Path(ref).expanduser() for ref in refs if isinstance(ref, str) and "/" in ref)
    return sorted({str(path.absolute()) for path in found if path.exists()})
