"""What runs in the processes of Ray: workers, and helpers on the other machines of a stage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core.errors import EnvironmentProblem
from harness.engine import machines
from harness.engine.calls import CallSettings, Services
from harness.engine.children import ChildProcess
from harness.engine.cluster.messages import Message
from harness.engine.cluster.needs import memory_gib
from harness.engine.cluster.nodes import Probe, report
from harness.engine.cluster.worker import Event, Worker
from harness.engine.stages import Batch
from harness.engine.store import Store


class Actor:
    """A worker in a process of Ray.

    Args:
        others: helpers on the other machines of a stage that needs several.
    """

    def __init__(self, root: str, calls: dict[str, Any], others: Sequence[Any] = ()) -> None:
        services = Services(CallSettings(**calls))
        if others:
            services.get(machines.KEY, lambda: _Machines(others))
        self._worker = Worker(Store(Path(root)), services)

    def run(self, message: Message, batches: Sequence[Batch] | None) -> Iterator[Event]:
        yield from self._worker.run(message, batches)


class Helper:
    """Starts one process at a time on another machine of a stage; it ends with this actor."""

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: str, grace_s: float
    ) -> None:
        devices = {k: v for k, v in os.environ.items() if k == "CUDA_VISIBLE_DEVICES"}
        variables = {**environment, **devices}
        self._child = ChildProcess(command, variables, Path(log), grace_s=grace_s)

    def exit_code(self) -> int | None:
        return self._child.exit_code

    def close(self) -> None:
        self._child.close()


class _Machines:
    """The machines of a stage, by their helpers; implements `harness.engine.machines.Machines`."""

    def __init__(self, helpers: Sequence[Any]) -> None:
        self.address = own_address()
        self.others = [_Machine(helper) for helper in helpers]

    def close(self) -> None: ...


class _Machine:
    def __init__(self, helper: Any) -> None:
        self._helper = helper

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, grace_s: float
    ) -> _RemoteProcess:
        _answer(self._helper.start.remote(list(command), dict(environment), str(log), grace_s))
        return _RemoteProcess(self._helper)


class _RemoteProcess:
    def __init__(self, helper: Any) -> None:
        self._helper = helper

    @property
    def exit_code(self) -> int | None:
        found: int | None = _answer(self._helper.exit_code.remote())
        return found

    def close(self) -> None:
        with suppress(EnvironmentProblem):  # a machine that is gone has ended all
            _answer(self._helper.close.remote())


def own_address() -> str:
    """The address under which other nodes reach this one."""
    import ray

    util: Any = ray.util
    return str(util.get_node_ip_address())


def _answer(asked: Any) -> Any:
    import ray

    try:
        return ray.get(asked)
    except ray.exceptions.RayTaskError as error:
        raise EnvironmentProblem(f"another machine of the stage: {error.cause}") from None
    except ray.exceptions.RayError as error:
        raise EnvironmentProblem(
            f"another machine of the stage is gone: {first_line(error)}"
        ) from None


def report_of_node(probe: Probe) -> dict[str, Any]:
    found = report(probe)
    found["gpu_gib"] = None
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        import torch

        if torch.cuda.is_available():
            found["gpu_gib"] = memory_gib(torch.cuda.get_device_properties(0).total_memory)
    return found


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else ""
