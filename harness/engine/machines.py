"""The machines of a stage that runs on several: what it may start on the others.

An executor that has placed a stage on several nodes puts `Machines` into the stage's services; a
training starts its launcher on each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from harness.core.errors import EnvironmentProblem
from harness.engine.calls import Services

KEY = "machines"


class Process(Protocol):
    """A process on some machine, see `harness.engine.children.ChildProcess`."""

    @property
    def exit_code(self) -> int | None: ...
    def close(self) -> None: ...


class Machine(Protocol):
    """Another machine, with the same file system."""

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, grace_s: float
    ) -> Process:
        """Start a process, which ends at the latest with the stage."""


class Machines(Protocol):
    """The machines of a stage.

    Attributes:
        address: under which the others reach this one.
    """

    address: str
    others: Sequence[Machine]

    def close(self) -> None: ...


def machines_of(services: Services, count: int) -> Machines:
    """The machines of a stage that needs so many.

    Raises:
        EnvironmentProblem: it was not given them.
    """

    def refuse() -> NoReturn:
        raise EnvironmentProblem(no_machines(count))

    return services.get(KEY, refuse)


def no_machines(count: int) -> str:
    """Why a launch over several machines cannot run without a cluster."""
    return (
        f"a launch over {count} machines needs a cluster: run with --executor ray:HOST:PORT, or "
        "crucible launch slurm --nodes N"
    )
