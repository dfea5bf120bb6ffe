"""Control groups of memory: where they are found, what is written to them, what is swept."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.verification import memory
from harness.verification.memory import Meter

FIRST = ("memory.oom_control", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
SECOND = ("memory.max", "memory.max", "memory.swap.max", "memory.oom.group")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`proc(mountinfo=..., cgroup=...)`: what /proc/self says to the module."""
    folder = tmp_path / "proc"
    folder.mkdir()

    def opened(path: str, *mode: str) -> Any:
        name = str(path)
        return open(str(folder / Path(name).name) if name.startswith("/proc/") else name, *mode)

    monkeypatch.setattr(memory, "open", opened, raising=False)

    def write(**texts: str) -> None:
        for name, text in texts.items():
            (folder / name).write_text(text)

    return write


def test_the_groups_of_this_process_in_both_versions(proc: Any) -> None:
    proc(
        mountinfo="30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "31 25 0:27 /docker /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
        "32 25 0:28 / /proc rw - proc proc rw\n"
        "33 25 0:29 /own/ /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n",
        cgroup="5:cpu,cpuacct:/a\n4:memory:/docker/box/\n3:freezer:/own/f\n0::/own/user\n",
    )
    assert list(memory._parents()) == [
        ("/sys/fs/cgroup/memory/box", FIRST),
        ("/sys/fs/cgroup/unified/user", SECOND),
    ]


def test_a_group_outside_of_the_mount_is_the_mount_itself(proc: Any) -> None:
    proc(
        mountinfo="31 25 0:27 /docker/x /m rw - cgroup2 none rw,memory\n",
        cgroup="0::/elsewhere\n",
    )
    assert list(memory._parents()) == [("/m", SECOND)]
    proc(mountinfo="31 25 0:27 / /m rw - cgroup2 none rw,memory\n", cgroup="0::/\n")
    assert list(memory._parents()) == [("/m", SECOND)]
    proc(mountinfo="31 25 0:27 / /m rw - cgroup none rw,memory\n", cgroup="0::/x\n")
    assert list(memory._parents()) == []


