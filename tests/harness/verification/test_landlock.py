"""Rights to files as the kernel receives them, for each version of its interface."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from harness.verification import landlock

# Rights of linux/landlock.h in the order of their bits, with the version that brought each.
RIGHTS = {
    "execute": 1, "write_file": 1, "read_file": 1, "read_dir": 1, "remove_dir": 1,
    "remove_file": 1, "make_char": 1, "make_dir": 1, "make_reg": 1, "make_sock": 1,
    "make_fifo": 1, "make_block": 1, "make_sym": 1, "refer": 2, "truncate": 3, "ioctl_dev": 5,
}  # fmt: skip
BITS = {name: 1 << place for place, name in enumerate(RIGHTS)}


def bits(version: int, *names: str) -> int:
    return sum(BITS[name] for name in names if RIGHTS[name] <= version)


class Kernel:
    """Stands for the C library: system calls of Landlock, the paths of rules, injected failures."""

    def __init__(self, version: int, failing: int = 0) -> None:
        self.version, self.failing = version, failing
        self.created: list[bytes] = []
        self.rules: list[tuple[str, int]] = []
        self.restricted: list[int] = []
        self.descriptor = -1

    def syscall(self, number: int, *args: Any) -> int:
        plain = [getattr(arg, "value", arg) for arg in args]
        if plain == [None, 0, 1]:
            assert number == 444
            return self.version or -1
        if number == self.failing:
            return -1
        if number == 444:
            rules, size, flags = plain
            assert (len(rules), flags) == (size, 0)
            self.created.append(rules)
            self.descriptor = os.open("/dev/null", os.O_RDONLY)
            return self.descriptor
        assert plain[0] == self.descriptor
        if number == 445:
            assert (plain[1], plain[3]) == (1, 0)  # LANDLOCK_RULE_PATH_BENEATH
            rights, descriptor = struct.unpack("=Qi", plain[2])
            self.rules.append((os.readlink(f"/proc/self/fd/{descriptor}"), rights))
        else:
            assert (number, plain[1]) == (446, 0)
            self.restricted.append(number)
        return 0


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, str]:
    for name in ("read", "written"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.txt").touch()
    found = {path.name: str(path) for path in tmp_path.iterdir()}
    return {**found, "absent": str(tmp_path / "absent")}


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7])
def test_rights_of_each_version(
    version: int, paths: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(version)
    monkeypatch.setattr(landlock, "_libc", kernel)
    before = set(os.listdir("/proc/self/fd"))
    readable = [paths["read"], paths["read.txt"], paths["absent"]]
    landlock.restrict(readable, [paths["written"], paths["written.txt"]])
    handled = [bits(version, *RIGHTS)]
    handled += [0b11] if version >= 4 else []  # TCP: bind and connect
    handled += [0b11] if version >= 6 else []  # scope: abstract sockets and signals
    assert kernel.created == [struct.pack(f"={len(handled)}Q", *handled)]
    special = bits(version, "make_char", "make_block")
    assert kernel.rules == [
        (paths["read"], bits(version, "execute", "read_file", "read_dir")),
        (paths["read.txt"], bits(version, "execute", "read_file")),
        (paths["written"], bits(version, *RIGHTS) & ~special),
        (
            paths["written.txt"],
            bits(version, "execute", "write_file", "read_file", "truncate"),
        ),
    ]
    assert kernel.restricted == [446]
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("failing", "step"),
    [(444, "create_ruleset"), (445, "add_rule"), (446, "restrict_self")],
)
def test_a_refused_step_is_an_error_and_leaves_nothing_open(
    failing: int, step: str, paths: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "_libc", Kernel(3, failing))
    ctypes.set_errno(errno.EINVAL)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=f"landlock_{step}"):
        landlock.restrict([paths["read"]], [])
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_kernel_without_it_is_version_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_libc", Kernel(0))
    assert landlock.version() == 0
    with pytest.raises(OSError, match="no Landlock"):
        landlock.restrict([], [])
    monkeypatch.setattr(landlock, "_libc", Kernel(4))
    assert landlock.version() == 4


def test_a_path_that_may_not_be_opened_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, flags: int) -> int:
        assert flags == os.O_PATH | os.O_CLOEXEC
        raise PermissionError(errno.EACCES, path)

    kernel = Kernel(3)
    monkeypatch.setattr(landlock, "_libc", kernel)
    with monkeypatch.context() as patch:
        patch.setattr(landlock.os, "open", refused)
        landlock._allow(7, "/root", 1)
    assert kernel.rules == []
