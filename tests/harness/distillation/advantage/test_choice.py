"""The rule by which teachers are run or cached, at its limits."""

from __future__ import annotations

from typing import Any

import pytest

from harness.distillation.advantage.choice import GIB, TeacherAccess, choose, list_bytes

SIZES: dict[str, Any] = {"teacher_b": 10.0, "student_b": 1.0, "hidden": 1000, "vocabulary": 70_000}
ASKED: dict[str, Any] = {"models": 2, "sides": 3, "rows": 1024, "epochs": 2.0}


def chosen(access: dict[str, Any], **asked: Any) -> tuple[str, str]:
    found = choose(TeacherAccess(**{**SIZES, **access}), **{**ASKED, **asked})
    return found.form, found.reason


@pytest.mark.parametrize(
    ("k", "vocabulary", "expected"),
    [(50, 65_536, 202), (50, 65_537, 302), (50, None, 302), (1, 1, 6), (2, 100_000, 14)],
)
def test_a_list_takes_two_or_four_bytes_per_id_and_two_per_value_and_rest(
    k: int, vocabulary: int | None, expected: int
) -> None:
    assert list_bytes(k, vocabulary) == expected


@pytest.mark.parametrize("told", [{"k": 0}, {"student_k": -1}, {"teacher_b": -1.0}])
def test_sizes_below_their_bounds_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(told))):
        TeacherAccess(**{**SIZES, **told})


def test_what_the_recipe_sets_is_taken() -> None:
    for form in ("live", "hidden", "lists"):
        assert chosen({"form": form, "teacher_b": None}) == (form, "set in the recipe")


def test_teachers_of_less_than_fifty_million_parameters_are_run() -> None:
    assert chosen({"teacher_b": None}) == ("live", "sizes unknown")
    assert chosen({"teacher_b": 0.0499}) == ("live", "teachers are tiny")
    assert chosen({"teacher_b": 0.0}) == ("live", "teachers are tiny")
    for size in (0.05, 0.051):
        assert chosen({"teacher_b": size})[0] == "hidden"


@pytest.mark.parametrize(("student", "need"), [(1.0, 67.2e9), (None, 48e9)])
def test_one_epoch_is_read_live_if_the_models_fit(student: float | None, need: float) -> None:
    """2.4 GB per billion of a teacher's parameters, 19.2 per billion of the student's."""
    assert GIB == 1_073_741_824
    given = {"student_b": student}
    once = ("live", "one epoch: a cache would be read once")
    for gib in (need / GIB, 1000.0, None):
        for epochs in (0.5, 1.0):
            assert chosen({**given, "gpu_gib": gib}, epochs=epochs) == once
    for gib in (need / GIB * 0.9999, 1.0):
        form, reason = chosen({**given, "gpu_gib": gib}, epochs=1.0)
        assert (form, reason.split(",")[0]) == ("hidden", "models exceed gpu_gib")
    form, reason = chosen({**given, "gpu_gib": need / GIB}, epochs=1.5)
    assert (form, reason.split(",")[0]) == ("hidden", "1.5 epochs")


def test_hidden_states_are_cached_if_they_fit_else_lists_else_nothing() -> None:
    """4000 bytes of two models' states, or 302 of a list, per token; 1024 * 3 * 450 tokens."""
    tokens = 1024 * 3 * 450
    hidden, lists = 4000 * tokens / GIB, 302 * tokens / GIB
    assert chosen({}) == ("hidden", "2 epochs, 4000 B/token, 5.15 GiB")
    assert chosen({"disk_gib": hidden})[0] == "hidden"
    assert chosen({"disk_gib": hidden * 0.9999}) == ("lists", "2 epochs, 302 B/token, 0.389 GiB")
    assert chosen({"disk_gib": lists})[0] == "lists"
    said = f"2 epochs, but no cache fits disk_gib = {lists * 0.9999:g}"
    assert chosen({"disk_gib": lists * 0.9999}) == ("live", said)
    assert chosen({"hidden": None}) == ("lists", "2 epochs, 302 B/token, 0.389 GiB")
    assert chosen({}, models=1)[1] == "2 epochs, 2000 B/token, 2.57 GiB"
    assert chosen({"tokens_per_answer": 900})[1].endswith("10.3 GiB")


def test_of_an_unknown_number_of_rows_only_an_unlimited_disk_is_enough() -> None:
    assert chosen({}, rows=None) == ("hidden", "2 epochs, 4000 B/token, size unknown")
    assert chosen({"disk_gib": 1000.0}, rows=None)[0] == "live"
