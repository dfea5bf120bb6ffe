"""Messages of published data sets: roles, contents, transcripts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadData
from harness.data.conversations import SPEAKERS, messages_of, transcript

HI = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "value",
    [
        "Hi",
        HI,
        [HI],
        {"messages": [HI]},
        [{"from": "human", "value": "Hi"}],
        [{"from": "User", "value": "Hi"}],
        [{**HI, "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}],
        {"role": ["user"], "content": ["Hi"]},
        "\n\nHuman: Hi\n\nAssistant:",
    ],
)
def test_one_message_in_every_form(value: Any) -> None:
    assert messages_of(value, "f, row 1") == [HI]


@pytest.mark.parametrize("speaker", ["gpt", "chatgpt", "bing", "bard", "assistant"])
def test_speakers_of_sharegpt(speaker: str) -> None:
    found = messages_of([{"from": speaker, "value": "Hello"}], "f")
    assert found == [{"role": "assistant", "content": "Hello"}]
    assert set(SPEAKERS.values()) == {"system", "user", "assistant"}


def test_a_transcript_keeps_its_turns() -> None:
    text = "\n\nHuman: Write\n\ntwo lines: a\nb\n\nAssistant: a\n\nb\n\nHuman: More\n\nAssistant: c"
    assert [turn["content"] for turn in transcript(text) or ()] == [
        "Write\n\ntwo lines: a\nb", "a\n\nb", "More", "c",
    ]  # fmt: skip
    assert transcript("Human: a question about the Assistant: who?") is None
    assert transcript("What does Human: mean?") is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "expected text or messages with role and content, found 3"),
        ([{"role": "user"}], 'found {"role": "user"}'),
        ([{"role": "user", "content": None}], "expected text or messages"),
        ([{"role": "narrator", "content": "x"}], 'the role "narrator"; expected one of system'),
        ([{"role": "tool", "content": "x"}], 'a message of a tool \\(role "tool"\\)'),
        ([{"from": "observation", "value": "x"}], 'a message of a tool \\(role "observation"\\)'),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], "a call of a tool"),
        ([{**HI, "content": [{"type": "image_url"}]}], 'content part of type "image_url"'),
        ([{**HI, "content": []}], "expected text or messages"),
    ],
)
def test_anything_else_is_refused_with_place_and_what_was_found(value: Any, said: str) -> None:
    with pytest.raises(BadData, match=f"^f.jsonl, row 7: chosen: .*{said}"):
        messages_of(value, "f.jsonl, row 7: chosen")
