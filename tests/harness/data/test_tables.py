"""Rows of data sets on disk: files by their names, and folders of `datasets`."""

from __future__ import annotations

import gzip
import json
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
    with pytest.raises(BadData, match=r"a.parquet: not a parquet file"):
        list(read_table(tmp_path / "a.parquet"))
    with pytest.raises(BadData, match=r"a.csv: expected a .jsonl, .json"):
        read_table(tmp_path / "a.csv")


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
