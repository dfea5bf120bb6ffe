"""Thought and answer: markers of every family at the start of a reply, and nowhere else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.models.thoughts import split_thought

FAMILIES = {
    "think": ("<think>", "</think>"),
    "attributes": ('<think duration="3">', "</think>"),
    "thinking": ("<thinking>", "</thinking>"),
    "thought": ("<thought>", "</thought>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "analysis": ("<analysis>", "</analysis>"),
    "scratchpad": ("<scratchpad>", "</scratchpad>"),
    "mistral": ("[THINK]", "[/THINK]"),
    "kimi": ("◁think▷", "◁/think▷"),
    "seed": ("<seed:think>", "</seed:think>"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "openthinker": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "harmony": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "harmony without special tokens": ("analysis", "assistantfinal"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_that_begins_the_reply_is_its_thought(family: str) -> None:
    opening, closing = FAMILIES[family]
    found = split_thought(f"{opening}Is it [[B]]?{closing}It is [[A]].")
    assert found.thought == "Is it [[B]]?"
    assert found.answer == "It is [[A]]."


@pytest.mark.parametrize("family", [name for name in FAMILIES if "without" not in name])
def test_a_thought_that_never_ends_has_no_answer(family: str) -> None:
    opening = FAMILIES[family][0]
    found = split_thought(f"\n{opening}Perhaps [[B]]. Let me check")
    assert found.answer is None
    assert "Perhaps [[B]]" in found.thought


@pytest.mark.parametrize(
    "reply",
    [
        "Assistant B leaks a raw <think> tag. Fine. [[A]]",
        "B shows <think> and </think> tags. [[A]]",
        "[[A]] Assistant B also leaves a stray </think> in its answer.",
        "[[A]] (B leaves </think> in.)",
        "The text `</think>` is left over. [[A]]",
        "[[A]]. Its `<|channel|>analysis<|message|>` marker is noise.",
        "analysis of both answers: A is right. [[A]]",
        "",
    ],
)
def test_markers_that_are_mentioned_are_text(reply: str) -> None:
    found = split_thought(reply)
    assert found.answer == reply
    assert found.thought == ""


def test_a_thought_that_began_in_the_prompt_ends_in_the_reply() -> None:
    assert split_thought("Perhaps B, hmm</think>It is A.").answer == "It is A."
    assert split_thought("Perhaps B</think> it is A.", opened=True).answer == " it is A."
    assert split_thought("Perhaps B, but", opened=True).answer is None


def test_blocks_nest_and_follow_one_another() -> None:
    found = split_thought("<THINK>a<think>1</think>2</THINK>\n<think>b</think>answer")
    assert found.answer == "answer"
    assert found.thought.endswith("b")
    assert split_thought("<think>B writes <think> twice.</think>answer").answer == "answer"


def test_wrappers_of_the_answer_go_with_the_thought() -> None:
    text = "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>"
    assert split_thought(text).answer == "b"
    assert split_thought("<think>a</think><answer>b</answer>").answer == "b"
    assert split_thought("<answer>b</answer>").answer == "<answer>b</answer>"


@given(st.text(alphabet="<>/thinkTHINK[]◁▷|analysis ", max_size=80))
def test_any_text_splits_into_its_own_parts(reply: str) -> None:
    found = split_thought(reply)
    assert len(found.answer or "") <= len(reply)
    assert found.answer is not None or found.thought or reply.strip()


@pytest.mark.parametrize(
    "attack", ["<think>", "</think>", "<think></think>", "[THINK]", "<|channel|>a<|message|>", "<"]
)
def test_hostile_replies_take_linear_time(attack: str) -> None:
    started = time.process_time()
    split_thought(attack * 40_000)
    assert time.process_time() - started < 5.0
