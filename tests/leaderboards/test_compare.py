"""Comparing two systems of one board."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.core.errors import UnknownName, UserError
from leaderboards.compare import Comparison, compare_systems
from leaderboards.render.terminal import render_comparison


def shown(comparison: Comparison) -> str:
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(render_comparison(comparison))
    return console.file.getvalue()


def test_every_common_metric_gets_a_paired_difference(cells, cell):
    scores = cells()
    scores += [
        cell(s, k, metric="win_rate/koala", primary=False, n=30, prompt_set="koala")
        for s, k in (("target", 20), ("target-sft-wrpo", 60))
    ]
    found = compare_systems(scores, "target-sft-wrpo", "target")
    assert [line.metric for line in found.lines] == [
        "lc_win_rate",
        "win_rate",
        "win_rate",
        "win_rate/koala",
    ]
    assert all(line.ahead == "first" and line.interval.low > 0 for line in found.lines)
    assert "ahead on 3" in found.summary
    assert "win rate/koala" in shown(found)


def test_swapping_the_systems_negates_the_difference(cells):
    forward = compare_systems(cells(), "target-sft-wrpo", "target").lines[0]
    backward = compare_systems(cells(), "target", "target-sft-wrpo").lines[0]
    assert backward.difference == -forward.difference
    assert backward.interval.low == pytest.approx(-forward.interval.high)
    assert (forward.ahead, backward.ahead) == ("first", "second")


def test_lower_is_better_is_ahead_when_lower(cell):
    scores = [cell("a", 10, higher_is_better=False), cell("b", 60, higher_is_better=False)]
    assert compare_systems(scores, "a", "b").lines[0].ahead == "first"


def test_another_judge_keeps_the_interval_and_is_noted(cell):
    scores = [cell("a", 50), cell("b", 70, judge_fingerprint="other")]
    (line,) = compare_systems(scores, "a", "b").lines
    assert line.interval is not None
    assert "judge fingerprint differs" in line.note


def test_an_unknown_system_is_refused_with_the_nearest(cells):
    with pytest.raises(UnknownName, match='did you mean "target-sft"'):
        compare_systems(cells(), "target_sft", "target")


def test_nothing_in_common_is_an_error(cell):
    with pytest.raises(UserError, match="no metric in common"):
        compare_systems([cell("a", 50), cell("b", 50, "arena_hard")], "a", "b")


def test_a_missing_value_is_a_dash_with_its_reason(cell):
    scores = [cell("a", 50), cell("b", 50, value=None, interval=None)]
    text = shown(compare_systems(scores, "a", "b"))
    assert "b: the suite gave no value" in text
    assert " — " in text
