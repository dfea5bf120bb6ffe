"""Verdicts on a paper's claims."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import ClaimContradicted
from harness.core.records import Cell, Interval
from leaderboards.board import build_board
from leaderboards.claims import Claim, ClaimResult, judge_claim, outcome_of, require, summary
from leaderboards.render import render, terminal, text
from leaderboards.scores import combine_all
from leaderboards.spec import BoardSpec


def judge_claims(claims: list[Claim], cells: list[Cell]) -> list[ClaimResult]:
    return [judge_claim(claim, combine_all(cells)) for claim in claims]


def claim(better: str = "target-sft-wrpo", worse: str = "target", **changes: object) -> Claim:
    fields = {"id": "c", "suite": "alpaca_eval2", "metric": "lc_win_rate", **changes}
    return Claim.model_validate({"better": better, "worse": worse, **fields})


def test_a_clear_difference_holds_with_the_papers_figure_beside_it(cells):
    stated = claim(paper_better=55.9, paper_worse=26.0, source="main results")
    (result,) = judge_claims([stated], cells())
    assert result.verdict == "holds"
    assert result.interval.low > 0
    assert result.difference == pytest.approx(result.ours_better - result.ours_worse)
    assert result.claim.paper_difference == 29.9
    assert result.seeds == 3


def test_a_tested_claim_has_a_minimum_detectable_effect(cells):
    scores = combine_all(cells())
    result = judge_claim(claim(), scores)
    sides = [scores[name, "alpaca_eval2", "lc_win_rate"] for name in ("target-sft-wrpo", "target")]
    draws = [np.mean(score.replicates, axis=0) for score in sides]
    gaps = np.subtract(*([cell.value for cell in score.cells] for score in sides))
    error = np.hypot((draws[0] - draws[1]).std(ddof=1), gaps.std(ddof=1) / np.sqrt(3))
    assert result.detectable == pytest.approx(2.801585 * error, rel=1e-6)
    reverse = judge_claim(claim("target", "target-sft-wrpo"), scores)
    assert reverse.detectable == pytest.approx(result.detectable)
    assert judge_claim(claim(better="nobody"), scores).detectable is None


def test_every_format_with_claims_shows_the_detectable_effect(cells):
    board = build_board(BoardSpec(name="b", title="B", claims=(claim(),)), cells())
    shown = text.number(board.claims[0].detectable, 2)
    assert json.loads(render(board, "json"))["claims"][0]["detectable"] == pytest.approx(
        board.claims[0].detectable, abs=1e-6
    )
    row = next(line for line in render(board, "md").splitlines() if line.startswith("| **holds**"))
    assert f"| {shown} |" in row
    assert f'data-name="detectable">{shown}<' in render(board, "html")
    assert shown in terminal.render(board)
    for name in ("md", "html"):
        assert "with 80 % probability" in render(board, name)
    none = build_board(BoardSpec(name="b", title="B", claims=(claim(better="x"),)), cells())
    assert "probability" not in render(none, "md")


def test_a_paper_may_give_the_difference_alone(cells):
    (result,) = judge_claims([claim(paper_gain=4.23)], cells())
    assert result.claim.paper_difference == 4.23
    assert claim(paper_gain=4.23, paper_better=2.0, paper_worse=1.0).paper_difference == 1.0


def test_the_reverse_claim_is_contradicted_and_strict_raises(cells):
    results = judge_claims([claim("target", "target-sft-wrpo")], cells())
    assert results[0].verdict == "contradicted"
    with pytest.raises(ClaimContradicted, match="1 claim contradicted: c"):
        require(results)


def test_equal_systems_show_nothing(cells):
    results = judge_claims([claim("x", "y")], cells({"x": 40.0, "y": 40.0}))
    assert results[0].verdict == "not shown"
    require(results)


def test_lower_is_better_turns_the_direction(cell):
    scores = [cell("few", 20, higher_is_better=False), cell("many", 60, higher_is_better=False)]
    good, bad = judge_claims([claim("few", "many", id="a"), claim("many", "few", id="b")], scores)
    assert (good.verdict, bad.verdict) == ("holds", "contradicted")
    assert good.difference < 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (None, "no alpaca_eval2 lc_win_rate of b"),
        ({"judge_fingerprint": "f2"}, "judge fingerprint differs"),
        ({"prompt_set": "p2"}, "prompt set differs"),
        ({"scale": "paper"}, "scale differs"),
        ({"replicates": ()}, "replicates"),
        ({"value": None, "interval": None}, "b: the suite gave no value"),
    ],
)
def test_what_cannot_be_compared_is_not_tested(cell, changes, reason):
    scores = [cell("a", 70)]
    if changes is not None:
        scores.append(cell("b", 30).model_copy(update=changes))
    (result,) = judge_claims([claim("a", "b")], scores)
    assert result.verdict == "not tested"
    assert reason in result.reason
    assert result.interval is None
    require([result])


def test_margins_demand_or_forgive(cell):
    scores = [cell("a", 52), cell("b", 50)]
    demanding = claim("a", "b", margin=30.0)
    forgiving = claim("b", "a", margin=-30.0)
    assert [r.verdict for r in judge_claims([demanding], scores)] == ["contradicted"]
    assert [r.verdict for r in judge_claims([forgiving], scores)] == ["holds"]


def test_summary_counts_in_a_fixed_order(cells):
    claims = [
        claim("target", "target-sft-wrpo", id="a"),
        claim(id="b"),
        claim(id="c"),
        claim("nobody", "target", id="d"),
    ]
    assert summary(judge_claims(claims, cells())) == "2 hold, 1 contradicted, 1 not tested"


bound = st.floats(-100, 100)


@given(a=bound, b=bound, margin=st.floats(-5, 5))
def test_swapping_sides_swaps_the_verdict(a, b, margin):
    low, high = sorted((a, b))
    forward = outcome_of(Interval(low=low, high=high, kind="k"), margin)
    backward = outcome_of(Interval(low=-high, high=-low, kind="k"), -margin)
    swapped = {"holds": "contradicted", "contradicted": "holds", "not shown": "not shown"}
    assert backward == swapped[forward]
    assert outcome_of(Interval(low=-high, high=-low, kind="k"), margin, False) == forward
