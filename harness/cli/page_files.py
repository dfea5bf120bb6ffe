"""Pages as files: one, or a first with further ones beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import StoreProblem

HEAD = 4096  # bytes at the beginning of a page, in which its mark is


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: paths, the first page first.
        bytes: size of all.
    """

    files: tuple[Path, ...]
    bytes: int

    @property
    def size(self) -> str:
        """Size and number of files, as text."""
        size = f"{self.bytes / 1e6:.1f} MB"
        return size if len(self.files) == 1 else f"{size} in {len(self.files)} pages"


def write_pages(path: Path, pages: Iterable[tuple[str, str]]) -> Written:
    """Write pages beside each other, one at a time, and remove those that `path` had before.

    Args:
        pages: file names and contents; the first is that of `path`.

    Raises:
        StoreProblem: a file cannot be written or removed.
    """
    files, size = [], 0
    for name, text in pages:
        file, data = path.parent / name, text.encode("utf-8", "backslashreplace")
        try:
            file.write_bytes(data)
        except OSError as error:
            raise _problem(file, "written", error) from None
        files.append(file)
        size += len(data)
    # The last first, so that a killed run leaves no gap, behind which the next would not look.
    try:
        for file in reversed(list(_further(path, len(files)))):
            file.unlink()
    except OSError as error:
        raise _problem(Path(error.filename), "removed", error) from None
    return Written(tuple(files), size)


def _further(path: Path, count: int) -> Iterator[Path]:
    """Pages of `path` after this many; files that only have such a name are none."""
    from leaderboards.render.parts import mark_of, name_of_page

    mark = mark_of(path.name).encode()
    for number in itertools.count(count + 1):
        file = path.with_name(name_of_page(path.name, number))
        if not file.is_file():
            return
        with file.open("rb") as page:
            if mark not in page.read(HEAD):
                return
        yield file


def _problem(file: Path, what: str, error: OSError) -> StoreProblem:
    return StoreProblem(
        f"{file} cannot be {what}: {error.strerror}; expected --html FILE in a writable folder"
    )
