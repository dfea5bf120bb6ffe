"""A power cut, simulated: what was not flushed to disk is lost.

    with disk_under(root, cut=n):       the n-th flush below `root` raises PowerCut
        ...
    `root` is then what a disk would hold that wrote nothing on its own account

`os.fsync` of a file makes its present content durable, that of a folder its list of names. A file
whose name is durable and whose content is not comes back empty, as on ext4. A file that a library
flushes without `os.fsync` counts as lost.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class PowerCut(BaseException):
    """No program can handle it."""


@dataclass
class Disk:
    """What is durable below a folder.

    Attributes:
        names: inode of a folder -> name -> inode and whether it is a folder.
        content: inode of a file -> its content.
        flushes: number of flushes so far.
        cut: flush before which the power is cut; 0 is none.
    """

    root: Path
    cut: int = 0
    flushes: int = 0
    names: dict[int, dict[str, tuple[int, bool]]] = field(default_factory=dict)
    content: dict[int, bytes] = field(default_factory=dict)
    _held: list[int] = field(default_factory=list)  # so that no inode is used again

    def __post_init__(self) -> None:
        self.after = self.root.with_name(f"{self.root.name}.after")
        self.root.mkdir(parents=True, exist_ok=True)
        for path in (self.root, *self.root.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            self._keep(descriptor)
            os.close(descriptor)

    def flush(self, descriptor: int) -> None:
        """Take the place of `os.fsync`."""
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        if not place.startswith(str(self.root)):
            return
        if self.after.exists():
            raise PowerCut
        self.flushes += 1
        if self.flushes == self.cut:
            self._restore(self.root.stat().st_ino, self.after)
            raise PowerCut
        self._keep(descriptor)

    def _keep(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._held.append(os.dup(descriptor))
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(descriptor) as entries:
                self.names[status.st_ino] = {
                    e.name: (e.inode(), e.is_dir(follow_symlinks=False)) for e in entries
                }
        else:
            self.content[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def _restore(self, inode: int, path: Path) -> None:
        path.mkdir()
        for name, (child, is_folder) in self.names.get(inode, {}).items():
            if is_folder:
                self._restore(child, path / name)
            else:
                (path / name).write_bytes(self.content.get(child, b""))

    def end(self) -> None:
        """After a cut, put what is durable in the place of the folder."""
        for descriptor in self._held:
            os.close(descriptor)
        if self.after.exists():
            shutil.rmtree(self.root)
            self.after.rename(self.root)


@contextmanager
def disk_under(root: Path, cut: int = 0) -> Iterator[Disk]:
    """Count the flushes below a folder, and cut the power before one of them."""
    disk, flush = Disk(root, cut), os.fsync
    os.fsync = disk.flush
    try:
        yield disk
    except PowerCut:
        pass
    finally:
        os.fsync = flush
        disk.end()
