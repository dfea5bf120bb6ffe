"""Explore-Instruct: the released reader, on the golden vectors and on rules beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from methods.explore_instruct.domains import DomainName
from methods.explore_instruct.parsing_released import (
    read_examples_released,
    read_subtasks_released,
)
from tests.golden_vectors import vectors

NAMES: dict[str, DomainName] = {"rewrite": "rewriting"}


def test_golden_replies(golden: Callable[[str], Path]) -> None:
    cases = vectors(golden("explore_instruct/llm_response_parsing.json"))["cases"]
    assert cases
    for case in cases:
        assert _read(case) == case["reference"], case["raw_response"]


def _read(case: dict[str, Any]) -> dict[str, Any]:
    domain = NAMES.get(case["domain"], case["domain"])
    given = (case["raw_response"], domain, case["stop_reason"])
    if case["call"] == "extend":
        found = read_subtasks_released(*given)
        return {
            "subtasks": [name for name, _, _ in found],
            "reasons": [reason for _, reason, _ in found],
            "instances": [[one.model_dump() for one in examples] for _, _, examples in found],
        }
    try:
        return {"instances": [one.model_dump() for one in read_examples_released(*given)]}
    except IndexError:
        return {"exception": "IndexError"}


def numbered(*instructions: str) -> str:
    return "\n".join(
        f"{n}. Instruction: {text}\nInput: x\nOutput: y" for n, text in enumerate(instructions, 1)
    )


@pytest.mark.parametrize(
    ("instruction", "kept"),
    [
        ("word " * 150, True),
        ("word " * 151, False),
        ("Write a program now.", False),
        ("write a program now.", True),
        ("Describe the graph below.", False),
        ("Explain the diagrams below.", False),
        ("Explain the imagery below.", True),
        ("See 2. below for it.", True),  # no line break before the number
    ],
)
def test_reject_rules(instruction: str, kept: bool) -> None:
    found = read_examples_released(numbered(instruction), "rewriting", "stop")
    assert [one.instruction for one in found] == [instruction.strip()] * kept


def test_a_cut_reply_loses_the_last_piece_whether_it_is_an_example_or_not() -> None:
    text = numbered("Make this line short.", "Make that line short.") + "\n3. Instruction: Ma"
    assert len(read_examples_released(text, "rewriting", "length")) == 2
    assert len(read_examples_released(text, "rewriting", "stop")) == 2


def test_a_cut_extension_loses_the_last_example_of_every_group() -> None:
    group = f"New subtask: Tone\nReason: Why.\nExamples:\n{numbered('Make this line short.')}\n"
    found = read_subtasks_released(group * 2, "rewriting", "length")
    assert [examples for _, _, examples in found] == [[], []]
