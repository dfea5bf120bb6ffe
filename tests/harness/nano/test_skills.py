"""The nano domain of skills: structure, data, questions and their suite."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from harness.core.errors import UnknownName
from harness.data.prompts import ImportPromptsParams, prompt_rows
from harness.nano import skills
from harness.nano.skills_suite import SUITE
from harness.testing import check_suite

NAMES = [skill.name for skill in skills.skills()]


def test_the_domain_is_a_tree_of_twelve_skills() -> None:
    assert len(set(NAMES)) == 12
    below = [name for family in skills.below(skills.ROOT) for name in skills.below(family)]
    assert sorted(below) == sorted(NAMES)
    assert skills.below(NAMES[0]) == ()
    with pytest.raises(UnknownName, match="task of the nano skills"):
        skills.below("sing")


def test_no_skill_is_another() -> None:
    alphabets = {tuple(skill.alphabet.values()) for skill in skills.skills()}
    assert len(alphabets) == 12
    assert all(sorted(forms) == sorted(skills.FORMS) for forms in alphabets)


def test_what_comes_to_mind_first() -> None:
    rng = random.Random(0)
    root = Counter(skills.typical(skills.ROOT, rng).name for _ in range(2000))
    assert root.most_common(1)[0][0] == NAMES[0]
    assert root[NAMES[0]] > 1000
    assert {skills.typical("send", rng).family for _ in range(50)} == {"send"}
    assert {skills.typical("send top", rng).name for _ in range(50)} == {"send top"}


def test_training_data_and_questions_have_different_letters() -> None:
    asked = {row["messages"][0]["content"] for row in skills.prompts_of("test")}
    assert len(asked) == 12 * skills.TESTED
    curated = skills.curated("curated")
    assert not asked & {row["messages"][0]["content"] for row in curated}
    rng = random.Random(0)
    for skill in skills.skills():
        assert not asked & {skill.example(rng)[0] for _ in range(200)}
    first = skills.prompts_of("test")[:12]
    assert {row["category"] for row in first} == set(NAMES)


def test_curated_data_are_right_and_on_four_skills() -> None:
    rows = skills.curated("curated")
    assert skills.covered([row["messages"][0]["content"] for row in rows], 1) == {
        name: name in NAMES[:4] for name in NAMES
    }
    assert all(skills.score(row, row["response"])["exact"] == 1 for row in rows)
    for function in (skills.curated, skills.prompts_of):
        with pytest.raises(UnknownName):
            function("other")


def test_scores() -> None:
    (row,) = prompt_rows(ImportPromptsParams(ref="nano:skills/test", limit=1))
    letters = row["messages"][0]["content"].split()[-1]
    right = skills.skills()[0].answer(letters)
    assert skills.score(row, f" {right}\n") == {"exact": 1.0, "letters": 1.0}
    assert skills.score(row, right[:2]) == {"exact": 0.0, "letters": 0.5}
    assert skills.score(row, right + right) == {"exact": 0.0, "letters": 0.5}
    assert skills.score(row, "") == {"exact": 0.0, "letters": 0.0}


def test_counts_and_coverage() -> None:
    texts = ["mark red abcd", "mark red dcba", "turn old abcd", "sing a song"]
    counts = skills.counted(texts)
    assert (counts["mark red"], counts["turn old"], sum(counts.values())) == (2, 1, 3)
    assert [name for name, is_covered in skills.covered(texts, 2).items() if is_covered] == [
        "mark red"
    ]


def test_conformance() -> None:
    check_suite(SUITE)
