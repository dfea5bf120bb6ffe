"""Which rows are held out, and what a learning curve says."""

from __future__ import annotations

import pytest

from harness.core.errors import BadData, BadRecord
from harness.core.records import parse
from harness.training.held_out import chart, curve_of, due, passed_best, prompt_key, split
from harness.training.preference_operations import TrainPreferenceParams
from harness.training.settings import RunSettings
from harness.training.sft import SftParams

KEYS = [f"p{number // 3}" for number in range(60)]  # 20 prompts with three rows each


def settings(seed: int = 42, **validation: object) -> RunSettings:
    data = {"learning_rate": 1e-3, "seed": seed, "validation": validation or None}
    return parse(RunSettings, data, "test")


def test_prompts_are_held_out_with_all_their_rows() -> None:
    found = split(KEYS, settings(share=0.25))
    out = {KEYS[place] for place in found.held_out}
    assert (len(out), len(found.held_out)) == (5, 15)
    assert not out & {KEYS[place] for place in found.trained}
    assert sorted(found.trained + found.held_out) == list(range(60))
    assert found.trained == sorted(found.trained)
    assert found.of(KEYS)[1] == [KEYS[place] for place in found.held_out]


def test_the_seed_chooses_and_the_order_of_rows_does_not() -> None:
    chosen = [
        {KEYS[n] for n in split(KEYS, settings(seed, share=0.25)).held_out} for seed in (1, 2)
    ]
    assert chosen[0] != chosen[1]
    again = list(reversed(KEYS))
    assert {again[n] for n in split(again, settings(1, share=0.25)).held_out} == chosen[0]


def test_without_validation_all_rows_are_trained() -> None:
    found = split(KEYS, settings())
    assert (found.trained, found.held_out) == (list(range(60)), [])


def test_a_small_share_is_one_prompt_and_a_large_one_is_refused() -> None:
    assert len(split(KEYS, settings(share=0.001)).held_out) == 3
    for keys, share in ((["a"], 0.1), (["a", "b", "c"], 0.9)):
        with pytest.raises(
            BadData, match=f"of {len(keys)} prompts; expected at least one to train"
        ):
            split(keys, settings(share=share))


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"points": 0}, {"shares": 0.1}])
def test_shares_and_points_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(BadRecord, match="validation"):
        settings(**wrong)


def test_the_key_of_a_row_is_its_prompt() -> None:
    asked = {"role": "user", "content": "q"}
    said = {"role": "assistant", "content": "a"}
    key = prompt_key({"id": 1, "messages": [asked]})
    assert key == prompt_key({"id": 2, "messages": [asked, said]})
    assert key != prompt_key({"id": 1, "messages": [asked, said, asked]})
    assert prompt_key({"id": 7, "text": "t"}) == "7"
    assert prompt_key({"id": "d/3", "dialogue": "d"}) == "d"


def test_points_are_even_and_end_with_the_last_update() -> None:
    assert due(150, 8) == {0, 19, 38, 56, 75, 94, 112, 131, 150}
    assert due(3, 8) == {0, 1, 2, 3}


def test_ids_of_trainings_without_validation_are_as_before() -> None:
    plain = {"learning_rate": 1e-3}
    for record in (SftParams, TrainPreferenceParams):
        assert "validation" not in parse(record, plain, "test").model_dump(mode="json")
        more = parse(record, {**plain, "validation": {"share": 0.2}}, "test").model_dump(
            mode="json"
        )
        assert more["validation"] == {"share": 0.2, "points": 8}


def log_of(*losses: float | None, rows: int = 12) -> dict[str, object]:
    steps = [50 * number for number in range(len(losses))]
    history = [
        {"validation": {"loss": loss, "accuracy": 0.5}, "step": step}
        for step, loss in zip(steps, losses, strict=True)
    ]
    return {"updates": steps[-1], "log": [], **curve_of([{"loss": 1.0}, *history], rows)}


def test_a_run_past_its_best_point_is_named() -> None:
    said = passed_best(log_of(2.0, 1.0, 1.05, 1.12))
    assert "held-out loss (12 rows) was lowest at update 50 of 150 and is 12 % higher" in said
    assert "lowest before training and is 30 % higher" in passed_best(log_of(1.0, 1.1, 1.3))
    assert "is 200 % higher" in passed_best(log_of(1.0, 3.0))
    assert "is 0.5 higher" in passed_best(log_of(0.0, -1.0, -0.5))


