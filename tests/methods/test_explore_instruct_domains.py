"""Explore-Instruct: rules that reject examples."""

from __future__ import annotations

import pytest

from methods.explore_instruct.domains import DOMAINS, Rejects, contains_word, is_placeholder
from methods.explore_instruct.tree import Example


def example(instruction: str = "Make this line short.", given: str = "x") -> Example:
    return Example(instruction=instruction, input=given, output="y")


@pytest.mark.parametrize(
    ("made", "reason", "off"),
    [
        (example("Fix it."), "too short", {"min_words": None}),
        (example("word " * 151), "too long", {"max_words": None}),
        (example("Describe the pictures below."), "not for a text model", {"words": ()}),
        (example("write a program that adds."), "a program", {"programs": False}),
        (example("(Ab) make it short."), "first character", {"first_character": False}),
        (example("Ändere den Text."), "first character", {"first_character": False}),
        (example(given="<your text>"), "placeholder", {"placeholders": False}),
        (example(given="(a short mail)"), "placeholder", {"placeholders": False}),
        (Example(instruction="Make it short.", output=" "), "empty", {"empty": False}),
        (example(""), "empty", {"empty": False}),
    ],
)
def test_each_rule_can_be_switched_off(made: Example, reason: str, off: dict[str, object]) -> None:
    assert Rejects().reason(made) == reason
    assert Rejects.model_validate(off).reason(made) is None


def test_good_examples_pass() -> None:
    assert Rejects().reason(example("word " * 150)) is None
    assert Rejects().reason(example("Remap this to plain words.")) is None


def test_words_by_domain() -> None:
    def passes(text: str) -> list[str]:
        made = example(text)
        return [name for name, domain in DOMAINS.items() if domain.rejects.reason(made) is None]

    assert passes("Build a mind map now.") == ["brainstorming", "math"]
    assert passes("Sketch the graph in words.") == ["math"]
    assert passes("Plot it.") == []
    assert passes("Add.") == ["math"]


@pytest.mark.parametrize(
    "value",
    ["(1,2)", "(0, 1]", "(x, y)", "(1, \\infty)", "(a)(b) and (cde)", "<x, y>", "()", "(", "x",
     "(see below) and above (it)"],
)  # fmt: skip
def test_values_in_brackets_are_no_placeholders(value: str) -> None:
    assert not is_placeholder(value)


def test_placeholders() -> None:
    assert is_placeholder(" <insert memo here>\n")
    assert is_placeholder("((any text))")
    assert not contains_word("Profile the user.", ("file",))
