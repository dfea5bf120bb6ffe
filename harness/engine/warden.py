"""Runs one command and guarantees that no process of it outlives the program that started it.

    python -I -S warden.py PARENT GRACE_S COMMAND...

The warden ends the command when the program that started the warden (process PARENT) closes the
warden's standard input or ends in any way, `kill -9` included; and when the warden receives
SIGTERM, SIGINT or SIGHUP. When the command ends by itself, the warden ends what it left behind.
Ending means SIGTERM to the command, a wait of at most GRACE_S seconds, then SIGKILL to its process
group and, on Linux, to every process that descends from it, those in other sessions included.

Uses the standard library only; runs as a separate process and is never imported. Its exit status is
the command's, or 0 if it ended the command.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

POLL_S = 0.2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LINUX = sys.platform.startswith("linux")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def main() -> int:
    parent, grace_s, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    wanted: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda received, _: wanted.append(received))
    if LINUX:  # orphans of the command become children of the warden, so that it can find them
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    apart = partial(_set_apart, os.getpid())
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=apart)
    while child.poll() is None and not wanted and not _parent_gone(parent):
        pass
    ended = child.poll()
    end(child, grace_s)
    return 0 if ended is None else ended if ended >= 0 else 128 - ended


def _set_apart(warden: int) -> None:
    """In the child: start a process group, and request SIGTERM in case the warden is killed."""
    for number in SIGNALS:  # the warden's handlers would swallow a signal before the exec
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != warden:  # killed before the line above: no signal will come
            os._exit(1)


def _parent_gone(parent: int) -> bool:
    """Wait briefly for the end of standard input; a forked sibling may hold it open for longer."""
    readable, _, _ = select.select([0], [], [], POLL_S)
    return (bool(readable) and not os.read(0, 1)) or os.getppid() != parent


def end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Terminate the command, then kill every process that is left."""
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = _kill_group(child.pid) | _kill_descendants()
        if not left:
            return
        time.sleep(0.02)


def _kill_group(group: int) -> bool:
    """Kill a process group; returns whether it had a process."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted once all are zombies
        return False
    _reap()
    return True


def _kill_descendants() -> bool:
    """Kill every descendant of the warden; returns whether there was one."""
    _reap()
    found = descendants(os.getpid()) if LINUX else []
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def descendants(ancestor: int) -> list[int]:
    """Ids of a process's descendants, from Linux's /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stream:
                    parent = int(stream.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    level = [ancestor]
    while level:
        level = [child for pid in level for child in children.get(pid, ())]
        found += level
    return found


if __name__ == "__main__":
    sys.exit(main())
