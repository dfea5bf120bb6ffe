"""Bodies and keys of calls; what is read from replies."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.backends.api import wire
from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Message, Sampling

HOST = Endpoint.parse("m@http://127.0.0.1:1/v1")
MESSAGES = (Message(role="system", content="s"), Message(role="user", content="é"))
GOLDEN = "ab8e06f9308aec874c46ad43cdf50513b9c543f86b9c00bae78c4a8443f4c099"
HOW = Sampling(temperature=0.5, top_p=0.9, max_tokens=7, seed=3, top_logprobs=5)


def call(how: Sampling = HOW, endpoint: Endpoint = HOST, id: str = "r") -> wire.Call:
    return wire.chat_call(endpoint, id, MESSAGES, how)


def test_a_chat_body() -> None:
    assert wire.body(call(), HOST, "max_completion_tokens") == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "é"}],
        "max_completion_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_a_schema_for_the_reply() -> None:
    how = Sampling(reply_schema='{"type": "object"}')
    asked = wire.body(call(how), HOST, "max_tokens")["response_format"]
    schema = {"name": "reply", "strict": True, "schema": {"type": "object"}}
    assert asked == {"type": "json_schema", "json_schema": schema}
    assert call(how).key != call(Sampling()).key
    assert "reply_schema" not in Sampling().model_dump()


def test_bodies_with_token_ids() -> None:
    answers = wire.token_call(HOST, "r", "completions", [1, 2], HOW)
    body = wire.body(answers, HOST, "max_completion_tokens")
    assert (body["prompt"], body["max_tokens"], body["logprobs"]) == ([1, 2], 7, 5)
    assert body["return_token_ids"] is True
    scores = wire.token_call(HOST, "r", "score", [1, 2], Sampling(max_tokens=1))
    body = wire.body(scores, HOST, "max_tokens")
    assert (body["max_tokens"], body["prompt_logprobs"]) == (1, 1)


def test_the_key_is_of_what_shapes_the_answer() -> None:
    key = call().key
    assert len(key) == 64
    assert call(id="other").key == key
    moved = {"identity": HOST.identity, "key": "SOME_KEY", "max_tokens_field": "max_tokens"}
    assert call(endpoint=Endpoint.parse("m@http://10.0.0.9/v1", moved)).key == key
    for change in ({"seed": 4}, {"temperature": 0.6}, {"n": 2}, {"top_logprobs": None}):
        assert call(HOW.model_copy(update=change)).key != key
    assert call(endpoint=Endpoint.parse("n@http://127.0.0.1:1/v1")).key != key
    system = Endpoint.parse("m@http://127.0.0.1:1/v1", {"system": "false"})
    assert call(endpoint=system).key != key


def test_the_key_is_the_same_in_another_process() -> None:
    endpoint = Endpoint.parse("gpt-4", {"identity": "openai"})
    found = wire.chat_call(endpoint, "r", (Message(role="user", content="hi"),), Sampling())
    assert found.key == GOLDEN


def test_tokens_are_bounded_from_above() -> None:
    long = wire.chat_call(HOST, "r", (Message(role="user", content="word " * 300),), HOW)
    assert long.tokens_in >= 300
    assert long.tokens == long.tokens_in + 7
    chinese = wire.chat_call(HOST, "r", (Message(role="user", content="评" * 300),), HOW)
    assert chinese.tokens_in >= 300


def test_a_broken_text_can_be_asked() -> None:
    message = Message.model_construct(role="user", content="half a \ud83d pair")
    broken = wire.chat_call(HOST, "r", (message,), HOW)
    assert wire.body(broken, HOST, "max_tokens")["messages"][0]["content"] == message.content


def chat(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "text"}, "finish_reason": "stop", **choice}]}


@pytest.mark.parametrize(
    ("choice", "text", "finish"),
    [
        ({}, "text", "stop"),
        ({"finish_reason": "length"}, "text", "length"),
        ({"finish_reason": "content_filter"}, "text", "content_filter"),
        ({"finish_reason": None}, "text", "stop"),
        ({"message": {"content": None}}, "", "stop"),
        ({"message": {"content": None, "refusal": "I cannot"}}, "I cannot", "refusal"),
        ({"message": {"content": "a", "reasoning_content": "thoughts"}}, "a", "stop"),
        ({"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}}, "ab", "stop"),
        ({"message": {"content": [{"type": "thinking", "text": "a"}, "b"]}}, "b", "stop"),
        ({"message": {"content": [{"type": "refusal", "refusal": "no"}]}}, "no", "stop"),
    ],
)
def test_texts_and_finish(choice: dict[str, Any], text: str, finish: str) -> None:
    (found,) = wire.read(call(), chat(**choice))
    assert (found.text, found.finish) == (text, finish)


def test_samples_come_in_the_servers_order() -> None:
    choices = [{"index": i, "message": {"content": str(i)}} for i in (2, 0, 1)]
    found = wire.read(call(HOW.model_copy(update={"n": 3})), {"choices": choices})
    assert [c.text for c in found] == ["0", "1", "2"]


def test_top_logprobs_are_sorted_and_sound() -> None:
    tops = [
        {"token": "low", "logprob": -3.0},
        {"token": "never", "logprob": -9999.0},
        {"token": "infinite", "logprob": -math.inf},
        {"token": "null", "logprob": None},
        {"token": "high", "logprob": 1e-7},
    ]
    entries = [
        {"token": "high", "logprob": 0.0, "top_logprobs": tops},
        {"token": "alone", "logprob": -1.5, "top_logprobs": []},
    ]
    (found,) = wire.read(call(), chat(logprobs={"content": entries}))
    assert found.top_logprobs == ((("high", 0.0), ("low", -3.0)), (("alone", -1.5),))
    for nothing in (None, {}, {"content": None}, {"content": []}):
        (found,) = wire.read(call(), chat(logprobs=nothing))
        assert found.top_logprobs is None


@pytest.mark.parametrize(
    ("finish", "reason", "ids"),
    [
        ("stop", None, (5, 6)),
        ("stop", 7, (5, 6)),
        ("stop", "END", (5, 6, 7)),
        ("length", None, (5, 6, 7)),
    ],
)
def test_token_ids_come_without_the_one_that_stopped(
    finish: str, reason: object, ids: tuple[int, ...]
) -> None:
    tops = [{"a": -0.5, "b": -1.0, "c": -2.0}] * 3
    choice = {
        "text": "t",
        "finish_reason": finish,
        "stop_reason": reason,
        "token_ids": [5, 6, 7],
        "logprobs": {"top_logprobs": tops},
    }
    asked = wire.token_call(
        HOST, "r", "completions", [1], HOW.model_copy(update={"top_logprobs": 2})
    )
    (found,) = wire.read(asked, {"choices": [choice]})
    assert found.token_ids == ids
    assert found.top_logprobs == ((("a", -0.5), ("b", -1.0)),) * len(ids)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": "text"},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": "text"}]},
        {"choices": [{"message": {"content": {"text": "x"}}}]},
        chat(logprobs={"content": [{"top_logprobs": [{"token": "m"}]}]}),
        chat(logprobs={"content": 5}),
        {"error": {"message": "overloaded"}},
        {"error": "overloaded"},
    ],
)
def test_what_is_no_answer(reply: Any) -> None:
    with pytest.raises(ValueError, match=r"repl|error"):
        wire.read(call(), reply)


def test_usage() -> None:
    counted = {"prompt_tokens": 3, "completion_tokens": 4}
    assert wire.usage({"usage": counted}) == (3, 4)
    assert wire.usage({"usage": {"prompt_tokens": 3}}) == (3, 0)
    assert wire.usage({"usage": None}) is None
    assert wire.usage({"usage": {"total": 3}}) is None


def test_scores_are_those_of_the_answer() -> None:
    entries = [None, {"5": {"logprob": -9.0}}, {"6": {"logprob": -0.5}}, {"7": {"logprob": -0.25}}]
    reply = {"choices": [{"text": "", "prompt_logprobs": entries}]}
    found = wire.score("r", reply, [6, 7])
    assert (found.logp, found.tokens, found.token_logps) == (-0.75, 2, (-0.5, -0.25))
    assert wire.score("r", reply, [6, 8]).error is not None
    assert wire.score("r", {"choices": [{"text": ""}]}, [6]).logp is None
