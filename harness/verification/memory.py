"""Memory of the processes of a jail, shared mappings included; Linux, standard library only.

Where a control group can be made, the kernel keeps the limit. Elsewhere the proportional set size
(Pss) of all processes is read every few milliseconds: a page that n processes share counts 1/n in
each of them, hence once.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

PREFIX = "crucible-jail-"


class Meter:
    """Limit of the memory of a process and its descendants.

    Args:
        limit: bytes.
        process: process to watch; no descendant may exist yet.
    """

    def __init__(self, limit: int, process: int) -> None:
        self.limit, self.process = limit, process
        self.group = _made_group(limit, process)

    def exceeded(self) -> bool:
        """Whether the limit was reached."""
        if self.group is not None:
            return _kills(self.group) > 0
        return memory_of(self.process) > self.limit

    def pause(self) -> float:
        """Seconds until the next look: less, the nearer the limit is."""
        if self.group is not None or memory_of(self.process) < 0.3 * self.limit:
            return 0.02
        return 0.002

    def close(self) -> None:
        """Remove the control group; its processes have ended."""
        for _ in range(100 if self.group else 0):
            with suppress(OSError):
                os.rmdir(str(self.group))
                return
            time.sleep(0.01)


def memory_of(process: int | str) -> int:
    """Bytes of a process and all its descendants, as Pss; resident bytes where that is hidden."""
    total = 0
    try:
        with open(f"/proc/{process}/smaps_rollup", "rb") as stream:
            for line in stream:
                if line.startswith((b"Pss:", b"SwapPss:")):
                    total += int(line.split()[1]) << 10
    except OSError:
        with suppress(OSError), open(f"/proc/{process}/statm") as text:
            total = int(text.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as text:
                total += sum(map(memory_of, text.read().split()))
    return total


def _made_group(limit: int, process: int) -> str | None:
    """A new control group that contains a process, or None if this user cannot make one."""
    for parent, files in _parents():
        _sweep(parent)
        folder = f"{parent}/{PREFIX}{os.getpid()}"
        try:
            os.mkdir(folder)
            if not os.path.exists(f"{folder}/{files[0]}"):
                raise OSError("no control of memory")
            for name in files[1:]:
                if os.path.exists(f"{folder}/{name}"):
                    _write(f"{folder}/{name}", _VALUES.get(name, limit))
            _write(f"{folder}/cgroup.procs", process)
            return folder
        except OSError:
            with suppress(OSError):
                os.rmdir(folder)
    return None


# File that shows control of memory, then files that limit it; swap counts as memory.
_FIRST = ("memory.oom_control", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
_SECOND = ("memory.max", "memory.max", "memory.swap.max", "memory.oom.group")
_VALUES = {"memory.swap.max": 0, "memory.oom.group": 1}


def _parents() -> list[tuple[str, tuple[str, ...]]]:
    """Folders of this process's control groups of memory, and their files, of either version."""
    mounts: dict[str, list[str]] = {}
    found: list[tuple[str, tuple[str, ...]]] = []
    with suppress(OSError, ValueError):
        with open("/proc/self/mountinfo") as stream:
            for line in stream:
                before, _, after = line.partition(" - ")
                kind, _, options = after.split()[:3]
                if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
                    mounts[kind] = before.split()[3:5]
        with open("/proc/self/cgroup") as stream:
            for line in stream:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                kind = "cgroup" if "memory" in controllers.split(",") else "cgroup2"
                if kind in mounts and (controllers == "" or kind == "cgroup"):
                    root, folder = mounts[kind]
                    inner = path[len(root.rstrip("/")) :] if path.startswith(root) else ""
                    files = _FIRST if kind == "cgroup" else _SECOND
                    found.append((folder + inner.rstrip("/"), files))
    return found


def _sweep(parent: str) -> None:
    """Remove groups of jails that were killed."""
    with suppress(OSError):
        for name in os.listdir(parent):
            number = name.removeprefix(PREFIX)
            if name != number and number.isdigit() and not os.path.exists(f"/proc/{number}"):
                with suppress(OSError):
                    os.rmdir(f"{parent}/{name}")


def _write(path: str, value: int) -> None:
    with open(path, "w") as stream:
        stream.write(str(value))


def _kills(group: str) -> int:
    """Processes that the kernel killed in a group because of its limit."""
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError), open(f"{group}/{name}") as stream:
            for line in stream:
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0
