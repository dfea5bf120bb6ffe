"""Tables in files of every kind."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.data.table_files import FILES, read_table


def test_cells_of_csv_are_texts_with_their_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n')
    assert read_table(path) == [{"a": "1", "b": "x\r\ny"}]
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_table(packed) == read_table(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"a,b\n1,2,3\n", "row 1: more cells than the 2 columns"),
        ("a.txt", b"a", "expected one of .csv"),
        ("a.parquet", b"PAR1 broken", "not a Parquet file"),
        ("a.jsonl", pickle.dumps({"a": 1}), "pickle"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadData, match=message):
        read_table(path)
    assert ".parquet" in FILES
