"""Explore-Instruct: good and bad replies in JSON and in text, as sub-tasks and examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.explore_instruct.domains import DOMAINS, DomainName, Rejects
from methods.explore_instruct.parsing import Reader, boxed
from methods.explore_instruct.replies_json import json_examples, json_subtasks, with_latex
from methods.explore_instruct.replies_text import text_examples, text_subtasks
from methods.explore_instruct.tree import Example
from tests.golden_vectors import vectors

SHORT = {"instruction": "Make the note polite.", "input": "Send it.", "output": "Please send it."}
LONG = {"instruction": "Shorten this long line.", "input": "", "output": "Short."}
TEXT = (
    "###\nInstruction: Make the note polite.\nInput: Send it.\nOutput: Please send it.\n###\n"
    "Instruction: Shorten this long line.\nInput: <noinput>\nOutput: Short.\n###\n"
)


def reader(domain: DomainName = "rewriting") -> Reader:
    return Reader(domain, DOMAINS[domain].rejects)


def dumps(examples: list[Example]) -> list[dict[str, str]]:
    return [one.model_dump() for one in examples]


def test_examples_in_both_forms() -> None:
    said = json.dumps({"examples": [SHORT, LONG]})
    for text, form in ((said, "json"), (TEXT, "text"), (f"Sure:\n```json\n{said}\n```", "json")):
        found = reader().examples(text)
        assert (found.form, dumps(found.examples)) == (form, [SHORT, LONG])


def test_subtasks_in_both_forms() -> None:
    text = f"New subtask: Tone\nReason: Readers differ.\nExamples:\n{TEXT}"
    said = {"name": "Tone", "reason": "Readers differ.", "examples": [SHORT, LONG]}
    for reply in (text, text.replace("Examples:", "Example:"), json.dumps({"subtasks": [said]})):
        (one,) = reader().subtasks(reply).subtasks
        assert (one.name, one.reason) == ("Tone", "Readers differ.")
        assert dumps(one.examples) == [SHORT, LONG]


def test_what_the_released_reader_loses_is_kept(golden: Callable[[str], Path]) -> None:
    """Golden replies whose note says what would be right."""
    names: dict[str, DomainName] = {"rewrite": "rewriting"}
    for case in vectors(golden("explore_instruct/llm_response_parsing.json"))["cases"]:
        if "right: " in case["note"] or "instance lost" in case["note"]:
            domain = names.get(case["domain"], case["domain"])
            found = reader(domain).examples(case["raw_response"]).examples
            assert len(found) > len(case["reference"]["instances"]), case["note"]


@pytest.mark.parametrize(
    "text",
    [
        "Instruction: Say where Input: and Output: go.\nInput: x\nOutput: y",
        "Instruction: Say it well.\nInput: a\nInstruction: b\nOutput: y",
        "Instruction: Say it well.\nInput: Input: a\nOutput: y",
        "Instruction: Say it well.\nInput: x\nOutput: a\nOutput: b",
        "Instruction: Say it well.\nInput: x\nOutput: 1. a\n2. b",
        "1. Instruction: Say it well.\nInput:\n1. a\n2. b\nOutput: y",
        "**Instruction:** Say it well.\n**Input:** x\n**Output:** y",
        "- Instruction: Say it well.\n  Input: x\n  Output: y",
        "Examples: Instruction: Say it well.\nInput: x\nOutput: y",
        "instruction : Say it well.\nOUTPUT: y",
    ],
)
def test_field_words_and_lists_inside_fields_are_text(text: str) -> None:
    (found,) = reader().examples(text).examples
    assert len(found.instruction.split()) >= 3
    assert found.output


def test_a_cut_reply_loses_its_last_example_only() -> None:
    assert len(reader().examples(TEXT, "length").examples) == 1
    assert len(reader().examples(TEXT + "Instruction: And th", "length").examples) == 2
    said = json.dumps({"examples": [SHORT, LONG]})
    for end in range(len(said)):
        found = reader().examples(said[:end], "length").examples
        assert dumps(found) == [SHORT, LONG][: len(found)]
    groups = f"New subtask: A\nReason: b\nExamples:\n{TEXT}New subtask: C\nReason: d\nExamples:\n"
    assert [len(s.examples) for s in reader().subtasks(groups + TEXT, "length").subtasks] == [2, 1]


@pytest.mark.parametrize(
    "text",
    ["", "I cannot help with that.", "Here are ideas:\n1. Tone\n2. Length", "{", "[]", "null",
     "{" * 3000, '{"examples": "none"}', '{"subtasks": []}', "New subtask:", "Instruction: a\n"],
)  # fmt: skip
def test_replies_without_anything(text: str) -> None:
    assert reader().examples(text).form in (None, "text")
    assert not reader().examples(text).examples
    assert not reader().subtasks(text).subtasks


@given(st.text(max_size=200), st.sampled_from(["stop", "length", None]))
def test_no_reply_raises(text: str, finish: str | None) -> None:
    for domain in DOMAINS:
        for released in (False, True):
            reads = Reader(domain, DOMAINS[domain].rejects, released=released)
            reads.examples(text, finish)
            reads.subtasks(text, finish)


FIELD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)


@given(st.lists(st.fixed_dictionaries({"instruction": FIELD, "input": FIELD, "output": FIELD})))
def test_json_examples_come_back(examples: list[dict[str, str]]) -> None:
    assert json_examples("Here: " + json.dumps({"examples": examples})) == examples


def test_values_of_other_types_are_written_out() -> None:
    text = (
        '{"examples": [{"instruction": "Add it.", "input": [1, 2], "output": 3}, 7, {"output": 1}]}'
    )
    assert json_examples(text) == [{"instruction": "Add it.", "input": "[1, 2]", "output": "3"}]
    assert json_subtasks('[{"name": "A"}, {"name": null}]')[0] == ({"name": "A", "reason": ""}, [])


def test_text_groups() -> None:
    assert text_subtasks("New subtask: A\nNew subtask: **B**\nReason: c Reason: d") == [
        ({"name": "A", "reason": ""}, []),
        ({"name": "B", "reason": "c Reason: d"}, []),
    ]
    assert text_examples("1. Instruction: a\n2. Instruction: b\nOutput: c") == [
        {"instruction": "b", "output": "c"}
    ]


def test_commands_of_latex_whose_backslash_was_not_doubled() -> None:
    output = r"\frac{1}{2} \times \sqrt{2} \\neq 1\nAnswer: $\beta$"
    reply = f'{{"examples": [{{"instruction": "Add.", "input": "(1,2)", "output": "{output}"}}]}}'
    (found,) = reader("math").examples(reply).examples
    assert found.output == "\\frac{1}{2} \\times \\sqrt{2} \\neq 1\nAnswer: $\\boxed{\\beta}$"
    assert found.input == "(1,2)"  # a point
    assert with_latex("a\nb\tc d") == "a\nb\\tc d"


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ("Answer: 42", r"Answer: \boxed{42}"),
        ("Answer: $5$", r"Answer: $\boxed{5}$"),
        ("Answer: $5$.", r"Answer: $\boxed{5}$."),
        ("Answer: even", r"Answer: \boxed{even}"),
        ("Answer: $x=3$ or $x=4$", r"Answer: \boxed{$x=3$ or $x=4$}"),
        ("Answer: 5. Answer: 6", r"Answer: 5. Answer: \boxed{6}"),
        (r"Answer: $\boxed{5}$", r"Answer: $\boxed{5}$"),
        ("Answer: ", "Answer: "),
        ("No marker", "No marker"),
    ],
)
def test_answers_without_a_box(output: str, right: str) -> None:
    assert boxed(output) == right
    assert boxed(right) == right


def test_an_instruction_without_text_is_rejected_and_counted() -> None:
    found = reader("math").examples("Instruction: \nInput: $1$\nOutput: Answer: $\\boxed{1}$")
    assert (found.examples, dict(found.rejected)) == ([], {"empty": 1})
    found = Reader("math", Rejects(empty=False, min_words=None)).examples(
        '{"instruction": "", "output": "1"}'
    )
    assert len(found.examples) == 1


def test_the_released_reader_of_a_reply_that_ends_the_released_program() -> None:
    text = "Instruction: \nInput: 1\nOutput: 2"
    assert Reader("math", Rejects(), released=True).examples(text).form is None
