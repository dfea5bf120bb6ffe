"""Confine the current process before it runs untrusted code; Linux, standard library only.

Three ways. Namespaces: no network, no visible other processes, a read-only root of system folders,
files in memory; an unprivileged user may create them on most machines. Landlock and a filter of
system calls: no network, no other processes, no files but system folders and a folder of its own;
any user of Linux 5.13 or later. The filter alone: code can read and write every file that the user
can, so it is used on request only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from contextlib import suppress
from typing import Any

from harness.verification import landlock

NEW_USER, NAMESPACES = 0x10000000, 0x20000 | 0x4000000 | 0x8000000 | 0x20000000 | 0x40000000
BIND, READ_ONLY, REMOUNT, PRIVATE, NO_SUID, NO_DEVICES = 0x5000, 1, 0x20, 0x44000, 2, 4
# Commands of prctl.
DIE_WITH_PARENT, NO_NEW_PRIVILEGES, SET_SECCOMP, SET_DUMPABLE, GET_DUMPABLE = 1, 38, 22, 4, 3
HOME = "/jail"  # the only writable folder; /tmp links to it
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/dev/null", "/dev/urandom")
LINKER = ("/etc/ld.so.cache",)
PLACES = ("/mnt", "/media", "/srv", "/opt", "/run", "/tmp")  # one of them becomes the new root
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
# Also refused without namespaces: starting, signalling or slowing another process, and changes of
# the metadata of files, which Landlock does not cover.
DENIED_ALONE = {
    "clone": (56, 220), "clone3": (435, 435), "fork": (57, -1), "vfork": (58, -1),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "prlimit64": (302, 261),
    "pidfd_send_signal": (424, 424), "setpriority": (141, 140), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "kcmp": (312, 272), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54),
    "utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "file_setattr": (469, 469), "truncate": (76, 45),
    "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_unlink": (241, 181), "inotify_init": (253, -1),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "request_key": (249, 218),
}  # fmt: skip
ERRORS = {"clone": 11, "fork": 11, "vfork": 11, "clone3": 38}  # errno; EPERM for other calls
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with the current errno if a C call failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def tie(number: int = signal.SIGKILL) -> None:
    """Make the kernel signal this process when its parent ends."""
    libc.prctl(DIE_WITH_PARENT, number, 0, 0, 0)


def hide(hidden: bool = True) -> None:
    """Make /proc/<pid> of this process, with its environment, unreadable to other processes."""
    libc.prctl(SET_DUMPABLE, int(not hidden), 0, 0, 0)


def is_hidden() -> bool:
    return not libc.prctl(GET_DUMPABLE, 0, 0, 0, 0)


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


def build_root(limits: dict[str, Any], paths: list[str]) -> None:
    """Enter a read-only root of system folders and `paths`, with a limited memory folder `HOME`.

    It is mounted in this mount namespace only, over a folder that is not needed, so that nothing
    remains on disk. After chroot the kernel also refuses new user namespaces.
    """
    needed = {os.path.realpath(path) for path in (*SYSTEM, *paths)} | {*SYSTEM, *paths}
    free = (p for p in PLACES if os.path.isdir(p) and not os.path.islink(p))
    root = next(p for p in free if not any(path.startswith(p + "/") for path in needed))
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


def confine(
    request: dict[str, Any],
    apart: bool,
    pipes: tuple[int, ...],
    output: int,
    measured: bool = False,
) -> None:
    """Reduce the calling process to some pipes; set limits, drop privileges, filter calls.

    Args:
        apart: the process is in namespaces.
        pipes: descriptors to keep.
        output: descriptor of printed output.
        measured: the supervisor, an ordinary user, must be able to read how memory is used.
    """
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in set(range(3, 1024)) - set(pipes):
        with suppress(OSError):
            os.close(descriptor)
    limits, user = request["limits"], os.geteuid()
    caps = {
        resource.RLIMIT_AS: limits["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: limits["file_mb"] << 20,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: limits["processes"] + 1 + 2 * bool(user),  # tester, supervisor, init
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
    hide(not measured)
    if request["isolation"] == "Landlock" or (not apart and landlock.version()):
        landlock.restrict([*SYSTEM, *LINKER, *request["paths"]], [request["root"], os.devnull])
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