@pytest.mark.parametrize("files", [FIRST, SECOND])
def test_a_group_has_the_limit_and_then_the_process(
    files: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, written = tmp_path / "parent", []
    parent.mkdir()
    make = os.mkdir

    def made(folder: str) -> None:
        make(folder)
        for name in (*files[:3], "cgroup.procs"):  # the last of the second version is missing
            (Path(folder) / name).touch()

    write = memory._write

    def noted(path: str, value: int) -> None:
        written.append(Path(path).name)
        write(path, value)

    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(memory, "_write", noted)
    nowhere = (str(tmp_path / "nowhere"), files)
    monkeypatch.setattr(memory, "_parents", lambda: [nowhere, (str(parent), files)])
    folder = memory._made_group(123456, 42)
    assert folder == f"{parent}/crucible-jail-{os.getpid()}"
    found = {path.name: path.read_text() for path in Path(folder).iterdir()}
    if files is FIRST:
        values = {FIRST[0]: "", FIRST[1]: "123456", FIRST[2]: "123456"}
    else:
        values = {"memory.max": "123456", "memory.swap.max": "0"}
    assert found == {**values, "cgroup.procs": "42"}
    assert written[-1] == "cgroup.procs"


def test_the_kernel_ends_all_of_a_group_and_swaps_nothing() -> None:
    assert memory._VALUES == {"memory.swap.max": 0, "memory.oom.group": 1}
    assert (memory._FIRST, memory._SECOND) == (FIRST, SECOND)


def test_a_folder_without_control_of_memory_is_removed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_parents", lambda: [(str(tmp_path), SECOND)])
    assert memory._made_group(1 << 20, 42) is None
    assert list(tmp_path.iterdir()) == []


def test_groups_of_dead_jails_are_swept(tmp_path: Path) -> None:
    dead = memory.PREFIX + "99999999"
    kept = {memory.PREFIX + str(os.getpid()), memory.PREFIX + "x", "99999998", "other"}
    for name in (*sorted(kept), dead, memory.PREFIX + "99999997"):
        (tmp_path / name).mkdir()
    (tmp_path / dead / "in use").touch()  # cannot be removed, and stops no other
    memory._sweep(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*kept, dead}
    memory._sweep(str(tmp_path / "absent"))


@pytest.mark.parametrize("name", ["memory.events", "memory.oom_control"])
def test_kills_of_a_group_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("low 0\noom 5\noom_kill 3\noom_group_kill 1\n")
    assert memory._kills(str(tmp_path)) == 3
    (tmp_path / name).write_text("oom 5\n")
    assert memory._kills(str(tmp_path)) == 0
    assert memory._kills(str(tmp_path / "absent")) == 0


class Watched:
    """Processes of invented sizes, and the signals that they receive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.resident = {10: 300, 11: 200}
        self.shared = {10: 250, 11: 50}
        self.signals: list[tuple[int, int]] = []
        self.group: str | None = None
        monkeypatch.setattr(memory, "_made_group", lambda limit, process: self.group)
        monkeypatch.setattr(memory, "family_of", lambda process: [process, process + 1])
        monkeypatch.setattr(memory, "resident_of", self.resident.__getitem__)
        monkeypatch.setattr(memory, "shared_of", self.shared.__getitem__)
        monkeypatch.setattr(os, "kill", lambda *args: self.signals.append(args))


STOPPED = [(10, signal.SIGSTOP), (11, signal.SIGSTOP)]
CONTINUED = [(10, signal.SIGCONT), (11, signal.SIGCONT)]


def test_the_shared_size_decides_while_all_are_halted(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    for limit, exceeded, signals in (
        (500, False, []),  # 500 resident are no more than the limit
        (499, False, STOPPED + CONTINUED),
        (300, False, STOPPED + CONTINUED),
        (299, True, STOPPED),
    ):
        watched.signals.clear()
        meter = Meter(limit, 10)
        assert meter.exceeded() is exceeded, limit
        assert (watched.signals, meter.used) == (signals, 500)


def test_a_look_is_sooner_where_much_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    Watched(monkeypatch)
    meter = Meter(2000, 10)
    assert meter.pause() == 0.02
    meter.exceeded()
    assert meter.pause() == 0.001  # 500 is a quarter
    meter.limit = 2001
    assert meter.pause() == 0.02


def test_the_kernel_decides_in_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.group = str(tmp_path)
    meter = Meter(1, 10)
    assert not meter.exceeded()
    (tmp_path / "memory.events").write_text("oom_kill 1\n")
    assert meter.exceeded()
    assert watched.signals == []


def test_a_group_is_removed_as_soon_as_its_processes_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched, tries, pauses = Watched(monkeypatch), [], []
    watched.group = "/group"

    def remove(path: str) -> None:
        tries.append(path)
        if len(tries) < 3:
            raise OSError("busy")

    monkeypatch.setattr(os, "rmdir", remove)
    monkeypatch.setattr(memory.time, "sleep", pauses.append)
    Meter(1, 10).close()
    assert (tries, pauses) == (["/group"] * 3, [0.01] * 2)
    watched.group = None
    Meter(1, 10).close()
    assert len(tries) == 3
    watched.group = "/busy"
    monkeypatch.setattr(os, "rmdir", lambda path: (_ for _ in ()).throw(OSError("busy")))
    pauses.clear()
    Meter(1, 10).close()
    assert len(pauses) == 100


def test_sizes_of_a_process_are_read_from_the_kernel(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096}.__getitem__)
    proc(
        statm="900 7 5 1 0 3 0\n",
        smaps_rollup="Rss: 90 kB\nPss: 20 kB\nPss_Dirty: 9 kB\nSwap: 5 kB\nSwapPss: 3 kB\n",
    )
    assert memory.resident_of(1) == 7 * 4096
    assert memory.shared_of(1) == 23 * 1024
    monkeypatch.setattr(memory, "open", lambda *_: (_ for _ in ()).throw(OSError()), raising=False)
    assert memory.resident_of(1) == 0
    assert memory.shared_of(1) == 0
    monkeypatch.setattr(memory, "resident_of", lambda process: 5 * process)
    assert memory.shared_of(3) == 15  # hidden: its resident size


def test_a_process_that_is_gone_gets_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def kill(process: int, number: int) -> None:
        seen.append(process)
        if process == 1:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    memory._signal([1, 2], signal.SIGCONT)
    assert seen == [1, 2]
