"""Files of stored answers: joins, refusals that name both places, and what is no answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.data.forms import instruction_id
from harness.data.stored_answers import StoredAnswers

Record = dict[str, Any]


def stored(tmp_path: Path, *records: Record, lead: str = "") -> StoredAnswers:
    path = tmp_path / "outputs.jsonl"
    path.write_text(lead + "\n".join(map(json.dumps, records)), encoding="utf-8")
    return StoredAnswers(str(path))


def said(id: str, answer: Any, **more: Any) -> Record:
    return {"id": id, "answers": [answer], **more}


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "Say hi."},
        {"prompt": "Say hi."},
        {"prompt": [{"role": "user", "content": "Say hi."}]},
        {"question": "Say hi. \r\n"},
        {"instruction": "Say hi.  "},
        {"messages": [{"role": "user", "content": "Say hi."}]},
        {"messages": [{"role": "system", "content": "H"}, {"role": "user", "content": "Say hi."}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]},
        {"instruction_sha256_16": instruction_id("Say hi.")},
        {"uid": 0},
    ],
)  # fmt: skip
def test_a_record_is_joined_by_every_form_of_the_prompt(tmp_path: Path, record: Record) -> None:
    assert stored(tmp_path, {**record, "responses": ["hi"]}).find(["0"], "Say hi.") == ["hi"]


def test_messages_with_the_answer_are_joined_by_the_text_of_the_question(tmp_path: Path) -> None:
    turns = [("user", "Say hi."), ("assistant", "hi"), ("user", "Again."), ("assistant", "hi!")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert stored(tmp_path, {"messages": messages}).find(["p1"], "Say hi.") == ["hi", "hi!"]


def test_contradicting_duplicates_name_both_records_and_models(tmp_path: Path) -> None:
    one = {"instruction": "Say hi.", "output": "hi", "generator": "a"}
    other = {"instruction": "Say hi. ", "output": "ho", "generator": "b"}
    with pytest.raises(BadData, match=r"records 1 and 3 .* the prompt 'Say hi.*of a and b"):
        stored(tmp_path, one, {**one, "instruction": "Else"}, other)
    with pytest.raises(BadData, match=r'records 1 and 2 .* question_id "81"'):
        stored(
            tmp_path,
            {"question_id": 81, "choices": [{"turns": ["x", "y"]}]},
            {"question_id": "81", "choices": [{"turns": ["x", "z"]}]},
        )
    found = stored(tmp_path, one, one)
    assert found.find([], "Say hi.") == ["hi"]
    assert found.counts["repeated"] == 1


def test_one_text_under_two_ids_is_joined_by_id_and_refused_by_text(tmp_path: Path) -> None:
    found = stored(tmp_path, said("a", "x", prompt="Hi?"), said("b", "y", prompt="Hi?"))
    assert found.find(["b"], "Hi?") == ["y"]
    with pytest.raises(BadData, match="records 1 and 2 have different answers to the prompt"):
        found.find(["c"], "Hi?")


def test_an_id_with_another_prompt_is_refused_and_a_template_is_not(tmp_path: Path) -> None:
    found = stored(tmp_path, said("q1", "x", prompt="What is two?"), said("q2", "y"))
    with pytest.raises(BadData, match=r"record 1: the prompt of id \"q1\" is 'What is two\?' in"):
        found.find(["q1"], "What is one?")
    assert found.find(["q2"], "Anything") == ["y"]
    rendered = stored(tmp_path, said("q1", "x", prompt="<|user|>\nWhat is two?\n<|assistant|>\n"))
    assert rendered.find(["q1"], "What is two?") == ["x"]


def test_a_running_number_does_not_hide_a_question_id(tmp_path: Path) -> None:
    first = said("82", "to 81", question_id=81)
    assert stored(tmp_path, first, said("83", "to 82", question_id=82)).find(["82"], "?") == [
        "to 82"
    ]


@pytest.mark.parametrize(
    ("value", "lack"),
    [
        (None, "null"),
        (float("nan"), "null"),
        ([], "null"),
        ("$ERROR$", r"\$ERROR\$"),
        (" [API_ERROR]\n", "API_ERROR"),
        ("$MODERATION$ YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES.", "MODERATION"),
    ],
)
def test_null_and_failure_markers_are_counted_and_are_no_answers(
    tmp_path: Path, value: Any, lack: str
) -> None:
    import re

    found = stored(tmp_path, said("a", value), said("b", "fine"))
    record = found.record(["a"], "?")
    assert record is not None
    assert record.answers == (None,)
    assert re.search(lack, record.lack(0))
    assert found.find(["a"], "?") == []
    assert sum(found.counts.values()) == 1


@pytest.mark.parametrize("value", ["$A$", "[[A]]", "ERROR", "**ERROR**", "", "No error.", "$5 $"])
def test_ordinary_answers_are_no_failure_markers(tmp_path: Path, value: str) -> None:
    assert stored(tmp_path, said("a", value)).find(["a"], "?") == [value]


def test_lists_and_content_parts_are_texts(tmp_path: Path) -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "one "},
        {"type": "text", "text": "two"},
    ]
    found = stored(
        tmp_path,
        {"instruction": "1?", "output": ["a", "b"]},
        {"instruction": "2?", "output": parts},
        {"instruction": "3?", "output": {"answer": "c"}},
        lead="\ufeff",
    )
    assert [found.find([], f"{number}?") for number in (1, 2, 3)] == [["a"], ["one two"], ["c"]]
    assert found.counts["content parts"] == 1
    assert found.counts["list (the first text is taken)"] == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"instruction": "1?", "output": 42}, "record 1: the output is '42', a number; expected"),
        ({"instruction": "1?", "output": True}, "true or false"),
        ({"id": "1", "output": [{"type": "image_url"}]}, "a part of type 'image_url'"),
        ({"id": "1", "choices": []}, "record 1: no answer in"),
        ({"id": "1", "messages": None}, "record 1: no answer in"),
        ({"id": "1", "answers": 3}, "record 1: no answer in"),
    ],
)
def test_other_outputs_are_refused_by_record(tmp_path: Path, record: Record, message: str) -> None:
    with pytest.raises(BadData, match=message):
        stored(tmp_path, record)
