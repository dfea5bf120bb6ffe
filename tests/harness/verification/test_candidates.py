"""The candidate table and its data set."""

from __future__ import annotations

import json
import re
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, MissingExtra, StoreProblem, UserError
from harness.core.hashing import canonical_json
from harness.engine.operations import Artifact, Row
from harness.verification import candidates as table
from harness.verification.candidates import (
    Candidate,
    CandidateTableParams,
    candidate_table,
    export,
    read_candidates,
)

CHECK = {"static_ok": True, "tests_passed": 2, "tests_total": 2, "reason": "", "isolation": "n"}


def answered(system: str, ids: str = "pq", **more: Any) -> list[Row]:
    return [
        {
            "id": id,
            "messages": [{"role": "user", "content": f"{id}?"}],
            "system": system,
            "responses": ["one", "two"],
            "rewards": [0.1, 0.2],
            "tokens_out": [3, 4],
            "finish": ["stop", "length"],
            **more,
        }
        for id in ids
    ]


def tabled(tmp_path: Path, *sources: list[Row], **params: Any) -> list[Candidate]:
    artifacts = []
    for number, rows in enumerate(sources):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        (folder / "rows.jsonl").write_bytes(b"\n".join(map(canonical_json, rows)))
        artifacts.append(Artifact(str(number), folder))

    class Context:
        directory = tmp_path

    context: Any = Context()
    candidate_table(context, CandidateTableParams(**params), answered=tuple(artifacts))
    rows = Artifact("t", tmp_path).rows()
    assert len({row["id"] for row in rows}) == len(rows)
    return list(read_candidates(rows))


def test_one_row_a_response_prompt_by_prompt(tmp_path: Path) -> None:
    sampling = {"b": {"temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.05}}
    checked = answered("b", "qr", checks=[CHECK, {**CHECK, "tests_passed": 1}])
    found = tabled(tmp_path, answered("a"), checked, domain="code", sampling=sampling)
    places = [f"{c.prompt_id}{c.source_model}{c.sample_index}" for c in found]
    assert " ".join(places[:6]) == "pa0 pa1 qa0 qa1 qb0 qb1"
    assert [c.right for c in found[2:6]] == [None, None, True, False]
    last = found[-1]
    assert (last.response, last.rm_score, last.response_tokens, last.finish) == (
        "two",
        0.2,
        4,
        "length",
    )
    assert last.sampling == sampling["b"]


def test_columns_of_the_wrong_length_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r'row "p" of a: 1 rewards for 2 responses'):
        tabled(tmp_path, answered("a", rewards=[0.1]), domain="code")


def test_a_mathematical_verdict() -> None:
    row = answered(
        "a", "p", checks=[{"correct": True, "reason": ""}, {"correct": None, "reason": "x"}]
    )
    found = list(table.candidates_of(row[0], CandidateTableParams(domain="mathematics")))
    assert [c.right for c in found] == [True, None]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_data_set_keeps_everything(tmp_path: Path, form: Any) -> None:
    found = tabled(tmp_path, answered("a", checks=[CHECK] * 2), answered("b"), domain="code")
    folder = tmp_path / "sets" / "code"
    settings = {"rules": {"gap": [0.01, 0.1]}}
    export(found, folder, form=form, title="Tried: code", licence="cc-by-4.0", settings=settings)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", f"candidates.{form}"]
    assert list(folder.parent.iterdir()) == [folder]
    if form == "parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(folder / "candidates.parquet")
        loaded = rows.to_pylist()
    else:
        loaded = [json.loads(line) for line in (folder / "candidates.jsonl").open()]
    assert [row["response"] for row in loaded] == [c.response for c in found]
    assert json.loads(loaded[0]["sampling"]) == {}
    assert loaded[0]["tests_passed"] == 2
    text = (folder / "README.md").read_text()
    header = text.split("---")[1]
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(header) == {
        "license": "cc-by-4.0",
        "pretty_name": "Tried: code",
        "configs": [{"config_name": "default", "data_files": f"candidates.{form}"}],
    }
    assert "| code | a | 2 | 4 | 4 | 4 | 0 | 0 |" in text
    assert "| code | b | 2 | 4 | 4 | 0 | 0 | 4 |" in text
    assert '"gap"' in text


def test_a_data_set_appears_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table, "card", full)
    with pytest.raises(StoreProblem, match="no space left"):
        export([], tmp_path / "set", form="jsonl")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").touch()
    with pytest.raises(UserError, match="exists"):
        export([], tmp_path / "set", form="jsonl")


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_hostile_names_stay_in_their_cells_and_broken_text_is_exported(
    form: Any, tmp_path: Path
) -> None:
    name = "a | b\n| x | y\n```\n# <img src=x> [l](http://e.x) \ud800"
    found = Candidate(
        domain=name, prompt_id="p", source_model=name, sample_index=0, response="lone \udc80",
        messages=({"role": "user", "content": "\ud83d"},), sampling={"\ud800": "\udfff"},
    )  # fmt: skip
    folder = tmp_path / "set"
    export([found], folder, form=form, title=name, licence=f"{name}: x", settings={name: name})
    text = (folder / "README.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {9}
    assert [line for line in text.splitlines() if line.startswith("```")] == ["```json", "```"]
    assert len([line for line in text.splitlines() if line.startswith("#")]) == 3
    assert "<img" not in text.split("---\n", 2)[2].partition("## Settings")[0]
    yaml = pytest.importorskip("yaml")
    header = yaml.safe_load(text.split("---\n")[1])
    assert set(header) == {"license", "pretty_name", "configs"}
    if form == "parquet":
        (row,) = (
            pytest.importorskip("pyarrow.parquet")
            .read_table(folder / "candidates.parquet")
            .to_pylist()
        )
        assert row["response"] == "lone \\udc80"


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({}, None),
        ({"correct": True}, True),
        ({"correct": False}, False),
        ({"static_ok": True, "tests_passed": 2, "tests_total": 2}, True),
        ({"static_ok": True, "tests_passed": 1, "tests_total": 2}, False),
        ({"static_ok": False, "tests_passed": 2, "tests_total": 2}, False),
        ({"static_ok": None, "tests_passed": 2, "tests_total": 2}, False),
        ({"static_ok": True, "tests_passed": 0, "tests_total": 0}, None),
        ({"correct": True, "static_ok": True, "tests_passed": 0, "tests_total": 1}, False),
    ],
)
def test_when_a_response_is_right(fields: dict[str, Any], right: bool | None) -> None:
    found = Candidate(domain="d", prompt_id="p", source_model="a", sample_index=0, response="r")
    assert found.model_copy(update=fields).right is right


