"""Stored answers beside prompts: sources, joins, refusals."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.data.answers import answers_identity
from harness.data.forms import instruction_id
from harness.data.sets import SETS, OfficialSet, Piece
from harness.engine.operations import Artifact, Row
from harness.nano import world

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]


def prompt(id: str, *turns: str, **more: Any) -> Row:
    return {"id": id, "messages": [{"role": "user", "content": turns[0]}], **more} | (
        {"turns": list(turns)} if len(turns) > 1 else {}
    )


def test_the_nano_baseline_answers_every_turn(run_operation: Run, rows_artifact: Make) -> None:
    items = world.items("mt_bench", 3)
    rows = rows_artifact([prompt(item.id, *item.turns) for item in items])
    for flavour in ("plain", "verbose", "concise"):
        made = run_operation("import_answers", {"source": f"nano:{flavour}"}, prompts=rows).rows()
        for item, row in zip(items, made, strict=True):
            assert row["answers"] == [world.baseline_answer(item, t, flavour) for t in (0, 1)]
            assert row["responses"] == row["answers"][:1]
            assert row["system"] == f"nano:{flavour}"


def test_references_exist_for_guided_categories_only(
    run_operation: Run, rows_artifact: Make
) -> None:
    items = world.items("mt_bench", 8)
    rows = rows_artifact([prompt(item.id, *item.turns) for item in items])
    params = {"source": "nano:reference", "partial": True}
    made = run_operation("import_answers", params, prompts=rows).rows()
    guided = {row["id"]: len(row["answers"]) for row in made}
    assert guided == {item.id: 2 if item.reference_guided else 0 for item in items}
    with pytest.raises(BadData, match="has no answer to prompt"):
        run_operation("import_answers", {"source": "nano:reference"}, prompts=rows)


FORMS = {
    "alpaca": {"instruction": "Say hi.", "output": "hi", "generator": "gpt"},
    "arena": {
        "uid": "a1",
        "messages": [
            {"role": "user", "content": "Say hi."},
            {"role": "assistant", "content": {"answer": "hi"}},
        ],
    },
    "fastchat": {"question_id": 81, "choices": [{"index": 0, "turns": ["hi", "ho"]}]},
    "own": {"id": "p1", "responses": ["hi", "a second sample"]},
    "dialogue": {"id": "p1", "answers": ["hi", "ho"]},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["json", "jsonl", "jsonl.gz"])
def test_answer_files_of_all_forms_are_joined(
    form: str, suffix: str, tmp_path: Path, run_operation: Run, rows_artifact: Make
) -> None:
    path = tmp_path / f"answers.{suffix}"
    other = FORMS["own"] | {"id": "other", "responses": ["\u2028 wrong"]}
    stored = [other, FORMS[form]]
    text = (
        json.dumps(stored)
        if suffix == "json"
        else "\n".join(json.dumps(item, ensure_ascii=False) for item in stored)
    )
    data = text.encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    rows = rows_artifact([prompt("p1", "Say hi.", uid="a1", question_id=81)])
    params = {"source": str(path), "digest": answers_identity(str(path))}
    (row,) = run_operation("import_answers", params, prompts=rows).rows()
    assert row["answers"][0] == "hi"
    assert len(row["answers"]) == (2 if form in ("fastchat", "dialogue") else 1)


def test_a_file_that_changed_or_lacks_answers_is_refused(
    tmp_path: Path, run_operation: Run, rows_artifact: Make
) -> None:
    rows = rows_artifact([prompt("p1", "Say hi.")])
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"id": "p2", "responses": ["x"]}), encoding="utf-8")
    params = {"source": str(path), "digest": answers_identity(str(path))}
    with pytest.raises(BadData, match='no answer to prompt "p1"'):
        run_operation("import_answers", params, prompts=rows)
    path.write_text(json.dumps({"id": "p1", "text": "x"}), encoding="utf-8")
    with pytest.raises(BadData, match="changed since the plan"):
        run_operation("import_answers", params, prompts=rows)
    params["digest"] = answers_identity(str(path))
    with pytest.raises(BadData, match="record 1: no answer"):
        run_operation("import_answers", params, prompts=rows)
    path.write_text("{", encoding="utf-8")
    params["digest"] = answers_identity(str(path))
    with pytest.raises(BadData, match="JSON"):
        run_operation("import_answers", params, prompts=rows)


def test_unknown_sources_say_what_is_expected(run_operation: Run, rows_artifact: Make) -> None:
    with pytest.raises(
        UserError, match=r"no answers .* expected nano:<flavour>, official:<set> or a \.json"
    ):
        answers_identity("nowhere.json")
    item = world.items("mt_bench", 1)[0]
    rows = rows_artifact([prompt(item.id, *item.turns)])
    with pytest.raises(UserError, match='no baseline flavour named "loud"'):
        run_operation("import_answers", {"source": "nano:loud"}, prompts=rows)


@pytest.mark.realdata
def test_published_answers_fit_the_published_prompts(
    realdata: Callable[[str], Path], run_operation: Run, rows_artifact: Make
) -> None:
    source = str(realdata("arena_hard") / "v0.1_answer_gpt-4-0314.jsonl.gz")
    with gzip.open(realdata("arena_hard") / "v0.1_question.jsonl.gz", "rt") as stream:
        questions = [json.loads(line) for line in stream]
    rows = [prompt(f"row{n}", q["prompt"], uid=q["uid"]) for n, q in enumerate(questions)]
    params = {"source": source, "digest": answers_identity(source)}
    made = run_operation("import_answers", params, prompts=rows_artifact(rows)).rows()
    assert len(made) == 500
    source = str(realdata("mt_bench") / "reference_answer_gpt-4.jsonl.gz")
    with gzip.open(realdata("mt_bench") / "question.jsonl.gz", "rt") as stream:
        questions = [json.loads(line) for line in stream]
    rows = [prompt(str(q["question_id"]), *q["turns"]) for q in questions]
    params = {"source": source, "digest": answers_identity(source), "partial": True}
    made = run_operation("import_answers", params, prompts=rows_artifact(rows)).rows()
    assert sum(len(row["answers"]) == 2 for row in made) == 30


def test_official_answers_are_joined_by_id_else_by_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_operation: Run, rows_artifact: Make
) -> None:
    def published(path: Path) -> dict[str, list[str]]:
        return {"p1": ["one"], instruction_id("Say hi."): ["hi"]}

    (tmp_path / "any.jsonl").write_text("")
    piece: Any = Piece("the answers", 2, None, ("any.jsonl",), published)
    monkeypatch.setitem(SETS, "mini", OfficialSet(SETS["mt_bench"].prompts, {"gpt": piece}))
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path))
    params = {"source": "official:mini", "digest": answers_identity("official:mini")}
    rows = rows_artifact([prompt("p1", "Else?"), prompt("other", "Say hi.")])
    made = run_operation("import_answers", params, prompts=rows).rows()
    assert [row["responses"] for row in made] == [["one"], ["hi"]]
    assert made[0]["system"] == "official:mini"
    with pytest.raises(BadData, match='no answer to prompt "p9"'):
        run_operation("import_answers", params, prompts=rows_artifact([prompt("p9", "What?")]))
    with pytest.raises(BadData, match="changed since the plan"):
        run_operation("import_answers", params | {"digest": "old"}, prompts=rows)


def test_categories_that_need_an_answer_to_every_turn_name_who_lacks_one(
    tmp_path: Path, run_operation: Run, rows_artifact: Make
) -> None:
    path = tmp_path / "references.jsonl"
    stored = [{"id": "a", "answers": ["x", "y"]}, {"id": "b", "answers": ["x"]}]
    path.write_text("\n".join(map(json.dumps, stored)), encoding="utf-8")
    rows = [prompt(id, "1?", "2?", category="math") for id in ("a", "b", "c")]
    rows.append(prompt("d", "1?", "2?", category="stem"))
    params = {"source": str(path), "digest": answers_identity(str(path)), "partial": True}
    made = run_operation("import_answers", params, prompts=rows_artifact(rows)).rows()
    assert [len(row["answers"]) for row in made] == [2, 1, 0, 0]
    with pytest.raises(BadData, match=r"2 of the prompts of math, .* every turn: b, c$"):
        run_operation(
            "import_answers", params | {"required": ["math"]}, prompts=rows_artifact(rows)
        )
