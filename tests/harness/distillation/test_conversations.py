"""Conversations of several exchanges: every answer is scored, carried over and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData, UnknownName, UserError
from harness.distillation.documents import encode_chat, fit_conversations, scored_spans
from harness.distillation.mapping import map_teacher
from harness.distillation.settings import MappingSettings
from harness.engine.operations import Row
from harness.models import chat
from tests.harness.distillation.test_mapping import made, right_share, side
from tests.harness.suites.perplexity.test_perplexity import imported, read, write
from tests.tokenizers import nano

__all__ = ["made"]
SAID = [
    "What is 7 + 5?",
    "Answer: 12.",
    "And one more?",
    "Answer: 13. naïve café",
    "Sort: b a",
    "a b",
]
TURNS = [
    {"role": "user" if n % 2 == 0 else "assistant", "content": text} for n, text in enumerate(SAID)
]
ROW: Row = {"id": "d", "messages": TURNS[:-1], "response": SAID[-1]}
SOURCES = ("target", "source_a", "source_b", "source_c")


@pytest.mark.parametrize("name", SOURCES)
def test_the_labels_are_the_answers_with_their_ends(name: str) -> None:
    tokenizer = nano(name)[0]
    tokens = encode_chat(tokenizer, ROW).tokens
    spans = scored_spans(tokens.labels)
    assert len(spans) == 3
    for (start, stop), answer in zip(spans, SAID[1::2]):
        assert tokens.labels[start:stop] == tokens.input_ids[start:stop]
        assert tokens.input_ids[stop - 1] == chat.end_of_turn_id(tokenizer)
        said = tokenizer.decode(tokens.input_ids[start : stop - 1])
        assert said.strip() == answer
        assert answer not in tokenizer.decode(tokens.input_ids[:start])
    assert tokens.input_ids[: spans[0][0]] == chat.prompt_ids(tokenizer, TURNS[:1])[: spans[0][0]]


def test_rows_of_alpaca_are_conversations(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"instruction": "Translate.", "input": "Hund", "output": "dog"},
        {"instruction": "Say hi.", "input": "", "output": "Hi."},
        {"instruction": "Say bye.", "output": "Bye."},
    ]
    path = write(tmp_path / "alpaca.jsonl", rows)
    found = imported(tmp_path / "a", path)
    asked = [row["messages"][0]["content"] for row in found]
    assert asked == ["Translate.\n\n### Input:\nHund", "Say hi.", "Say bye."]
    assert [row["response"] for row in found] == ["dog", "Hi.", "Bye."]
    for lacking in ({"output": " "}, {"output": None}, {"instruction": " "}):
        path = write(tmp_path / "bad.jsonl", [{**rows[0], **lacking}])
        with pytest.raises(BadData, match="row 1: no text"):
            imported(tmp_path / "b", path)


def test_an_answer_that_the_template_rewrites_is_refused() -> None:
    tokenizer = nano("target")[0]
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace("message['content']", "message['content'] | upper")
    if tokenizer.chat_template == template:
        tokenizer.chat_template = template.replace("content']", "content'] | upper")
    assert tokenizer.chat_template != template
    try:
        with pytest.raises(BadData, match=r'conversation "d": .* does not repeat message 2;'):
            encode_chat(tokenizer, ROW)
    finally:
        tokenizer.chat_template = template


def test_long_conversations_lose_their_last_exchanges() -> None:
    tokenizers = [nano(name)[0] for name in SOURCES]
    sizes = []
    for last in (5, 3, 1):
        row = {"id": "d", "messages": TURNS[:last], "response": SAID[last]}
        sizes.append(max(len(encode_chat(t, row).tokens.input_ids) for t in tokenizers))
    assert sizes == sorted(sizes, reverse=True)
    for limit, left, counts in (
        (sizes[0], 5, (0, 0)), (sizes[0] - 1, 3, (1, 0)), (sizes[2], 1, (1, 0)),
        (sizes[2] - 1, 0, (0, 1)),
    ):  # fmt: skip
        rows, found = fit_conversations([ROW], tokenizers, limit)
        assert sum(len(row["messages"]) for row in rows) == left
        assert (found["cut"], found["left_out"]) == counts
        assert all(row["response"] == SAID[left] for row in rows)
    with pytest.raises(BadData, match=f"more than {sizes[1]} tokens"):
        fit_conversations([ROW], tokenizers, sizes[1], refuse=True)


@pytest.mark.parametrize("source", SOURCES)
def test_every_answer_is_carried_over(source: str, made: Any, tmp_path: Path) -> None:
    base, other = side("target", True), side(source, True)
    rows = [ROW, {**ROW, "id": "single", "messages": TURNS[:1], "response": SAID[1]}]
    settings = MappingSettings()
    report = map_teacher(tmp_path / "to", rows, made(other, rows), base, other, settings)
    assert report.documents == 2
    from harness.distillation.shards import Teacher

    found = Teacher(tmp_path / "to")
    assert right_share(found, base, rows) > 0.6
    for row in rows:
        tokens = base.encode(row).tokens
        one = found.document(row["id"], tokens.input_ids)
        scored = np.array(tokens.labels[1:]) != -100
        known = one.logps[: len(scored), 0] > -np.inf
        assert not known[~scored].any()
        assert known[scored].mean() > 0.8
        for _, stop in scored_spans(tokens.labels):  # a turn's end is the end of a turn
            assert one.ids[stop - 2, 0] == tokens.input_ids[stop - 1]
        assert one.scored == scored.sum()


def test_bits_are_those_of_all_answers() -> None:
    (whole,) = read([{**ROW, "domain": "d"}], "target")
    parts = [
        {"id": str(n), "domain": "d", "messages": TURNS[:n], "response": SAID[n]} for n in (1, 3, 5)
    ]
    found = [
        row for part in parts for row in read([{**part, "messages": part["messages"]}], "target")
    ]
    alone = [row["bits"] for row in found]
    assert whole["bytes"] == sum(len(text.encode()) for text in SAID[1::2])
    # Each later reading scores the answers before it, too.
    assert whole["bits"] == pytest.approx(alone[-1], rel=1e-5)
    assert alone[0] < alone[1] < alone[2]


def test_shared_and_plain_forms_are_the_same_conversation(tmp_path: Path) -> None:
    names = {"user": "human", "assistant": "gpt"}
    shared = [{"from": names[m["role"]], "value": m["content"]} for m in TURNS]
    forms: list[Row] = [
        {"id": "a", "messages": TURNS[:-1], "response": SAID[-1]},
        {"id": "b", "messages": [*TURNS, {"role": "user", "content": "bye"}]},
        {"id": "c", "conversations": [{"from": "gpt", "value": "Hello"}, *shared]},
    ]
    rows = imported(tmp_path / "out", write(tmp_path / "rows.jsonl", forms))
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert [(row["messages"], row["response"]) for row in rows] == [(TURNS[:-1], SAID[-1])] * 3
    texts = imported(tmp_path / "texts", str(tmp_path / "rows.jsonl"), form="text")
    assert {row["text"] for row in texts} == {"\n".join(SAID)}


def test_as_many_exchanges_as_asked_for(tmp_path: Path) -> None:
    ref = write(tmp_path / "rows.jsonl", [{"messages": TURNS}])
    for exchanges, messages in ((1, 1), (2, 3), (3, 5), (9, 5)):
        (row,) = imported(tmp_path / str(exchanges), ref, exchanges=exchanges)
        assert row["messages"] == TURNS[:messages]
        assert row["response"] == SAID[messages]


def test_bad_conversations_are_named(tmp_path: Path) -> None:
    odd = {"conversations": [{"from": "human", "value": "1"}, {"from": "tool", "value": "2"}]}
    odd["conversations"].append({"from": "gpt", "value": "3"})
    ref = write(tmp_path / "odd.jsonl", [{"messages": TURNS}, odd])
    with pytest.raises(BadData, match='row 2: message 2 is from "tool"; expected system, user'):
        imported(tmp_path / "a", ref)
    ref = write(tmp_path / "long.jsonl", [{"messages": TURNS}])
    with pytest.raises(UserError, match="none of 1 documents fits into 3 tokens; raise max_tok"):
        imported(tmp_path / "b", ref, ("target", "source_a"), max_tokens=3)


def test_domains_are_chosen_or_named(tmp_path: Path) -> None:
    rows = imported(tmp_path / "a", "nano:train", limit=40)
    known = sorted({row["domain"] for row in rows})
    chosen = imported(tmp_path / "b", "nano:train", limit=40, domains=tuple(known[:2]))
    assert chosen == [row for row in rows if row["domain"] in known[:2]]
    with pytest.raises(UnknownName, match='"sums".*' + known[0]):
        imported(tmp_path / "c", "nano:train", limit=40, domains=("sums",))
