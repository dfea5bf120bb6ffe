"""Landlock: rights of an unprivileged process to files, without namespaces.

Linux 5.13 or later, standard library only; see `man 7 landlock`. It does not cover metadata: code
can still see whether a file exists, its size and its dates. Changes of metadata are refused by the
filter of system calls (`confinement`).
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress

CREATE, ADD, RESTRICT = 444, 445, 446  # system calls, the same on x86-64 and ARM64
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
MAKE_CHAR, MAKE_BLOCK, REFER, TRUNCATE = 1 << 6, 1 << 11, 1 << 13, 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
# Rights to files that each version of the interface knows: version -> number of bits.
KNOWN = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Version of the interface; 0 where the kernel has no Landlock."""
    found = _libc.syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, int(found))


def restrict(readable: list[str], writable: list[str]) -> None:
    """Let this process and its children use only these files; no TCP, no signals to others.

    The process must have set "no new privileges".

    Raises:
        OSError: the kernel has no Landlock.
    """
    known = version()
    if not known:
        raise OSError("the kernel has no Landlock")
    handled = (1 << KNOWN[min(known, 5)]) - 1
    network, scoped = (3 if known >= 4 else 0), (3 if known >= 6 else 0)
    rules = struct.pack("=QQQ", handled, network, scoped)[: 8 * (1 + (known >= 4) + (known >= 6))]
    ruleset = _libc.syscall(CREATE, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint32(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    try:
        for path in readable:
            _allow(ruleset, path, READ & handled)
        for path in writable:
            _allow(ruleset, path, handled & ~(MAKE_CHAR | MAKE_BLOCK))
        if _libc.syscall(RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    with suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights &= ~0 if os.path.isdir(path) else OF_FILES
            rule = struct.pack("=Qi", rights, descriptor)
            if _libc.syscall(ADD, ctypes.c_int(ruleset), 1, rule, ctypes.c_uint32(0)):
                raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        finally:
            os.close(descriptor)
