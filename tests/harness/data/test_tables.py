"""Rows of data sets on disk: files by their names, and folders of `datasets`."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pytest

from harness.core.errors import BadData, UnknownName, UserError
from harness.data.tables import count_rows, folder_identity, is_saved, read_saved, read_table

ROWS = [{"prompt": "a", "chosen": [{"role": "assistant", "content": "b"}]}, {"prompt": "c"}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz", "a.parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        lines = json.dumps(ROWS) if ".jsonl" not in name else "\n".join(map(json.dumps, ROWS))
        path.write_bytes(gzip.compress(lines.encode()) if name.endswith("gz") else lines.encode())
    found = [{key: value for key, value in row.items() if value} for row in read_table(path)]
    assert found == ROWS
    assert count_rows(path) == 2


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("not a table")
    with pytest.raises(BadData, match=r"a.parquet: not a Parquet file"):
        list(read_table(tmp_path / "a.parquet"))
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(BadData, match=r"a.txt: expected one of .json, .jsonl"):
        read_table(tmp_path / "a.txt")


def test_folders_of_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list([{"prompt": "a"}])
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "two"))
    one.save_to_disk(str(tmp_path / "one"))
    assert is_saved(tmp_path / "one")
    assert list(read_saved(tmp_path / "two", "test")) == [{"prompt": "a"}]
    assert list(read_saved(tmp_path / "one", "train")) == [{"prompt": "a"}]
    with pytest.raises(UnknownName, match=r'no split in .* named "tests"; did you mean "test"'):
        list(read_saved(tmp_path / "two", "tests"))
    with pytest.raises(UserError, match="expected a folder written by save_to_disk"):
        list(read_saved(tmp_path, "train"))
    before = folder_identity(str(tmp_path / "one"))
    (tmp_path / "one" / "more.txt").write_text("x")
    assert folder_identity(str(tmp_path / "one")) != before


def test_cells_of_csv_are_texts_with_their_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n')
    assert list(read_table(path)) == [{"a": "1", "b": "x\r\ny"}]
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_table(packed)) == list(read_table(path))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"a,b\n1,2,3\n", "row 1: more cells than the 2 columns"),
        ("a.txt", b"a", "expected one of .json"),
        ("a.parquet", b"PAR1 broken", "not a Parquet file"),
        ("a.jsonl", pickle.dumps({"a": 1}), "pickle"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadData, match=message):
        list(read_table(path))
