"""Author sets: one content from every kind of file, refusals that name the row, no pickle read."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import logging
import pickle
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData, EnvironmentProblem, UnknownName
from harness.data.author_files import (
    author_sets_overlap,
    mask_types,
    official_authors,
    official_identity,
    read_authors,
)
from harness.data.traits import BIG_FIVE, MBTI

ONES = {trait.name: 1 for trait in BIG_FIVE}
NAMES = tuple(ONES)


def essays(n: int = 3, **changed: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"id": f"e{i}", "text": f'Line "{i}",\nwith {{braces}} — é', **ONES, "ext": i % 2}
        for i in range(n)
    ]
    rows[-1] |= changed
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def all_kinds(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
    import pyarrow
    from pyarrow import parquet

    folder.joinpath("a.json").write_text(json.dumps(rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet")
    flat = [
        {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows
    ]
    return [
        write_csv(folder / "a.csv", flat),
        write_jsonl(folder / "a.jsonl", rows),
        write_jsonl(folder / "a.jsonl.gz", rows),
        folder / "a.json",
        folder / "a.parquet",
    ]


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    for number, (traits, rows) in enumerate(
        [
            (BIG_FIVE, essays()),
            (MBTI, [{"id": "u", "posts": ["[b] hi", "", "it, goes"], "type": "ENFP"}]),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        first, *others = (read_authors(path, traits) for path in all_kinds(folder, rows))
        assert all(other == first for other in others)
        assert first[0]["id"] == rows[0]["id"]
        body = "posts" if "posts" in rows[0] else "text"
        assert [row[body] for row in first] == [row[body] for row in rows]


def test_the_original_forms_of_both_corpora(tmp_path: Path) -> None:
    rows = [{"type": "infj", "posts": "[one] post|||two"}, {"type": "ESTP", "posts": "three"}]
    found = read_authors(write_csv(tmp_path / "mbti.csv", rows), MBTI)
    assert [row["id"] for row in found] == ["author-1", "author-2"]
    assert found[0]["posts"] == ["[one] post", "two"]
    assert found[0]["labels"] == {"ei": 0, "sn": 0, "tf": 0, "jp": 1}
    assert found[1]["labels"] == {"ei": 1, "sn": 1, "tf": 1, "jp": 0}
    letters = {"cEXT": "y", "cNEU": "n", "cAGR": "Y", "cCON": "n", "cOPN": "n"}
    corpus = [{"#AUTHID": "1997_1.txt", "TEXT": "Well.", **letters}]
    (row,) = read_authors(write_csv(tmp_path / "essays.csv", corpus), BIG_FIVE)
    assert row["id"] == "1997_1.txt"
    assert row["labels"] == {"agr": 1, "con": 0, "ext": 1, "neu": 0, "opn": 0}


def test_own_names_of_columns_and_a_note_on_the_unused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "body": row.pop("text"), "age": 3, "mood": 1} for row in essays()]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with caplog.at_level(logging.WARNING):
        found = read_authors(path, BIG_FIVE, {"text": "body"})
    assert found[0]["text"].startswith("Line")
    assert [record.message.split("unused columns: ")[1] for record in caplog.records] == [
        "age, mood"
    ]
    with pytest.raises(UnknownName, match="bodi"):
        read_authors(path, BIG_FIVE, {"text": "bodi"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ext": 2}, "row 3: ext is 2; expected 0 or 1"),
        ({"ext": "maybe"}, "row 3: ext is 'maybe'"),
        ({"ext": float("nan")}, "row 3: ext is missing"),
        ({"ext": None}, "row 3: ext is missing"),
        ({"id": "e0"}, 'row 3: the id "e0" is also the id of row 1'),
        ({"id": ""}, "row 3: the id is missing"),
        ({"text": "  \n"}, "row 3: the author has no text"),
        ({"text": None}, "row 3: the author has no text"),
        ({"posts": ["", " "]}, "row 3: all 2 posts are empty"),
        ({"posts": 7}, "row 3: posts are int"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", essays(**changed))
    with pytest.raises(BadData, match=said):
        read_authors(path, BIG_FIVE)


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"id": "u", "text": "t", "type": "INFX"}])
    with pytest.raises(BadData, match="row 1: type is 'INFX'; expected four letters"):
        read_authors(path, MBTI)
    write_jsonl(path, [{"id": "u", "text": "t", "type": "INFP", "ei": 1}])
    with pytest.raises(BadData, match="ei is 1, but the type is INFP"):
        read_authors(path, MBTI)
    write_jsonl(path, [{"id": "u", "text": "t", "ext": 1}])
    with pytest.raises(BadData, match="no labels for agr; expected a column agr or label_agr"):
        read_authors(path, BIG_FIVE)
    path.write_text("id,text\n1,a,b\n")
    with pytest.raises(BadData, match="row 1: more cells than the 2 columns"):
        read_authors(path.rename(tmp_path / "a.csv"), BIG_FIVE)


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_refused_by_content_and_never_read(tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    rows = [*essays(), Trap(fired)]
    contents = {f"protocol{n}": pickle.dumps(rows, n) for n in range(6)}
    contents["gzip"] = gzip.compress(contents["protocol4"])
    contents["zlib"] = zlib.compress(contents["protocol4"])
    for name in ("array", "arrays"):
        path = tmp_path / f"{name}.bytes"
        with path.open("wb") as stream:
            save = np.save if name == "array" else np.savez
            save(stream, np.array(essays(), dtype=object))
        contents[name] = path.read_bytes()
    for name, data in contents.items():
        for suffix in (".csv", ".jsonl", ".parquet"):
            path = tmp_path / f"{name}{suffix}{'.gz' if name == 'gzip' else ''}"
            path.write_bytes(data)
            with pytest.raises(
                BadData, match=r"contains a pickle .* can run code .*pandas.read_pickle"
            ):
                read_authors(path, BIG_FIVE)
    assert not fired.exists()


def test_pickles_are_refused_by_name_and_the_command_converts(tmp_path: Path) -> None:
    path = tmp_path / "test.pkl"
    path.write_text("id,text\n")
    with pytest.raises(BadData, match=r"by its name, \.pkl"):
        read_authors(path, BIG_FIVE)


def test_texts_that_begin_or_end_like_pickles_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ZFid,text,agr,con,ext,neu,opn\n1,It ends.,0,0,0,0,1.")
    with pytest.raises(BadData, match="opn is '1"):
        read_authors(path, BIG_FIVE)


def test_type_words_are_masked_in_any_case() -> None:
    row = {"id": "u", "posts": ["INFPs and an _entj_", "Infjs'", "informal estimate", "eSfP."]}
    masked, changed = mask_types(row)
    assert changed == 3
    assert masked["posts"] == [
        "[type]s and an _[type]_",
        "[type]s'",
        "informal estimate",
        "[type].",
    ]
    kinds = [f"{a}{b}{c}{d}" for a in "IE" for b in "NS" for c in "FT" for d in "JP"]
    assert mask_types({"id": "u", "posts": kinds})[1] == 16


def test_one_text_in_two_splits_names_both_authors() -> None:
    first = [{"id": "a", "text": "The  Same\ntext"}]
    author_sets_overlap(first, [{"id": "b", "text": "another text"}])
    with pytest.raises(BadData, match='"a" and "b" of two splits'):
        author_sets_overlap(first, [{"id": "b", "posts": ["the same", "TEXT"]}])


@pytest.mark.realdata
def test_published_sets_hold_what_the_table_says(
    realdata: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = realdata("personality")
    sums = {
        "essays_test": "03beaa07c085a1a3dd0794f4cc38e424fe120c439d23271eb6fb163a9b160934",
        "kaggle_mbti_test": "3a7ecf062cf76a94372ec79e9913e56bb0af5f7ecd72a15f597e63c9250523f6",
    }
    ones = {}
    for name, wanted in sums.items():
        data = gzip.decompress((folder / f"{name}.jsonl.gz").read_bytes())
        assert hashlib.sha256(data).hexdigest() == wanted
        rows = official_authors(f"official:{name}", folder.parent)
        traits = BIG_FIVE if name == "essays_test" else MBTI
        assert read_authors(folder / f"{name}.parquet", traits) == rows
        ones[name] = Counter(t for row in rows for t, label in row["labels"].items() if label)
        if traits == MBTI:
            assert (len(rows), sum(len(row["posts"]) for row in rows)) == (200, 9546)
            assert sum(mask_types(row)[1] for row in rows) == 0
            changed = [rows[0] | {"posts": ["other"]}, *rows[1:]]
            broken = tmp_path / "personality" / f"{name}.jsonl"
            broken.parent.mkdir()
            write_jsonl(broken, [{**row, **row.pop("labels")} for row in changed])
            with pytest.raises(BadData, match="is not the posts of official:kaggle_mbti_test"):
                official_authors(f"official:{name}", tmp_path)
    assert ones["essays_test"] == {"ext": 135, "neu": 127, "agr": 127, "con": 113, "opn": 133}
    assert ones["kaggle_mbti_test"] == {"ei": 48, "sn": 27, "tf": 85, "jp": 78}


def test_a_published_set_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path))
    assert official_identity("official:essays_test").startswith("official:essays_test@d9397aff")
    with pytest.raises(EnvironmentProblem, match=r"personality/essays_test\.jsonl"):
        official_authors("official:essays_test")
    with pytest.raises(UnknownName, match='did you mean "essays_test"'):
        official_identity("official:essay_test")
