"""Prompts of the explorer, and the examples that they show."""

from __future__ import annotations

import json

import pytest

from methods.explore_instruct.domains import DOMAINS
from methods.explore_instruct.parsing import Reader
from methods.explore_instruct.prompts import Form, Wording, read_prompt
from methods.explore_instruct.tree import Example

ONE = Example(instruction="Make it short.", input="a; b", output="b")
READER = Reader("general", DOMAINS["general"].rejects)


@pytest.mark.parametrize("form", ["json", "text"])
def test_prompts_say_what_changes_from_call_to_call(form: Form) -> None:
    wording = Wording(domain="math", form=form)
    text = wording.extend("Root; task", [ONE], ["a;b", "c"], [], 3, total=12, examples=2)
    asked = read_prompt(text)
    assert asked is not None
    assert (asked.kind, asked.form, asked.target, asked.number) == ("extend", form, "Root; task", 3)
    assert (asked.existing, asked.peers) == (("a,b", "c"), ())
    assert "12 sub-tasks" in text
    assert "LaTeX" in text
    assert "Make it short." in text
    text = wording.enrich("Root", [], "Tone\nof voice", "", [], ["x"], 10)
    asked = read_prompt(text)
    assert asked is not None
    assert (asked.kind, asked.subtask, asked.peers) == ("enrich", "Tone of voice", ("x",))
    assert "Examples of the target task" not in text
    assert read_prompt("What is 2 + 2?") is None


def test_examples_are_shown_in_the_requested_form() -> None:
    shown = [ONE, ONE.model_copy(update={"input": ""})]
    assert json.loads(Wording().written(shown))["examples"][0] == ONE.model_dump()
    found = READER.examples(Wording(form="text").written(shown))
    assert found.examples == shown
