"""Ids of tasks: the released rule, and ids that are unique whatever the names are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from methods.explore_instruct.names import LIMIT, slug, task_id
from methods.explore_instruct.names_released import task_id_released
from tests.golden_vectors import vectors


def test_golden_task_names(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("explore_instruct/task_names.json"))["cases"]:
        taken = set(case["existing"])
        released = task_id_released(case["raw"], taken)
        assert released == case["reference_id"]
        found = task_id(case["raw"], taken)
        assert found
        assert found not in taken
        if slug(case["raw"]) and released not in taken:
            assert found == released


@given(st.lists(st.text(max_size=8) | st.sampled_from(["Tone", "tone!", "总结", "", "_"])))
def test_ids_of_any_names_are_unique_and_name_files(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(task_id(name, taken))
    assert len(set(taken)) == len(taken)
    assert all(id.isascii() and id.replace("_", "a").isalnum() and id == id.lower() for id in taken)


def test_names_without_ascii_letters_have_stable_ids_of_their_own() -> None:
    assert task_id("总结") == task_id("总结") != task_id("翻译")
    assert task_id_released("总结") == task_id_released("翻译") == ""


def test_an_id_is_short_enough_for_a_file_name() -> None:
    long = task_id("word " * 400)
    assert len(long) <= LIMIT
    assert task_id("word " * 400, {long}) == f"{long}_0"
