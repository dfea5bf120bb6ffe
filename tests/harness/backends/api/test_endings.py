"""Why answers of providers end, and thoughts that they return apart."""

from __future__ import annotations

from typing import Any

import pytest

from harness.backends.api.endings import Unfinished, finish_of, thought_of


@pytest.mark.parametrize(
    ("reason", "text", "finish"),
    [
        ("stop", "x", "stop"),
        (None, "x", "stop"),
        ("end_turn", "x", "stop"),
        ("STOP", "x", "stop"),
        ("length", "x", "length"),
        ("MAX_TOKENS", "", "length"),
        ("content_filter", "", "content_filter"),
        ("content_filter", "half", "content_filter"),
        ("SAFETY", "", "content_filter"),
        ("tool_calls", "", "tool_calls"),
        ("tool_calls", "An answer.", "stop"),
    ],
)
def test_every_known_reason_has_a_meaning(reason: str | None, text: str, finish: str) -> None:
    assert finish_of({"finish_reason": reason}, text) == finish


def test_a_refusal_in_its_own_field_is_counted_as_one() -> None:
    refused = {"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}
    assert finish_of(refused, "I cannot.") == "refusal"
    said = {"message": {"content": "Yes.", "refusal": None}, "finish_reason": "stop"}
    assert finish_of(said, "Yes.") == "stop"


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "error", "error": {"code": 502, "message": "Upstream provider lost"}},
        {"finish_reason": "stop", "error": {"message": "Upstream provider lost"}},
        {"finish_reason": "error"},
        {"finish_reason": "abort"},
        {"finish_reason": "insufficient_system_resource"},
        {"finish_reason": "a new word"},
    ],
)
def test_lost_answers_and_unknown_reasons_are_failures(choice: dict[str, Any]) -> None:
    with pytest.raises(Unfinished, match="the server lost the answer"):
        finish_of(choice, "Half an ans")


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning_content": "hm"},
        {"content": "4", "reasoning": "hm"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}]},
    ],
)
def test_a_thought_that_is_returned_apart_is_found(message: dict[str, Any]) -> None:
    assert thought_of(message) == "hm"
    assert thought_of({"content": "4", "reasoning_content": None}) == ""
