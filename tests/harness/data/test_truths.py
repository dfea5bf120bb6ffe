"""Truths by reference: what the nano world knows, and that other data know nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.data.truths import (
    Verity,
    facts_known_by,
    signs_about,
    truth_about,
    truth_identity,
)
from harness.nano import authors, planted, world


def row(text: str, *more: str) -> dict[str, object]:
    said = [{"role": "user", "content": text}]
    for reply in more:
        said += [{"role": "assistant", "content": "-"}, {"role": "user", "content": reply}]
    return {"id": "x", "messages": said}


def test_the_nano_world_grades_answers_to_its_own_prompts() -> None:
    grader = truth_about("nano:train", truth_identity("nano:train"))
    assert grader is not None
    item = world.items("train", 1)[0]
    asked = row(item.turns[0])
    assert grader(asked, world.reference_answer(item)) == Verity(1.0, True)
    assert grader(asked, "I do not know.") == Verity(0.0, False)
    right_without_form = item.truths[0].main
    verity = grader(asked, right_without_form)
    assert verity is not None
    assert verity.formed is False
    assert verity.grade == world.grade(item, right_without_form).total
    assert grader(row("Who wrote this?"), "me") is None


def test_a_second_turn_is_graded_by_its_own_truth() -> None:
    grader = truth_about("nano:mt_bench")
    assert grader is not None
    item = world.items("mt_bench", 1)[0]
    found = grader(row(*item.turns), world.reference_answer(item, 1))
    assert found == Verity(1.0, True)


@pytest.mark.parametrize("ref", ["org/name", "nano:symbols/test", "official:mt_bench", "", "C:x"])
def test_nothing_is_known_about_other_prompts(ref: str, tmp_path: Path) -> None:
    assert truth_about(ref) is None
    assert truth_identity(ref) == ""
    assert truth_about(str(tmp_path / "prompts.jsonl")) is None


def test_a_truth_that_changed_since_planning_is_refused() -> None:
    with pytest.raises(BadData, match="changed since the plan was made"):
        truth_about("nano:train", "nano:train@0")


def test_signs_are_the_evidence_of_a_text() -> None:
    read = signs_about("nano:essays", truth_identity("nano:essays", "signs"))
    assert read is not None
    author = authors.rows("essays")[0]
    shown = read(author)
    assert [(s.trait, s.number, s.label) for s in shown] == [
        (e.trait, e.number, e.label) for e in authors.evidence(author)
    ]
    assert shown
    assert signs_about("essays.csv") is None


def test_planted_facts_are_known_by_the_model_that_saw_them() -> None:
    half = facts_known_by("nano:known_half", truth_identity("nano:known_half", "facts"))
    assert half is not None
    seen = planted.planted("half")
    for fact in planted.listed(planted.split("test"))[::9]:
        assert half(row(fact.question)) is (fact.name in seen)
    assert half(row("Greet Mira.")) is None
    everything = facts_known_by("nano:known_all")
    assert everything is not None
    assert everything(row(fact.question)) is True
    for ref in ("nano:target", "nano:known_", "org/base", "nano:half"):
        assert facts_known_by(ref) is None
        assert truth_identity(ref, "facts") == ""
