"""What a process is left with: system calls, mounts, limits, user, and the order of the steps."""

from __future__ import annotations

import csv
import ctypes
import errno
import os
import resource
import signal
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.verification import confinement
from harness.verification.confinement import DENIED, DENIED_ALONE
from tests.harness.verification.children import in_child

# Numbers of the kernel's headers (asm/unistd_64.h, asm-generic/unistd.h); -1: no such call.
CALLS = {
    row["name"]: (int(row["x86_64"]), int(row["aarch64"]))
    for row in csv.DictReader(Path(__file__).with_name("system_calls.csv").open())
}
MACHINES = {"x86_64": (0, 62 | 1 << 31 | 1 << 30), "aarch64": (1, 183 | 1 << 31 | 1 << 30)}
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x50000  # linux/seccomp.h; an errno is added
READ_ONLY, NO_SUID, NO_DEV, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18


class Library:
    """Stands for the C library: calls, and the result of each."""

    def __init__(self, result: int = 0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.result = result

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> int:
            plain = [a.value if isinstance(a, ctypes._SimpleCData) else a for a in args]
            self.calls.append((name, *plain))
            return self.result

        return call


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(confinement, "libc", made)
    return made


def test_the_numbers_of_refused_calls_are_those_of_the_kernel() -> None:
    assert {**DENIED, **DENIED_ALONE} == CALLS
    assert not set(DENIED) & set(DENIED_ALONE)
    assert len(DENIED) == 21


def decision(program: list[tuple[int, int, int, int]], architecture: int, number: int) -> int:
    """What a filter returns for a system call: a small interpreter of its instructions."""
    at = value = 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x20:  # load a word of (number, architecture, ...)
            value = {0: number, 4: architecture}[operand]
        elif code in (0x15, 0x35):  # jump if equal, if greater or equal
            at += yes if (value == operand if code == 0x15 else value >= operand) else no
        else:
            assert code == 6  # return
            return operand


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("alone", [False, True])
def test_the_filter_refuses_the_calls_named_and_no_other(
    machine: str, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    column, architecture = MACHINES[machine]
    programs: list[list[tuple[int, int, int, int]]] = []

    def prctl(command: int, mode: int, head: bytes, *rest: int) -> int:
        count, address = struct.unpack("@HP", head)
        assert (command, mode, rest) == (22, 2, (0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        code = ctypes.string_at(address, 8 * count)
        programs.append(list(struct.iter_unpack("=HBBI", code)))
        return 0

    monkeypatch.setattr(confinement, "libc", SimpleNamespace(prctl=prctl))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    names = {**DENIED, **DENIED_ALONE} if alone else DENIED
    confinement._filter_calls(names)
    (program,) = programs
    refused = {CALLS[name][column]: name for name in names}
    again = {"clone": errno.EAGAIN, "fork": errno.EAGAIN, "vfork": errno.EAGAIN}
    for number in range(520):
        name = refused.get(number)
        failure = {**again, "clone3": errno.ENOSYS}.get(str(name), errno.EPERM)
        wanted = ALLOW if name is None else REFUSE | failure
        assert decision(program, architecture, number) == wanted, (number, name)
    assert decision(program, architecture, 0x3FFFFFFF) == ALLOW
    for number in (0x40000000, 0x40000029, 0xFFFFFFFF):  # the numbers of x32
        assert decision(program, architecture, number) == REFUSE | errno.ENOSYS
    for other in (architecture + 1, architecture - 1, 0x40000003):
        assert decision(program, other, 0) == KILL


def test_a_filter_that_cannot_be_installed_is_an_error(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.result = -1
    with pytest.raises(OSError, match="seccomp"):
        confinement._filter_calls({})
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(OSError, match="riscv64"):
        confinement._filter_calls({})


def test_commands_of_prctl(library: Library) -> None:
    confinement.tie()
    confinement.tie(signal.SIGTERM)
    confinement.hide()
    confinement.hide(False)
    assert confinement.is_hidden()
    library.result = 1
    assert not confinement.is_hidden()
    prctl = [call[1:] for call in library.calls]
    assert prctl[:2] == [(1, 9, 0, 0, 0), (1, 15, 0, 0, 0)]  # PR_SET_PDEATHSIG
    assert prctl[2:4] == [(4, 0, 0, 0, 0), (4, 1, 0, 0, 0)]  # PR_SET_DUMPABLE
    assert prctl[4:] == [(3, 0, 0, 0, 0)] * 2  # PR_GET_DUMPABLE


def test_a_failed_call_raises_its_error() -> None:
    confinement.check(0, "nothing")
    ctypes.set_errno(errno.EPERM)
    with pytest.raises(PermissionError, match="mount /x: Operation not permitted"):
        confinement.check(-1, "mount /x")


def test_mount_passes_its_arguments(library: Library) -> None:
    confinement.mount("tmpfs", "/t", "kind", 6, "size=1m")
    confinement.mount("/a", "/b", "", 4096)
    assert library.calls == [
        ("mount", b"tmpfs", b"/t", b"kind", 6, b"size=1m"),
        ("mount", b"/a", b"/b", b"", 4096, b""),
    ]


@pytest.mark.parametrize("user", [0, 1234])
def test_namespaces_and_the_maps_of_an_ordinary_user(
    user: int, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "getegid", lambda: 77)
    names = {"/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"}

    def opened(path: str, mode: str) -> Any:
        assert path in names
        return open(tmp_path / Path(path).name, mode)

    monkeypatch.setattr(confinement, "open", opened, raising=False)
    confinement.enter_namespaces()
    # linux/sched.h: mounts, host name, IPC, processes, network; users
    flags = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
    assert library.calls == [("unshare", flags | (0x10000000 if user else 0))]
    maps = {path.name: path.read_text() for path in tmp_path.iterdir()}
    own = {"setgroups": "deny", "uid_map": "1234 1234 1", "gid_map": "77 77 1"}
    assert maps == (own if user else {})


class Root:
    """A machine of a few folders in which a root is built; what was mounted and entered."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.mounts, self.entered = folder, [], []  # type: ignore[var-annotated]
        for name in ("system", "used/inner", "free", "extra"):
            (folder / name).mkdir(parents=True)
        (folder / "link").symlink_to("system")
        (folder / "file").write_text("x")
        (folder / "aside").symlink_to("free")
        own = [str(folder / name) for name in ("system", "link", "file", "used/inner", "absent")]
        places = tuple(str(folder / name) for name in ("none", "aside", "used", "free", "system"))
        monkeypatch.setattr(confinement, "SYSTEM", tuple(own))
        monkeypatch.setattr(confinement, "PLACES", places)
        monkeypatch.setattr(confinement, "mount", lambda *args: self.mounts.append(args))
        monkeypatch.setattr(os, "chroot", lambda path: self.entered.append(("chroot", path)))
        monkeypatch.setattr(os, "chdir", lambda path: self.entered.append(("chdir", path)))
        monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=0b11111))


LIMITS = {
    "file_mb": 16,
    "files": 64,
    "memory_mb": 256,
    "open_files": 32,
    "processes": 9,
    "cpu_s": 7,
}


def test_a_root_has_the_folders_read_only_and_one_small_writable_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Root(tmp_path, monkeypatch)
    extra, file = str(tmp_path / "extra"), str(tmp_path / "file")
    confinement.build_root(LIMITS, [extra, extra, file])
    root = str(tmp_path / "free")  # not a link, and none of the folders needed is in it
    again = BIND | REMOUNT | READ_ONLY | NO_SUID | NO_DEV | 8  # 8: the flags of the folder
    folders = [str(tmp_path / name) for name in ("system", "used/inner", "extra")]
    bound = {path: [(path, root + path, "", BIND | RECURSIVE)] for path in (*folders, file)}
    for path in folders:
        bound[path].append(("none", root + path, "", again | RECURSIVE))
    home = (root + "/jail", "tmpfs", NO_SUID | NO_DEV, "size=16m,nr_inodes=65,mode=1777")
    whole = REMOUNT | BIND | RECURSIVE | READ_ONLY | NO_SUID | NO_DEV
    assert made.mounts == [
        ("none", "/", "", PRIVATE | RECURSIVE),
        ("tmpfs", root, "tmpfs", NO_SUID | NO_DEV, "size=1m,nr_inodes=256,mode=755"),
        *bound[folders[0]], *bound[file], *bound[folders[1]], *bound[extra],
        ("tmpfs", *home), ("none", root, "", whole),
    ]  # fmt: skip
    assert made.entered == [("chroot", root), ("chdir", "/jail")]
    assert os.readlink(root + str(tmp_path / "link")) == "system"
    assert not os.path.lexists(root + str(tmp_path / "absent"))


def test_temporary_files_of_a_root_are_in_its_writable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Root(tmp_path, monkeypatch)
    monkeypatch.setattr(confinement, "SYSTEM", ())
    (tmp_path / "used").rename(tmp_path / "moved")
    confinement.build_root(LIMITS, [])
    assert os.readlink(tmp_path / "free" / "tmp") == "/jail"


def request(isolation: str, **more: Any) -> dict[str, Any]:
    given = {"isolation": isolation, "limits": LIMITS, "root": "/r", "user": 4242, "paths": ["/p"]}
    return {**given, **more}


def status() -> dict[str, str]:
    with open("/proc/self/status") as text:
        return dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)


@pytest.mark.parametrize("measured", [False, True])
def test_a_confined_process_has_its_limits_and_nothing_else(measured: bool) -> None:
    def work(write: int) -> Any:
        os.access = lambda *_: True  # type: ignore[assignment]  # the libraries of this Python
        spare, output = os.open("/", os.O_RDONLY), os.open("/dev/zero", os.O_WRONLY)
        root, printed = os.geteuid() == 0, os.fstat(output).st_rdev
        confinement.confine(request("namespaces", root=""), True, (write,), output, measured)
        opened = []
        for number in range(3, 1024):
            try:
                opened.append(os.fstat(number) and number)
            except OSError:
                continue
        kinds = ("AS", "FSIZE", "NOFILE", "CORE", "NPROC", "CPU")
        signalled = ctypes.c_int()
        confinement.libc.prctl(2, ctypes.byref(signalled), 0, 0, 0)  # PR_GET_PDEATHSIG
        known = status()
        return {
            "limits": {k: resource.getrlimit(getattr(resource, f"RLIMIT_{k}")) for k in kinds},
            "opened": opened == [write] and spare not in opened,
            "streams": [os.read(0, 9) == b"", *(os.fstat(n).st_rdev == printed for n in (1, 2))],
            "marks": [known["NoNewPrivs"], known["Seccomp"], int(known["CapEff"], 16)],
            "hidden": confinement.is_hidden(),
            "signal": signalled.value,
            "user": os.getresuid() in ((4242,) * 3, (65534,) * 3) if root else True,
            "groups": os.getgroups() == [] if root else True,
            "root": root,
        }

    found = in_child(work)
    assert found["limits"] == {
        "AS": [256 << 20] * 2, "FSIZE": [16 << 20] * 2, "NOFILE": [32] * 2, "CORE": [0, 0],
        "NPROC": [10 if found["root"] else 12] * 2, "CPU": [7, 8],
    }  # fmt: skip
    assert found["opened"]
    assert found["streams"] == [True] * 3
    assert found["marks"] == ["1", "2", 0]  # 2: a filter
    assert found["hidden"] is not measured
    assert found["signal"] == signal.SIGKILL
    assert found["user"]
    assert found["groups"]


@pytest.mark.parametrize(
    ("isolation", "apart", "version", "restricted", "calls"),
    [
        ("namespaces", True, 5, False, {**DENIED}),
        ("Landlock", False, 0, True, {**DENIED, **DENIED_ALONE}),
        ("system call filter", False, 5, True, {**DENIED, **DENIED_ALONE}),
        ("system call filter", False, 0, False, {**DENIED, **DENIED_ALONE}),
    ],
)
def test_which_files_and_calls_are_left(
    isolation: str, apart: bool, version: int, restricted: bool, calls: dict[str, Any]
) -> None:
    def work(write: int) -> Any:
        seen: list[Any] = []
        os.access = lambda *_: True  # type: ignore[assignment]
        confinement.landlock.version = lambda: version
        confinement.landlock.restrict = lambda *paths: seen.append(paths)
        confinement._filter_calls = lambda denied: seen.append(sorted(denied))
        confinement.confine(request(isolation), apart, (write,), 2)
        return seen

    *paths, denied = in_child(work)
    assert denied == sorted(calls)
    readable = [*confinement.SYSTEM, "/etc/ld.so.cache", "/p"]
    assert paths == ([[readable, ["/r", "/dev/null"]]] if restricted else [])


def test_libraries_that_cannot_be_read_are_named() -> None:
    def work(write: int) -> Any:
        os.access = lambda path, mode: (path, mode) != (os.__file__, os.R_OK)  # type: ignore[assignment]
        confinement.confine(request("namespaces"), True, (write,), 2)

    assert "cannot be read by an unprivileged user" in in_child(work)


def test_root_becomes_a_user_that_the_container_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Any] = []
    known = {65534}

    def step(name: str) -> Any:
        def take(*args: Any) -> None:
            if isinstance(args[-1], int) and args[-1] not in known:
                raise OSError(errno.EINVAL, name)
            steps.append((name, *args))

        return take

    for name in ("chown", "setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, step(name))
    confinement._become_nobody("/not/there", 4242)
    ids = (65534,) * 3
    changed = [("setresgid", *ids), ("setresuid", *ids)]
    assert steps == [("setgroups", []), ("setgroups", []), *changed]
    steps.clear()
    known.add(4242)
    confinement._become_nobody(str(tmp_path), 4242)
    assert steps[0] == ("chown", str(tmp_path), 4242, 4242)
    assert steps[1:] == [
        ("setgroups", []),
        *((n, *(4242,) * 3) for n in ("setresgid", "setresuid")),
    ]
    known.clear()
    with pytest.raises(OSError, match="setresgid"):
        confinement._become_nobody("/not/there", 4242)
