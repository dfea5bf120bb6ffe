"""Rows of data sets on disk: CSV, JSON and JSON lines (also .gz), Parquet, folders of `datasets`.

Pickles are refused by their content, whatever their name: reading one can run code.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.core.errors import BadData, MissingExtra, UserError, unknown
from harness.core.hashing import digest, file_digest
from harness.data.pickles import refuse_pickle
from harness.engine.io import iterate_objects, read_text

FILES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet", ".csv", ".csv.gz")
_FIELD_LIMIT = 1 << 27  # characters of a CSV cell; Python's default is too low for long texts
SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` writes at the top of a folder


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file; cells of a CSV file are texts.

    Raises:
        BadData: another kind of file, a pickle, or one that cannot be read, with file and line.
        MissingExtra: a Parquet file without pyarrow.
    """
    refuse_pickle(path)
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet or path.suffix == ".parquet":
        return _parquet(path)
    if not path.name.endswith(FILES):
        raise BadData(f"{path}: expected one of {', '.join(FILES)}")
    return _csv(path) if ".csv" in path.suffixes[-2:] else iterate_objects(path)


def count_rows(path: Path) -> int:
    """Number of rows of a file; see `read_table` for errors."""
    if path.suffix == ".parquet":  # its header has the number
        return int(_opened(path).metadata.num_rows)
    return sum(1 for _ in read_table(path))


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    for batch in _opened(path).iter_batches():
        yield from batch.to_pylist()


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff"), newline=""))
        rows = list(reader)
    except csv.Error as error:
        raise BadData(f"{path}: not CSV: {error}") from None
    finally:
        csv.field_size_limit(before)
    for number, row in enumerate(rows, 1):
        if None in row:
            raise BadData(f"{path}, row {number}: more cells than the {len(row) - 1} columns")
        yield row


def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    try:
        return parquet.ParquetFile(path)
    except (ArrowInvalid, OSError) as error:
        raise BadData(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None


def is_saved(folder: Path) -> bool:
    """Whether `datasets` wrote the folder with `save_to_disk`."""
    return any((folder / name).is_file() for name in SAVED)


def folder_identity(ref: str, revision: str | None = None) -> str:
    """Digest of the names and contents of all files in a folder."""
    folder = Path(ref).expanduser()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest([[path.relative_to(folder).as_posix(), file_digest(path)] for path in files])


def read_saved(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one split of a folder that `save_to_disk` wrote.

    Raises:
        UserError: the folder is none.
        UnknownName: it has no such split.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    if not is_saved(folder):
        raise UserError(
            f"{folder}: expected a folder written by save_to_disk ({' or '.join(SAVED)}), or a "
            ".jsonl, .json or .parquet file in it"
        )
    found = datasets.load_from_disk(str(folder))
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise unknown(f"split in {folder}", split, found)
        found = found[split]
    yield from found
