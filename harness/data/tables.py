"""Tables in files: CSV, JSON lines, JSON (also .gz) and Parquet, as rows of a column -> value each.

Pickles are refused by their content, whatever their name: reading one can run code.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from harness.core.errors import BadData, MissingExtra
from harness.data.forms import Row
from harness.data.pickles import refuse_pickle
from harness.engine.io import read_objects, read_text

FILES = (".csv", ".jsonl", ".json", ".parquet", ".csv.gz", ".jsonl.gz", ".json.gz")
_FIELD_LIMIT = 1 << 27  # characters of a CSV cell; Python's default is too low for long texts


def read_table(path: Path) -> list[Row]:
    """Rows of a CSV, JSON lines, JSON or Parquet file; cells of a CSV file are texts.

    Raises:
        BadData: another kind of file, a broken one, or anything that contains a pickle.
    """
    refuse_pickle(path)
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet:
        return _from_parquet(path)
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return _from_csv(path)
    if name.endswith((".jsonl", ".json")):
        return read_objects(path)
    raise BadData(f"{path}: expected one of {', '.join(FILES)}")


def _from_parquet(path: Path) -> list[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
    return rows


def _from_csv(path: Path) -> list[Row]:
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
    return rows
