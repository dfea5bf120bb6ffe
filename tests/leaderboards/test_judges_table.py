"""The table of a board's judges, and its sentences for narrow screens."""

from __future__ import annotations

from harness.core.records import Interval
from leaderboards.judge_agreement import JudgePair
from leaderboards.render.judges import HEADS, rows, sentences

FULL = JudgePair(
    suite="arena_hard", metric="win_rate", first="gold", second="other", systems=4,
    spearman=0.8, spearman_interval=Interval(low=0.2, high=1.0, kind="own"), kendall=-0.6667,
    verdicts=1200, equal=87.34, kappa=0.708,
    kappa_interval=Interval(low=0.6, high=0.75, kind="own"),
)  # fmt: skip
BARE = JudgePair(suite="mt_bench", metric="score", first="gold", second="third", systems=1)


def test_a_line_has_figures_with_their_intervals_and_dashes_for_what_is_missing() -> None:
    full, bare = rows([FULL, BARE])
    assert len(full) == len(bare) == len(HEADS)
    assert full == (
        "arena_hard win rate", "gold, other", "4", "0.80 [0.20, 1.00]", "-0.67", "1,200",
        "87.3 %", "0.71 [0.60, 0.75]",
    )  # fmt: skip
    assert bare == ("mt_bench score", "gold, third", "1", *["—"] * 5)


def test_a_sentence_leaves_out_verdicts_that_were_not_compared() -> None:
    assert sentences([FULL, BARE]) == [
        (
            "arena_hard win rate: gold, other",
            "4 systems: Spearman 0.80 [0.20, 1.00], Kendall -0.67; 1,200 verdicts: 87.3 % equal, "
            "kappa 0.71 [0.60, 0.75]",
        ),
        ("mt_bench score: gold, third", "1 systems: Spearman —, Kendall —"),
    ]
