"""Published forms of preferences: what each becomes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadData
from harness.data.preference_forms import preference_row, ranked_answers

WHERE = "f.jsonl, row 3"
Item = dict[str, Any]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def said(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


ASKED = [user("Hi")]
SYSTEM = {"role": "system", "content": "S"}
DIALOGUE = [SYSTEM, user("Hi"), answer("x"), user("y")]
HUMAN = "\n\nHuman: Hi\n\nAssistant:"

PAIRS: dict[str, tuple[Item, list[Any]]] = {
    "texts": ({"prompt": "Hi", "chosen": "A", "rejected": "B"}, ASKED),
    "texts in lists": ({"prompt": "Hi", "chosen": ["A"], "rejected": ["B"]}, ASKED),
    "TRL, messages": (
        {"prompt": [SYSTEM, *ASKED], "chosen": [answer("A")], "rejected": [answer("B")]},
        [SYSTEM, *ASKED],
    ),
    "TRL, dialogue as prompt": (
        {"prompt": DIALOGUE, "chosen": [answer("A")], "rejected": [answer("B")]},
        DIALOGUE,
    ),
    "TRL, implicit prompt": (
        {"chosen": [*DIALOGUE, answer("A")], "rejected": [*DIALOGUE, answer("B")]},
        DIALOGUE,
    ),
    "TRL, answers of several turns": (
        {
            "prompt": DIALOGUE[:2],
            "chosen": [*DIALOGUE[2:], answer("A")],
            "rejected": [*DIALOGUE[2:], answer("B")],
        },
        DIALOGUE,
    ),
    "TRL, texts with the same beginning": (
        {"chosen": "Hi there. A", "rejected": "Hi there. B"},
        [user("Hi there.")],
    ),
    "UltraFeedback-binarized": (
        {
            "prompt": "Hi",
            "chosen": [*ASKED, answer("A")],
            "rejected": [*ASKED, answer("B")],
            "messages": [*ASKED, answer("A")],
        },
        ASKED,
    ),
    "HH-RLHF": ({"chosen": f"{HUMAN} A", "rejected": f"{HUMAN} B"}, ASKED),
    "HH-RLHF, dialogue": (
        {key: f"{HUMAN} x\n\nHuman: y\n\nAssistant: {text}"
         for key, text in (("chosen", "A"), ("rejected", "B"))},
        DIALOGUE[1:],
    ),
    "HH-RLHF with a prompt": ({"prompt": HUMAN, "chosen": " A", "rejected": " B"}, ASKED),
    "OpenAI": (
        {
            "input": {"messages": ASKED, "tools": []},
            "preferred_output": [answer("A")],
            "non_preferred_output": [answer("B")],
        },
        ASKED,
    ),
    "Argilla": (
        {"instruction": "Hi", "chosen_response": "A", "rejected_response": "B"},
        ASKED,
    ),
    "Orca": ({"system": "S", "question": "Hi", "chosen": "A", "rejected": "B"}, [SYSTEM, *ASKED]),
    "Stack Exchange": ({"question": "Hi", "response_j": "A", "response_k": "B"}, ASKED),
    "LLaMA Factory": (
        {
            "conversations": [said("human", "Hi")],
            "chosen": said("gpt", "A"),
            "rejected": said("gpt", "B"),
        },
        ASKED,
    ),
    "Alpaca": (
        {"instruction": "y", "input": "z", "history": [["Hi", "x"]], "chosen": "A",
         "rejected": "B"},
        [user("Hi"), answer("x"), user("y\nz")],
    ),
    "ShareGPT": (
        {"chosen": [said("human", "Hi"), said("gpt", "A")],
         "rejected": [said("human", "Hi"), said("gpt", "B")]},
        ASKED,
    ),
    "Nectar": (
        {
            "prompt": HUMAN,
            "answers": [{"answer": text, "rank": rank} for text, rank in (("C", 2), ("A", 1),
                                                                         ("B", 7))],
        },
        ASKED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    item, messages = PAIRS[name]
    row = preference_row(item, WHERE)
    assert row is not None
    assert row["messages"] == messages
    assert row["responses"] == {"target": "A", "rejected": "B"}
    assert set(row) == {"id", "messages", "responses"}


def test_quadruples_of_wrpo_name_the_source_first() -> None:
    item: Item = {
        "prompt_id": "f" * 64,
        "prompt": user("Hi"),
        "chosen": [answer("S"), answer("T")],
        "rejected": [answer("R")],
    }
    row = preference_row(item, WHERE)
    assert row == {
        "id": "f" * 64,
        "messages": ASKED,
        "responses": {"source": "S", "target": "T", "rejected": "R"},
    }
    again = preference_row({**row, "rewards": {"source": 3, "target": 2, "rejected": 1}}, WHERE)
    assert again == {**row, "rewards": {"source": 3.0, "target": 2.0, "rejected": 1.0}}
    scored = preference_row({**item, "score_chosen": [3, 2], "score_rejected": 1}, WHERE)
    assert scored == again


def test_rows_of_other_operations_are_read() -> None:
    row = {"id": 4, "messages": ASKED, "responses": {"chosen": "A", "rejected": "B"}}
    found = preference_row(row, WHERE)
    assert found == {"id": "4", "messages": ASKED, "responses": {"target": "A", "rejected": "B"}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("score_chosen", "score_rejected"),
        ("chosen_avg_rating", "rejected_avg_rating"),
        ("chosen_rating", "rejected_rating"),
    ],
)
def test_scores_become_rewards(one: str, other: str) -> None:
    item = {"prompt": "Hi", "chosen": "A", "rejected": "B", one: 8.5, other: "7"}
    row = preference_row(item, WHERE)
    assert row is not None
    assert row["rewards"] == {"target": 8.5, "rejected": 7.0}
    assert "rewards" not in (preference_row({**item, one: None}, WHERE) or {})
    with pytest.raises(BadData, match=f"{WHERE}: {one} and {other} are .* finite numbers"):
        preference_row({**item, one: float("nan")}, WHERE)


def test_scored_answers_of_ultrafeedback() -> None:
    answers = [
        {"response": text, "overall_score": score, "model": "m"}
        for text, score in (("B", 2.0), ("A", 7), ("C", 7))
    ]
    item: Item = {"instruction": "Hi", "completions": answers}
    row = preference_row(item, WHERE)
    assert row is not None
    assert row["responses"] == {"target": "A", "rejected": "B"}
    assert row["rewards"] == {"target": 7.0, "rejected": 2.0}
    assert [found.text for found in ranked_answers(item, WHERE)] == ["A", "C", "B"]
    assert preference_row({**item, "completions": answers[1:]}, WHERE) is None
    with pytest.raises(BadData, match="completions has 1 answers; expected at least two"):
        ranked_answers({"completions": answers[:1]}, WHERE)
    with pytest.raises(BadData, match="completions, item 1: expected response and overall_score"):
        ranked_answers({"completions": [{"response": "A"}]}, WHERE)


@pytest.mark.parametrize("rejected", ["A", " A\n"])
def test_a_row_whose_answers_are_the_same_teaches_nothing(rejected: str) -> None:
    assert preference_row({"prompt": "Hi", "chosen": "A", "rejected": rejected}, WHERE) is None


OK = {"prompt": "Hi", "chosen": "A", "rejected": "B"}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"prompt": "Hi", "chosen": "A"}, "chosen without rejected; expected both"),
        ({**OK, "rejected": None}, "chosen without rejected"),
        ({**OK, "chosen": []}, "rejected without chosen"),
        ({"text": "A"}, "no chosen and rejected; found the columns text"),
        ({"prompt": "a", "completion": "b", "label": True}, "single answers with a label"),
        ({**OK, "chosen": " "}, "chosen is empty"),
        ({**OK, "rejected": ""}, "rejected is empty"),
        ({**OK, "prompt": "  "}, "the prompt is empty"),
        ({"chosen": "A", "rejected": "B"}, "no prompt; expected one of prompt, messages"),
        ({"chosen": [answer("A")], "rejected": [answer("B")]}, "no prompt; expected one of"),
        ({**OK, "chosen": 3}, "chosen: expected text or messages with role and content, found 3"),
        (
            {"chosen": [*ASKED, answer("A")], "rejected": [user("Ho"), answer("B")]},
            'different prompts: message 1 is "Hi" .user. and "Ho" .user.',
        ),
        (
            {"chosen": [*ASKED, answer("A")], "rejected": [*DIALOGUE[1:], answer("B")]},
            "different prompts: 1 and 3 messages",
        ),
        (
            {"prompt": "Ho", "chosen": [*ASKED, answer("A")], "rejected": [*ASKED, answer("B")]},
            'the column prompt has "Ho", but the conversation begins with "Hi"',
        ),
        ({"chosen": ASKED, "rejected": ASKED}, "chosen: the last message is the user's"),
        ({**OK, "prompt": [SYSTEM]}, "ends with a message of the system; expected the user's"),
        ({**OK, "prompt": [*ASKED, answer("x")]}, "ends with a message of the assistant"),
        ({**OK, "chosen": ["a", "b", "c"]}, "found 3 chosen and 1 rejected answers"),
        ({**OK, "chosen": ["a", "b"], "rejected": ["a", "b"]}, "found 2 chosen and 2 rejected"),
        ({**OK, "prompt": [{"role": "tool", "content": "x"}]}, "prompt: found a message of a tool"),
        ({**OK, "tools": [{"type": "function"}]}, "found tools"),
        ({"id": 1, "messages": ASKED, "responses": {"rejected": "B"}}, 'no text "chosen"'),
    ],
)
def test_a_bad_row_says_place_what_was_found_and_what_was_expected(item: Item, reason: str) -> None:
    with pytest.raises(BadData, match=f"^{WHERE}: .*{reason}"):
        preference_row(item, WHERE)


def test_the_id_is_that_of_the_row_or_of_its_content() -> None:
    ids = [(preference_row({**OK, **more}, WHERE) or {})["id"] for more in ({}, {"prompt_id": 7})]
    assert ids[1] == "7"
    same = preference_row({"instruction": "Hi", "chosen": "A", "rejected": "B"}, WHERE)
    assert same is not None
    assert same["id"] == ids[0]
