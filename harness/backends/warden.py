"""Runs one command and sees to it that nothing of it outlives the program that wanted it.

    python -I -S warden.py PARENT GRACE_S COMMAND...

The warden ends the command when the program that started the warden (process PARENT) closes the
warden's standard input or dies, in whatever way, `kill -9` included; when the warden gets SIGTERM,
SIGINT or SIGHUP; and it clears up when the command ends by itself. Ending means SIGTERM to the
command, at most GRACE_S seconds of patience, then SIGKILL to its process group and, on Linux, to
every process that descends from it, other sessions included.

Standard library only, and not imported by anything: it is a process of its own. Its exit status
is the command's, or 0 where it ended the command.
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
    """In the child: a process group of its own, and a SIGTERM should the warden be killed."""
    for number in SIGNALS:  # the warden's handlers would swallow one that comes before the exec
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != warden:  # killed before the line above: no signal will come
            os._exit(1)


def _parent_gone(parent: int) -> bool:
    """Wait a moment for the end of standard input; that of a forked sibling may come too late."""
    readable, _, _ = select.select([0], [], [], POLL_S)
    return (bool(readable) and not os.read(0, 1)) or os.getppid() != parent


def end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Terminate the command, then kill whatever is left of it."""
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
    """Kill a process group; whether anything was in it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted once all are zombies
        return False
    _reap()
    return True


def _kill_descendants() -> bool:
    """Kill every process below the warden; whether there was one."""
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
    """Processes below one, from Linux's /proc."""
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
