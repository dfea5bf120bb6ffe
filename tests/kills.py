"""A kill between any two steps of a program that works on files.

    with killed_below(root, before=n) as steps:       raises Killed before the n-th step
        ...
    steps.names       what was done: ["open x", "rename x y", ...]

A step is an event of Python's audit (PEP 578) with a path below `root`: opened for writing, made,
renamed, removed. After the kill no step is done any more, whatever cleaning up the program tries.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Event -> places of its paths and of the folders (descriptors) that they are relative to.
EVENTS: dict[str, list[tuple[int, int | None]]] = {
    "open": [(0, None)],
    "os.mkdir": [(0, 2)],
    "os.rmdir": [(0, 1)],
    "os.remove": [(0, 1)],
    "os.rename": [(0, 2), (1, 3)],
    "os.truncate": [(0, None)],
}


class Killed(BaseException):
    """No program can handle it."""


@dataclass
class Steps:
    """Steps below a folder.

    Attributes:
        before: number of the step before which the process is killed; 0 is none.
    """

    root: str
    before: int = 0
    names: list[str] = field(default_factory=list)
    killed: bool = False

    def step(self, event: str, arguments: tuple[Any, ...]) -> None:
        paths = [_path(arguments[p], arguments[d] if d else -1) for p, d in EVENTS[event]]
        if not any(path.startswith(self.root) for path in paths):
            return
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) == 0:
            return
        if self.killed or len(self.names) + 1 == self.before:
            self.killed = True
            raise Killed
        self.names.append(" ".join([event.removeprefix("os."), *map(os.path.basename, paths)]))


def _path(path: Any, folder: Any) -> str:
    """The whole path; "" for a descriptor."""
    if not isinstance(path, str | os.PathLike):
        return ""
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(path):
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    return os.path.abspath(path)


_watched: list[Steps] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in EVENTS:
        _watched[-1].step(event, arguments)


@contextmanager
def killed_below(root: Path, before: int = 0) -> Iterator[Steps]:
    """Note the steps below a folder, and kill the program before one of them."""
    if not _hooked:  # a hook stays for the life of the process
        sys.addaudithook(_hook)
        _hooked.append(True)
    steps = Steps(str(root), before)
    _watched.append(steps)
    try:
        yield steps
    except Killed:
        pass
    finally:
        _watched.remove(steps)