def test_the_rows_of_a_table_by_hand(tmp_path: Path) -> None:
    rows = answered("b", "p", checks=[None, CHECK], tokens_out=None, finish=None)
    tabled(tmp_path, rows, domain="code", sampling={"a": {"top_p": 0.5}})
    common = {
        "domain": "code", "prompt_id": "p", "messages": [{"role": "user", "content": "p?"}],
        "source_model": "b", "sampling": {}, "correct": None, "response_tokens": None,
        "finish": None,
    }  # fmt: skip
    unchecked = {"static_ok": None, "tests_passed": None, "tests_total": None, "reason": ""}
    first = {"sample_index": 0, "response": "one", "rm_score": 0.1, **unchecked, "isolation": ""}
    second = {"sample_index": 1, "response": "two", "rm_score": 0.2, **CHECK}
    assert Artifact("t", tmp_path).rows() == [
        {"id": "code/p/b/0", **common, **first},
        {"id": "code/p/b/1", **common, **second},
    ]
    assert list(table.candidates_of(None, CandidateTableParams(domain="code"))) == []


def test_the_card_of_a_data_set_by_hand() -> None:
    def one(source: str, prompt: str, reward: float | None, correct: bool | None) -> Candidate:
        return Candidate(
            domain="m", prompt_id=prompt, source_model=source, sample_index=0, response="r",
            rm_score=reward, correct=correct,
        )  # fmt: skip

    found = [
        one("a", "p", 0.1, True), one("b", "p", None, None), one("a", "q", None, True),
        one("a", "q", 0.3, False),
    ]  # fmt: skip
    text = table.card(found, "candidates.jsonl", "Title", "mit", {"b": 1, "a": Path("x")})
    assert text.split("\n")[:17] == [
        "---", 'license: "mit"', 'pretty_name: "Title"',
        'configs: [{"config_name": "default", "data_files": "candidates.jsonl"}]', "---", "",
        "# Title", "", "4 candidates, one response each.", "",
        "| domain | source | prompts | responses | rewards | right | wrong | open |",
        "|---|---|---|---|---|---|---|---|",
        "| m | a | 2 | 3 | 2 | 2 | 1 | 0 |", "| m | b | 1 | 1 | 0 | 0 | 0 | 1 |", "",
        "## Settings", "",
    ]  # fmt: skip
    assert '```json\n{\n "a": "x",\n "b": 1\n}\n```\n\n## Licence\n\nPrompts come from' in text
    assert text.endswith("decide what may be trained on them.\n")


def test_a_data_set_has_defaults_and_says_which_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"crucible-bench\[train\]"):
        export([], tmp_path / "set")
    export([], tmp_path / "set", form="jsonl")
    text = (tmp_path / "set" / "README.md").read_text()
    assert text.startswith('---\nlicense: "other"\npretty_name: "Candidates"\n')
    assert "```json\n{}\n```" in text


def test_memory_does_not_grow_with_the_answers(tmp_path: Path) -> None:
    long = ["x" * 10_000, "y" * 10_000]
    ids = "".join(map(chr, range(1000, 1100)))
    sources = [answered(name, ids, responses=long) for name in "abcd"]
    tabled(tmp_path, *sources, domain="code")  # writes the files
    del sources
    artifacts = tuple(Artifact(str(n), tmp_path / str(n)) for n in range(4))

    class Context:
        directory = tmp_path

    context: Any = Context()
    tracemalloc.start()
    candidate_table(context, CandidateTableParams(domain="code"), answered=artifacts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000 < 8_000_000 < (tmp_path / "rows.jsonl").stat().st_size
