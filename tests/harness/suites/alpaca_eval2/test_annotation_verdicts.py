"""Published AlpacaEval annotations as verdicts: joins, orders, several judges, real data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.data.forms import instruction_id
from harness.judging.agreement import BOTH, JUDGE, compare
from harness.judging.verdict_sets import verdicts_of_rows
from harness.judging.verdicts import is_switched
from harness.suites.alpaca_eval2.annotation_verdicts import (
    holds_annotations,
    read_annotation_verdicts,
)

INSTRUCTIONS = [f"Instruction number {number}" for number in range(12)]


def annotations(path: Path, preferences: list[float | None], **more: str) -> Path:
    rows = [
        {
            "instruction": text,
            "output_1": "baseline",
            "generator_1": "gpt4_1106_preview",
            "output_2": f"answer {number}",
            "generator_2": "m",
            "annotator": "gpt",
            "preference": preference,
            **more,
        }
        for number, (text, preference) in enumerate(zip(INSTRUCTIONS, preferences, strict=False))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def test_annotations_become_preferences_with_the_published_order(tmp_path: Path) -> None:
    path = annotations(tmp_path / "annotations.json", [1.9, 1.0, None, -1, 1.5])
    found = read_annotation_verdicts(path)
    assert (found.judge, found.suite, found.systems) == ("gpt", "alpaca_eval2", ("m",))
    assert [v.value for v in found.items] == [pytest.approx(0.9), 0.0, None, None, 0.5]
    for text, verdict in zip(INSTRUCTIONS, found.items, strict=False):
        assert verdict.prompt == verdict.text == instruction_id(text)
        assert verdict.lengths == (8.0, 8.0)
        first = "model" if is_switched(text) else "baseline"
        assert all(game.first == first for game in verdict.games)
    first = "model" if is_switched(INSTRUCTIONS[1]) else "baseline"
    assert found.items[1].shares == [(first, 0.0)]


def test_our_rows_join_published_ones_by_the_text_of_the_prompt(tmp_path: Path) -> None:
    preferences = [1.9, 1.2, 1.7, 1.4]
    theirs = read_annotation_verdicts(annotations(tmp_path / "annotations.json", [*preferences]))
    rows = [
        {
            "id": f"own/{number}",
            "prompt": text,
            "answers": {"model": f"answer {number}", "baseline": "baseline"},
            "games": [{"first": "model", "verdict": preference - 1, "attempts": 1}],
            "preference": preference - 1,
        }
        for number, (text, preference) in enumerate(zip(INSTRUCTIONS, preferences, strict=False))
    ]
    found = compare(verdicts_of_rows(rows[::-1], "ours", judge="mine"), theirs, rounds=20)
    assert found.n_scored == 4
    assert found.figure("kappa", BOTH).value == 1.0  # type: ignore[union-attr]


def test_what_are_annotations(tmp_path: Path) -> None:
    assert holds_annotations(annotations(tmp_path / "a" / "annotations.json", [1.0]))
    assert holds_annotations(tmp_path)
    other = tmp_path / "other.json"
    other.write_text('[{"id": 1}]')
    assert not holds_annotations(other)
    (tmp_path / "empty").mkdir()
    assert not holds_annotations(tmp_path / "empty")


def test_several_judges_need_a_choice(tmp_path: Path) -> None:
    for judge in ("one", "two"):
        annotations(tmp_path / judge / "annotations.json", [1.0, 2.0], annotator=judge)
    with pytest.raises(BadData, match="annotations of one, two; expected one judge"):
        read_annotation_verdicts(tmp_path)
    assert read_annotation_verdicts(tmp_path, "two").judge == "two"
    with pytest.raises(BadData, match="of one, two; expected one judge"):
        read_annotation_verdicts(tmp_path, "three")


def test_a_published_judge_agrees_with_itself_on_four_models(
    numbers: Callable[[str], Path],
) -> None:
    pytest.importorskip("pyarrow")
    found = read_annotation_verdicts(numbers("alpaca_eval2") / "annotations_four.parquet")
    assert len(found.systems) == 4
    assert len(found.items) == 4 * 805 - 1  # one row was lost
    result = compare(found, found, rounds=2)
    assert result.n_scored == len(found.items) - sum(v.value is None for v in found.items)
    assert result.figure("agreement").value == 100.0  # type: ignore[union-attr]
    assert result.figure("kendall").value == pytest.approx(1.0)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.realdata
def test_the_published_judge_agrees_with_itself_and_switches_orders(
    realdata: Callable[[str], Path],
) -> None:
    pytest.importorskip("pyarrow")
    path = realdata("alpaca_eval2") / "annotations_half.parquet"
    found = read_annotation_verdicts(path)
    assert len(found.systems) == 28
    result = compare(found, found, rounds=2)
    assert result.n_scored == len(found.items) - sum(v.value is None for v in found.items)
    assert result.figure("agreement").value == 100.0  # type: ignore[union-attr]
    assert result.figure("kendall").value == pytest.approx(1.0)  # type: ignore[union-attr]
    assert 0.4 < result.figure("first_shown", JUDGE).value / 100 < 0.6  # type: ignore
