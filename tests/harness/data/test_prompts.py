"""Prompt sets from the nano world, from files, and from the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.errors import BadData, EnvironmentProblem, UnknownName, UserError
from harness.data import prompts
from harness.data.prompts import (
    ImportPromptsParams,
    import_prompts,
    prompt_text,
    prompts_identity,
)
from harness.engine.io import read_objects
from harness.engine.operations import Row
from harness.engine.plan import Plan


def imported(tmp_path: Path, ref: str | Path, **params: Any) -> list[Row]:
    context = SimpleNamespace(directory=tmp_path, progress=lambda *a, **k: None)
    import_prompts(context, ImportPromptsParams(ref=str(ref), **params))
    return read_objects(tmp_path / "rows.jsonl")


def written(tmp_path: Path, objects: list[Any], name: str = "in.jsonl") -> Path:
    path = tmp_path / name
    if path.suffix == ".json":
        path.write_text(json.dumps(objects))
    else:
        path.write_text("".join(json.dumps(item) + "\n" for item in objects))
    return path


def test_nano_prompts(tmp_path: Path) -> None:
    rows = imported(tmp_path, "nano:alpaca_eval2", limit=5, offset=2)
    assert len({row["id"] for row in rows}) == 5
    assert rows == imported(tmp_path, "nano:alpaca_eval2", limit=7)[2:]
    assert rows[0]["messages"] == [{"role": "user", "content": rows[0]["turns"][0]}]
    with pytest.raises(UnknownName, match="alpaca_eval2"):
        imported(tmp_path, "nano:alpaca_eval")


@pytest.mark.parametrize("name", ["in.jsonl", "in.json"])
def test_files(tmp_path: Path, name: str) -> None:
    path = written(
        tmp_path,
        [
            {"id": 1, "prompt": "one", "category": "math"},
            {"prompt_id": "f" * 64, "instruction": "two"},
            {"messages": [{"role": "user", "content": "three"}]},
            {"prompt": {"role": "user", "content": "four"}},
            {"prompt": [{"role": "user", "content": "5"}, {"role": "assistant", "content": "no"}]},
        ],
        name,
    )
    rows = imported(tmp_path, path)
    assert [row["messages"][-1]["content"] for row in rows] == ["one", "two", "three", "four", "5"]
    assert rows[0]["id"] == "1"
    assert rows[0]["category"] == "math"
    assert rows[1]["id"] == "f" * 64
    assert len(rows[2]["id"]) == 32
    (row,) = imported(tmp_path, written(tmp_path, [{"q": "x", "prompt": "y"}]), field="q")
    assert row["messages"][0]["content"] == "x"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', "in.jsonl, line 2: not JSON"),
        (
            '{"text": "a"}\n',
            "row 1: no messages or prompt or .* or turns or conversations; found text",
        ),
        ('{"prompt": 3}\n', "row 1: prompt: expected text or messages"),
        ('{"prompt": " "}\n', "row 1: prompt: the prompt is empty"),
        (
            '{"id": 1, "prompt": "a"}\n{"id": 1, "prompt": "b"}\n',
            'rows 1 and 2 both have the id "1"',
        ),
    ],
)
def test_bad_files_name_the_place(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    with pytest.raises(BadData, match=reason):
        imported(tmp_path, path)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": "a"}])
    planned = prompts_identity(str(path))
    assert imported(tmp_path, path, digest=planned)
    written(tmp_path, [{"prompt": "b"}])
    with pytest.raises(BadData, match="changed since the plan was made"):
        imported(tmp_path, path, digest=planned)


@pytest.mark.parametrize("ref", ["missing.jsonl", "data/missing.json", "a/b/c", "word"])
def test_references_that_lead_nowhere(tmp_path: Path, ref: str) -> None:
    with pytest.raises(UserError, match="expected nano:<split>"):
        imported(tmp_path, ref)


def test_an_empty_window(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 1 prompts; none from offset 3"):
        imported(tmp_path, written(tmp_path, [{"prompt": "a"}]), offset=3)


def test_hub_prompts_are_unique_and_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"prompt_id": "2", "prompt": "b", "chosen": "x"},
        {"prompt_id": "1", "prompt": "a", "chosen": "y"},
        {"prompt_id": "3", "prompt": "b", "chosen": "z"},
    ]
    monkeypatch.setattr(prompts, "load_dataset", lambda *_: rows)
    found = imported(tmp_path, "org/set", split="train")
    assert [(row["id"], row["messages"][0]["content"]) for row in found] == [("1", "a"), ("2", "b")]
    assert "chosen" not in found[0]


def test_columns_are_carried_and_responses_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"problem": "b", "gold": "2", "solution": "x"},
        {"problem": "a", "gold": "", "solution": "y"},
        {"problem": "b", "gold": "2", "solution": "z"},
    ]
    monkeypatch.setattr(prompts, "load_dataset", lambda *_: rows)
    carry = {"answer": "gold", "responses": "solution"}
    settings = {"field": "problem", "written_by": "model"}
    (found,) = imported(tmp_path, "org/set", carry=carry, **settings)
    assert (found["answer"], found["responses"], found["system"]) == ("2", ["x", "z"], "model")
    path = written(tmp_path, [{"prompt": "p", "gold": 7, "solution": "s"}, {"prompt": "q"}])
    (found,) = imported(tmp_path, path, carry=carry)
    assert (found["answer"], found["responses"]) == (7, ["s"])
    with pytest.raises(BadData, match="no row has tests; it has gold, "):
        imported(tmp_path, path, carry={"tests": "tests"})


def test_nano_prompts_carry_their_answers(tmp_path: Path) -> None:
    math = {"categories": ("math",), "limit": 3}
    for row in imported(tmp_path, "nano:train", carry={"answer": "answer"}, **math):
        assert row["answer"].isdigit()
    assert "answer" not in imported(tmp_path, "nano:train", **math)[0]


def test_hub_without_network_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="give a local file instead"):
        imported(tmp_path, "crucible-bench/not-here")


def test_the_text_of_a_prompt() -> None:
    user = {"role": "user", "content": "hi"}
    assert prompt_text([{"role": "system", "content": "be nice"}, user]) == "hi"
    turns = [user, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "bye"}]
    assert prompt_text(turns) == "user: hi\n\nassistant: hello\n\nuser: bye"


def test_questions_of_two_turns(tmp_path: Path) -> None:
    questions = [
        {"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite."]},
        {"prompt_id": 82, "prompt": ["Sum?", "Twice?"]},
    ]
    first, second = imported(tmp_path, written(tmp_path, questions))
    assert (first["id"], first["turns"]) == ("81", ["Write.", "Rewrite."])
    assert first["messages"] == [{"role": "user", "content": "Write."}]
    assert first["category"] == "writing"
    assert (second["id"], second["turns"]) == ("82", ["Sum?", "Twice?"])


def test_the_ids_of_published_files_are_kept(tmp_path: Path) -> None:
    (row,) = imported(tmp_path, written(tmp_path, [{"uid": "ab12", "prompt": "?"}]))
    assert row["id"] == "ab12"
    both = written(tmp_path, [{"uid": "ab12", "id": "own", "prompt": "?"}])
    assert imported(tmp_path, both)[0]["id"] == "own"


def test_categories_are_chosen_before_the_window(tmp_path: Path) -> None:
    path = written(
        tmp_path, [{"id": n, "prompt": "?", "category": ["even", "odd"][n % 2]} for n in range(6)]
    )
    found = imported(tmp_path, path, categories=["odd"], limit=2)
    assert [row["id"] for row in found] == ["1", "3"]
    with pytest.raises(UserError, match=r'no category in .* named "od"; did you mean "odd"'):
        imported(tmp_path, path, categories=["od"])


def test_the_size_of_a_published_set_is_known_beforehand() -> None:
    plan = Plan()
    for more, rows in (
        ({}, 750),
        ({"categories": ("hard_prompt",)}, 500),
        ({"limit": 20}, 20),
        ({"offset": 740, "limit": 20}, 10),
    ):
        handle = plan.stage("import_prompts", ref="official:arena_hard_v2.0", **more)
        assert plan.estimates()[handle.id].rows == rows


def test_an_official_set_that_is_absent_is_a_matter_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path))
    assert prompts_identity("official:mt_bench").startswith("official:mt_bench@")
    with pytest.raises(EnvironmentProblem, match=r"mt_bench/question\.jsonl"):
        imported(tmp_path, "official:mt_bench")
    with pytest.raises(UnknownName, match="mt_bench"):
        imported(tmp_path, "official:mt_bnch")


@pytest.mark.realdata
def test_plain_files_of_published_questions(
    tmp_path: Path, realdata: Callable[[str], Path]
) -> None:
    assert len(imported(tmp_path, realdata("mt_bench") / "question.jsonl.gz")) == 80
    rows = imported(tmp_path, realdata("arena_hard") / "v2.0_question.jsonl.gz")
    assert len({row["id"] for row in rows}) == 750
    assert len(imported(tmp_path, realdata("alpaca_eval2") / "instructions.jsonl.gz")) == 805


CONVERSATIONS = [
    [("human", "one"), ("gpt", "a"), ("human", "two"), ("gpt", "b")],
    [("system", "S"), ("user", "one"), ("chatgpt", "a")],
    [("bing", "before"), ("human", "one"), ("bard", "a"), ("user", "two")],
]


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("last", [["one", "a", "two"], ["S", "one"], ["one", "a", "two"]]),
        ("first", [["one"], ["S", "one"], ["one"]]),
    ],
)
def test_conversations_of_sharegpt(tmp_path: Path, turn: str, expected: list[list[str]]) -> None:
    rows = [
        {"id": str(n), "conversations": [{"from": who, "value": text} for who, text in said]}
        for n, said in enumerate(CONVERSATIONS)
    ]
    found = imported(tmp_path, written(tmp_path, rows), turn=turn)
    assert [[m["content"] for m in row["messages"]] for row in found] == expected
    assert all(row["messages"][-1]["role"] == "user" for row in found)
    assert "conversations" not in found[0]
    assert "turn" not in ImportPromptsParams(ref="a").model_dump()


def test_a_conversation_without_a_question_is_refused(tmp_path: Path) -> None:
    only = [{"conversations": [{"from": "gpt", "value": "x"}]}]
    with pytest.raises(BadData, match=r"row 1: conversations: the prompt is empty"):
        imported(tmp_path, written(tmp_path, only))
    tools = [{"conversations": [{"from": "function_call", "value": "x"}]}]
    with pytest.raises(BadData, match=r'a message of a tool .role "function_call"'):
        imported(tmp_path, written(tmp_path, tools))


def test_text_parts_and_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parts = [{"role": "user", "content": [{"type": "text", "text": "one"}]}]
    parquet.write_table(pyarrow.Table.from_pylist([{"messages": parts}]), tmp_path / "a.parquet")
    (row,) = imported(tmp_path, tmp_path / "a.parquet")
    assert row["messages"] == [{"role": "user", "content": "one"}]
