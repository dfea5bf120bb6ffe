"""The executor that a run was asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness.api.hosted_models import asked_ref, is_hosted
from harness.engine.calls import Services
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


def stays_here(plan: Plan, stage: Stage) -> bool:
    """Whether a stage asks a hosted model, or runs code that a model wrote."""
    ref = asked_ref(plan, stage)
    return stage.operation.name == "verify_code" or (ref is not None and is_hosted(ref))


def local_paths(plan: Plan) -> list[str]:
    """Absolute paths of the files and folders that the stages of a plan name as references."""
    refs = (getattr(stage.params, "ref", None) for stage in plan.stages.values())
    found = (Path(ref).expanduser() for ref in refs if isinstance(ref, str) and "/" in ref)
    return sorted({str(path.absolute()) for path in found if path.exists()})
