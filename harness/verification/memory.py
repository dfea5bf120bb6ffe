"""Memory of the processes of a jail, shared mappings included; Linux, standard library only.

Where a control group can be made, the kernel keeps the limit. Elsewhere the resident size of all
processes is added up every few milliseconds. Above the limit they are halted, and their
proportional set size (Pss) decides: a page that n processes share counts 1/n in each of them, hence
once.
"""

from __future__ import annotations

import os
import signal
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
        self.limit, self.process, self.used = limit, process, 0
        self.group = _made_group(limit, process)

    def exceeded(self) -> bool:
        """Whether the limit was reached."""
        if self.group is not None:
            return _kills(self.group) > 0
        found = family_of(self.process)
        self.used = sum(map(resident_of, found))
        if self.used <= self.limit:
            return False
        _signal(found, signal.SIGSTOP)
        if sum(map(shared_of, found)) > self.limit:
            return True
        _signal(found, signal.SIGCONT)
        return False

    def pause(self) -> float:
        """Seconds until the next look: less where much is used."""
        return 0.02 if self.used < 0.25 * self.limit else 0.001

    def close(self) -> None:
        """Remove the control group; its processes have ended."""
        for _ in range(100 if self.group else 0):
            with suppress(OSError):
                os.rmdir(str(self.group))
                return
            time.sleep(0.01)


def memory_of(process: int) -> int:
    """Bytes of a process and all its descendants; what they share counts once."""
    return sum(map(shared_of, family_of(process)))


def family_of(process: int) -> list[int]:
    """A process and all its descendants."""
    found = [process]
    for member in found:
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{member}/task"):
                with open(f"/proc/{member}/task/{thread}/children") as text:
                    found += map(int, text.read().split())
    return found


def resident_of(process: int) -> int:
    """Resident bytes of a process, with all that it shares."""
    with suppress(OSError), open(f"/proc/{process}/statm") as text:
        return int(text.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def shared_of(process: int) -> int:
    """Proportional set size of a process in bytes; its resident size where that is hidden."""
    total = 0
    try:
        with open(f"/proc/{process}/smaps_rollup", "rb") as stream:
            for line in stream:
                if line.startswith((b"Pss:", b"SwapPss:")):
                    total += int(line.split()[1]) << 10
    except OSError:
        return resident_of(process)
    return total


def _signal(processes: list[int], number: int) -> None:
    for process in processes:
        with suppress(OSError):
            os.kill(process, number)


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