@pytest.mark.parametrize("losses", [(2.0, 1.5, 1.0), (2.0, 1.0, 1.01), (1.0,), (None, 1.0), (0, 0)])
def test_a_run_that_ends_near_its_best_point_is_not(losses: tuple[float | None, ...]) -> None:
    assert passed_best(log_of(*losses)) == ""


def test_a_log_without_a_curve_says_nothing() -> None:
    assert curve_of([{"loss": 1.0, "step": 1}], 0) == {}
    assert (passed_best({"log": []}), chart({"log": []})) == ("", [])


def test_the_chart_marks_the_lowest_point() -> None:
    head, *lines = chart(log_of(2.0, 1.0, 1.5), width=11)
    assert head == "held-out loss (12 rows), accuracy by update"
    assert lines == [
        "      0   2.0000   0.5000  ###########",
        "     50   1.0000   0.5000  # lowest",
        "    100   1.5000   0.5000  ######",
    ]
    assert chart(log_of(float("nan"), 1.0))[1:] == ["     50   1.0000   0.5000  # lowest"]


def test_the_share_is_rounded_and_at_least_one_is_trained() -> None:
    keys = [f"k{number}" for number in range(11)]
    held = {share: len(split(keys, settings(share=share)).held_out) for share in (0.13, 0.14, 0.9)}
    assert held == {0.13: 1, 0.14: 2, 0.9: 10}
    with pytest.raises(BadData, match="holds out 2 of 2 prompts"):
        split(["a", "b"], settings(share=0.99))


def test_the_split_of_a_seed_is_that_of_earlier_versions() -> None:
    keys = [f"p{number}" for number in range(8)]
    chosen = [split(keys, settings(seed, share=0.25)).held_out for seed in (42, 7)]
    assert chosen == [[2, 4], [2, 6]]


def test_a_rise_of_two_percent_is_none_and_a_little_more_is_one() -> None:
    assert passed_best(log_of(60.0, 50.0, 51.0)) == ""
    assert "is 2 % higher" in passed_best(log_of(60.0, 50.0, 51.02))
    assert "is 0.01 higher" in passed_best(log_of(0.5, 0.0, 0.01))
    assert "held-out loss (1 row) was lowest" in passed_best(log_of(2.0, 1.0, 1.5, rows=1))
    assert "higher" in passed_best(log_of(1.0, None, 1.5))
    assert passed_best({"validation": None}) == ""


def test_the_chart_has_forty_columns_and_shows_what_is_unknown() -> None:
    _, *lines = chart(log_of(3.0, 1.0))
    assert lines[0] == f"      0   3.0000   0.5000  {'#' * 40}"
    assert lines[1].endswith("  # lowest")
    assert chart(log_of(1.0, 1.0), width=5)[1:] == [
        "      0   1.0000   0.5000  # lowest",
        "     50   1.0000   0.5000  # lowest",
    ]
    points = [{"step": 4, "loss": 1.0, "margins": None, "mean_token_accuracy": 0.25, "nll": 3.0}]
    found = chart({"validation": {"rows": 3, "points": points}})
    assert found == [
        "held-out loss (3 rows), margins, mean_token_accuracy by update",
        "      4   1.0000        -   0.2500  # lowest",
    ]
    assert chart({"validation": None}) == []


def test_values_of_a_curve_that_are_no_numbers_are_unknown() -> None:
    history = [{"validation": {"loss": float("inf"), "nll": 0.5}, "step": 3}, {"loss": 1.0}]
    assert curve_of(history, 4) == {
        "validation": {"rows": 4, "points": [{"step": 3, "loss": None, "nll": 0.5}]}
    }


def test_an_answer_alone_is_its_own_prompt() -> None:
    said = {"role": "assistant", "content": "a"}
    other = {"role": "assistant", "content": "b"}
    assert prompt_key({"messages": [said]}) != prompt_key({"messages": [other]})
    assert prompt_key({"messages": [said, said]}) == prompt_key({"messages": [said, other]})
    assert prompt_key({"messages": [said, said]}) == prompt_key({"messages": [said]})
