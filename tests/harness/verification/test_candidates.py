"""The candidate table and its data set."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, StoreProblem, UserError
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
