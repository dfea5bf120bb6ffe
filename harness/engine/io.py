"""Files in and out: rows, JSON, and files and folders that appear whole or not at all.

read_objects(path)         objects of a JSON list or of JSON lines, also gzipped
unpacked(path)             bytes of a gzipped file, up to a limit
write_rows(path, rows)     one row per line, as canonical JSON
write_json(path, value)    one JSON value
make_folder(path)          a folder that is on disk, with its parents
replace_file(path, data)   a file that is on disk before it takes its name
atomic_folder(out)         a folder that is filled and on disk before it takes its name
locked(folder)             one process at a time
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import io
import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from harness.core.errors import BadData, StoreProblem, UserError, nearest
from harness.core.hashing import canonical_json
from harness.engine.exchange import replace_folder

# A gzipped file may become this large, or this many times as large; JSON lines reach about 20.
UNPACKED_BYTES, UNPACKED_TIMES = 16 * 2**20, 100

# Errors of a disk or its file system, rather than of the program.
_DISK_FAULTS = {
    errno.EIO: "check the disk",
    errno.EUCLEAN: "check the file system",
    errno.ESTALE: "mount the network disk again",
    errno.ENODEV: "mount the disk again",
    errno.ENXIO: "mount the disk again",
    errno.ENOTCONN: "mount the disk again",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOLCK: "the file system must support flock",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
}
# Something else has the name of a file or folder that is needed.
_WRONG_KIND = (
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EXDEV,
    errno.EBUSY,
)


def read_text(path: Path) -> str:
    """Text of a file, decompressed if its name ends in .gz.

    Raises:
        BadData: the file cannot be read, or is not UTF-8.
    """
    with _reading(path) as stream:
        return stream.read()


def read_json(path: Path) -> Any:
    """JSON value of a file.

    Raises:
        BadData: with file and line.
    """
    return _parsed(read_text(path), path, 1)


def read_objects(path: Path) -> list[dict[str, Any]]:
    """Objects of a file that contains a JSON list or JSON lines, also gzipped (.gz).

    Raises:
        BadData: with file and line, for anything but JSON objects.
    """
    return list(iterate_objects(path))


def iterate_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, see `read_objects`; of JSON lines, one at a time."""
    listed = None
    with _reading(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            if listed is None:
                listed = line.lstrip().startswith("[")
            text = line + stream.read() if listed else line.rstrip()
            found = _parsed(text, path, number, "; expected a list of objects, or one per line")
            for place, value in enumerate(found if listed else [found], 1):
                if not isinstance(value, dict):
                    where = f"item {place}" if listed else f"line {number}"
                    raise BadData(f"{path}, {where}: expected an object, found {str(value)[:40]}")
                yield value


@contextmanager
def _reading(path: Path) -> Iterator[TextIO]:
    try:
        opened: Any = unpacked(path) if path.suffix == ".gz" else path.open("rb")
        # Only "\n" ends a line, and no line end is converted: CSV cells may contain "\r\n".
        # Some editors put a byte-order mark before the text, which is none of it.
        with opened, io.TextIOWrapper(opened, encoding="utf-8-sig", newline="\n") as stream:
            yield cast(TextIO, stream)
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: not UTF-8 text: {error.reason}") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadData(f"{path}: cannot be read: {reason or error}{meant_file(path)}") from None


def meant_file(path: Path) -> str:
    """End of an error about a file that is not there: which one may be meant, "" if it is there."""
    if path.exists():
        return ""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    kind = "".join(path.suffixes)
    names = sorted(other.name for other in path.parent.iterdir() if other.name.endswith(kind))
    if guess := nearest(path.name, names):
        return f"; did you mean {path.with_name(guess)}?"
    where = path.parent.absolute()
    return f"; {where} has {', '.join(names[:6]) if names else f'no {kind} file'}"


def _parsed(text: str, path: Path, line: int, expected: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise BadData(f"{where}: not JSON: {error.msg}{expected}") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets in brackets
        raise BadData(f"{path}, line {line}: not usable JSON: {error}{expected}") from None


class _Unpacked(gzip.GzipFile):
    """A gzipped file that may not grow out of all proportion when it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._path = path
        self._left = self._limit = max(UNPACKED_BYTES, path.stat().st_size * UNPACKED_TIMES)

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        self._left -= len(data)
        if self._left < 0:
            raise BadData(
                f"{self._path}: cannot be read: it has {self._path.stat().st_size:,} bytes and "
                f"more than {self._limit:,} unpacked; if that is right, unpack it (gunzip) and "
                "give that file"
            )
        return data

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            return self.read1(size)
        return b"".join(iter(lambda: self.read1(1 << 20), b""))


def unpacked(path: Path) -> BinaryIO:
    """The content of a gzipped file as a stream; its `read` may return fewer bytes than asked for.

    Raises:
        BadData: while reading, for more than 16 MiB from a file 100 times smaller.
    """
    return cast(BinaryIO, _Unpacked(path))


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write JSON lines, each in canonical form; rows are taken one at a time."""
    with path.open("wb") as stream:
        stream.writelines(canonical_json(row) + b"\n" for row in rows)


def write_json(
    path: Path,
    value: object,
    *,
    indent: int | None = 1,
    sort_keys: bool = True,
    ascii: bool = True,
    end: str = "\n",
) -> None:
    """Write one JSON value; stored files differ in their layout, which must not change.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    text = json.dumps(
        value, indent=indent, sort_keys=sort_keys, ensure_ascii=ascii, allow_nan=False
    )
    # Of broken text, a lone surrogate is written as its JSON escape.
    path.write_bytes((text + end).encode(errors="backslashreplace"))


def make_folder(path: Path) -> None:
    """Create a folder and its parents, where missing, on disk before this returns."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        _flush(folder.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file, flush it to disk, then give it its name; other processes may do the same."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        fresh.write_bytes(data)
        _flush(fresh)
        fresh.replace(path)
        _flush(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def atomic_folder(out: Path, *, merge: bool = False, drop: Iterable[str] = ()) -> Iterator[Path]:
    """A fresh folder that becomes `out` at the end, or is removed on an error.

    It is `.<name>.partial` beside `out`. What a killed process left there is removed first.

    Args:
        merge: put the files into an existing `out`, all in one step where the system can (see
            `harness.engine.exchange`), else each in one rename; other files stay.
        drop: names of files of `out` that do not stay.

    Raises:
        UserError: `out` exists and is not empty, or another process is writing it.
        StoreProblem: the disk is full or read-only.
    """
    if not merge and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already; remove it or choose another folder")
    partial = out.with_name(f".{out.name}.partial")
    with disk_errors(out, kept="nothing of it was kept"):
        make_folder(partial)
        with _claimed(partial, out):
            for path in partial.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            try:
                yield partial
                publish(partial, out, drop)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _claimed(partial: Path, out: Path) -> Iterator[None]:
    lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = partial.stat()  # unless its writer has just renamed what was opened
        except OSError:
            found = os.stat(os.devnull)
        if not os.path.samestat(os.fstat(lock), found):
            raise UserError(f"another process is writing {out}; wait for it")
        yield
    finally:
        os.close(lock)


def publish(folder: Path, out: Path, drop: Iterable[str] = ()) -> None:
    """Flush a folder to disk and rename it, or merge it into `out` if that has files already.

    Where `out` is on another disk, the folder is copied beside it first.

    Args:
        drop: names of files of `out` that do not stay.
    """
    make_folder(out.parent)
    flush_tree(folder)
    if not (out.exists() and any(out.iterdir())):
        move(folder, out)
        return
    gone = [name for name in drop if not (folder / name).exists()]
    if replace_folder(folder, out, gone):
        _flush(out.parent)
        return
    for path in folder.iterdir():
        path.replace(out / path.name)
    for name in gone:
        (out / name).unlink(missing_ok=True)
    _flush(out)


@contextmanager
def locked(folder: Path, wait: float = 120.0) -> Iterator[None]:
    """Let one process at a time change what is in a folder.

    Raises:
        UserError: another process still holds it after `wait` seconds.
    """
    make_folder(folder)
    lock = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + wait
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise UserError(
                        f"another process has been writing in {folder} for {wait:g} s; wait for it"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def move(path: Path, out: Path) -> None:
    """Give a file or folder another name, on disk before this returns; also to another disk."""
    try:
        path.rename(out)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        near = out.with_name(f".{out.name}.{os.getpid()}")
        remove(near)
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, near, symlinks=True)
            flush_tree(near)
        else:
            shutil.copy2(path, near, follow_symlinks=False)
        near.rename(out)
        remove(path)
    _flush(out.parent)


def remove(path: Path) -> None:
    """Remove a file, link or folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush_tree(folder: Path) -> None:
    """Flush a folder and everything in it to disk."""
    for path in folder.rglob("*"):
        if path.is_file() or path.is_dir():
            _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(place: Path, kept: str = "what is finished is kept") -> Iterator[None]:
    """Turn an error of the disk into a one-line error about `place`."""
    try:
        yield
    except Exception as error:
        # Libraries written in other languages wrap the error and keep only its text.
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            raise StoreProblem(
                f"no space left for {place}; {kept}: free some space, or choose another disk "
                "(for the store: CRUCIBLE_HOME), and run again"
            ) from None
        if number in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreProblem(
                f"{place} cannot be written ({os.strerror(number)}); choose another folder "
                "(for the store: CRUCIBLE_HOME)"
            ) from None
        if number in _DISK_FAULTS or number in _WRONG_KIND:
            named = getattr(error, "filename", None) or place
            todo = _DISK_FAULTS.get(number or 0, f"look at {named} and move it away")
            raise StoreProblem(
                f"{place} cannot be used: {named}: {os.strerror(number or 0)}; {todo}, or choose "
                f"another folder (for the store: CRUCIBLE_HOME), and run again; {kept}"
            ) from None
        raise
