"""Confine the current process before it runs untrusted code; Linux, standard library only.

Two ways: namespaces (no network, no visible other processes, a read-only root of system folders,
files in memory), which an unprivileged user may create on most machines; otherwise a system call
filter alone. With the filter alone, code can read every file that the user can read, and the size
of each file is limited but not their number.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from contextlib import suppress
from typing import Any

NEW_USER, NAMESPACES = 0x10000000, 0x20000 | 0x4000000 | 0x8000000 | 0x20000000 | 0x40000000
BIND, READ_ONLY, REMOUNT, PRIVATE, NO_SUID, NO_DEVICES = 0x5000, 1, 0x20, 0x44000, 2, 4
DIE_WITH_PARENT, NO_NEW_PRIVILEGES, SET_SECCOMP, SET_DUMPABLE = 1, 38, 22, 4  # of prctl
HOME = "/jail"  # the only writable folder; /tmp links to it
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/dev/null", "/dev/urandom")
# System calls that the filter refuses, with their numbers on (x86-64, ARM64): ways out of the
# confinement, and memory that the limits do not count.
DENIED = {
    "socket": (41, 198), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "io_uring_setup": (425, 425), "bpf": (321, 280), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "memfd_create": (319, 279), "shmget": (29, 194),
    "msgget": (68, 186), "mq_open": (240, 180), "add_key": (248, 217), "keyctl": (250, 219),
    "pidfd_getfd": (438, 438), "fsopen": (430, 430), "open_tree": (428, 428), "chroot": (161, 51),
}  # fmt: skip
# Also refused without a PID namespace: starting, signalling or limiting another process.
DENIED_ALONE = {
    "clone": (56, 220), "clone3": (435, 435), "fork": (57, -1), "vfork": (58, -1),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "prlimit64": (302, 261),
}  # fmt: skip
ERRORS = {"clone": 11, "fork": 11, "vfork": 11, "clone3": 38}  # errno; EPERM for other calls
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with the current errno if a C call failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def tie() -> None:
    """Make the kernel kill this process when its parent ends."""
    libc.prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def hide() -> None:
    """Make /proc/<pid> of this process unreadable to other processes."""
    libc.prctl(SET_DUMPABLE, 0, 0, 0, 0)


def enter_namespaces() -> None:
    """Enter new namespaces: processes, network, mounts, IPC, host name, and users if not root."""
    user, group = os.geteuid(), os.getegid()
    check(libc.unshare(NAMESPACES | (NEW_USER if user else 0)), "unshare")
    if user:
        maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as stream:
                stream.write(text)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Call mount(2); raises OSError."""
    names = (source.encode(), target.encode(), kind.encode())
    check(libc.mount(*names, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def build_root(root: str, limits: dict[str, Any], paths: list[str]) -> None:
    """Enter a read-only root of system folders and `paths`, with a limited memory folder `HOME`.

    After chroot the kernel also refuses new user namespaces.
    """
    mount("none", "/", "", PRIVATE)
    mount("tmpfs", root, "tmpfs", NO_SUID | NO_DEVICES, "size=1m,nr_inodes=256,mode=755")
    for path in (*SYSTEM, *paths):
        target = root + path
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
        elif os.path.isdir(path) and not os.path.exists(target):
            os.makedirs(target)
            mount(path, target, "", BIND)
            kept = os.statvfs(path).f_flag & 14  # nosuid, nodev, noexec: must stay set
            mount("none", target, "", BIND | REMOUNT | READ_ONLY | NO_SUID | kept)
        elif os.path.exists(path) and not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "x").close()
            mount(path, target, "", BIND)
    os.mkdir(root + HOME)
    if not os.path.exists(root + "/tmp"):
        os.symlink(HOME, root + "/tmp")
    options = f"size={limits['file_mb']}m,nr_inodes={limits['files'] + 1},mode=1777"
    mount("tmpfs", root + HOME, "tmpfs", NO_SUID | NO_DEVICES, options)
    mount("none", root, "", REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES)
    os.chroot(root)
    os.chdir(HOME)


def confine(request: dict[str, Any], apart: bool, pipes: tuple[int, int, int]) -> None:
    """Reduce the calling process to three pipes; set limits, drop privileges, filter calls.

    Args:
        apart: the process is in namespaces.
        pipes: descriptors of questions (read), answers (write) and printed output (write).
    """
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(pipes[2], 1)
    os.dup2(pipes[2], 2)
    for descriptor in set(range(3, 1024)) - set(pipes[:2]):
        with suppress(OSError):
            os.close(descriptor)
    limits, user = request["limits"], os.geteuid()
    caps = {
        resource.RLIMIT_AS: limits["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: limits["file_mb"] << 20,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: limits["processes"] + 2 * bool(user),  # supervisor, init
    }
    for kind, value in caps.items():
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"], limits["cpu_s"] + 1))
    if user == 0:
        _become_nobody(request["root"], request["user"])
    else:
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        check(libc.capset(header, none), "capset")
    if not os.access(os.__file__, os.R_OK):
        raise PermissionError(f"{os.__file__} cannot be read by an unprivileged user")
    tie()
    check(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    _filter_calls(DENIED if apart else {**DENIED, **DENIED_ALONE})


def _become_nobody(root: str, user: int) -> None:
    """Change from root to an unused user id, so that only this process counts to its limits."""
    for number in (user, 65534):  # a container may map only few user ids
        try:
            if os.path.exists(root):
                os.chown(root, number, number)
            os.setgroups([])
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
            return
        except OSError as error:
            problem = error
    raise problem


def _filter_calls(denied: dict[str, tuple[int, int]]) -> None:
    """Install a seccomp filter: the calls in `denied` fail, all others pass."""
    machine = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}.get(os.uname().machine)
    if machine is None:
        raise OSError(f"no table of system calls for {os.uname().machine}")
    column, architecture = machine
    program = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (6, 0, 0, 0x80000000), (0x20, 0, 0, 0)]
    program += [(0x35, 0, 1, 0x40000000), (6, 0, 0, 0x50026)]  # x32: a second set of numbers
    for name, numbers in denied.items():
        failure = 0x50000 | ERRORS.get(name, 1)
        program += [(0x15, 0, 1, numbers[column] & 0xFFFFFFFF), (6, 0, 0, failure)]
    program.append((6, 0, 0, 0x7FFF0000))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    check(libc.prctl(SET_SECCOMP, 2, head, 0, 0), "seccomp")
