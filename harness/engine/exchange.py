"""Replacing a folder by another one in one step.

`rename` does not replace a folder that has files. Linux can exchange two names (renameat2), so that
a process that is killed at any moment leaves the old folder or the new one, never a mixture.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE


def replace_folder(fresh: Path, out: Path, drop: Iterable[str] = ()) -> bool:
    """Give `fresh` the name `out`, with the files of `out` that it lacks.

    The old folder then has the name `fresh`.

    Args:
        drop: names of files of `out` that do not stay.

    Returns:
        False, with `out` unchanged, where the system or the file system cannot exchange names,
        where `out` is a link, or where this process works in `out` and would lose its place.
    """
    if out.is_symlink() or _works_in(out):
        return False
    left = {path.name for path in fresh.iterdir()} | set(drop)
    for path in out.iterdir():
        if path.name not in left:
            _share(path, fresh / path.name)
    shutil.copymode(out, fresh)
    return _exchange(fresh, out)


def _works_in(folder: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(folder.resolve())
    except FileNotFoundError:
        return False


def _share(path: Path, copy: Path) -> None:
    """The same file under another name, or a copy where the file system has no hard links."""
    if path.is_symlink():
        copy.symlink_to(os.readlink(path))
    elif path.is_dir():
        copy.mkdir()
        for inner in path.iterdir():
            _share(inner, copy / inner.name)
    else:
        try:
            os.link(path, copy)
        except OSError:
            shutil.copy2(path, copy)


def _exchange(first: Path, second: Path) -> bool:
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return bool(rename(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0)
