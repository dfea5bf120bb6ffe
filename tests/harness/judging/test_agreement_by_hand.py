"""Figures of agreement on a few verdicts, computed by hand, and their cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.core.hashing import digest
from harness.judging.agreement import BOTH, JUDGE, REFERENCE, Agreement, compare
from harness.judging.agreement_cells import cells
from harness.judging.records import Game
from harness.judging.verdict_sets import JudgedItem, VerdictKind, VerdictSet

Shares = Sequence[tuple[str, float]]


def game(first: str, share: float) -> Game:
    return Game(first, share if first == "model" else 1 - share)


def verdicts(
    values: Sequence[float | None],
    kind: VerdictKind = "alpaca",
    *,
    judge: str = "j",
    lengths: Sequence[tuple[float, float] | None] = (),
    games: Sequence[Shares] = (),
    **more: Any,
) -> VerdictSet:
    """Verdicts on the prompts "0", "1", ..., of one system or of those named."""
    systems = more.pop("systems", ["m"] * len(values))
    items = []
    for place, (value, system) in enumerate(zip(values, systems, strict=True)):
        played = tuple(game(*each) for each in games[place]) if games else ()
        own = lengths[place] if lengths else None
        items.append(JudgedItem(f"{place}", system, value, games=played, lengths=own))
    return VerdictSet(judge, kind, tuple(items), judge, "suite", **more)


def figures(found: Agreement, *names: str, of: str = BOTH) -> list[float | None]:
    chosen = [found.figure(name, of) for name in names]
    return [figure and figure.value for figure in chosen]


def test_binary_verdicts_have_precision_and_recall() -> None:
    found = compare(verdicts([1, 1, 1, 0, 0], "binary"), verdicts([1, 0, 0, 0, 1], "binary"))
    assert figures(found, "agreement", "precision", "recall") == pytest.approx([40, 100 / 3, 50])
    assert figures(found, "kappa") == pytest.approx([(0.4 - 0.48) / (1 - 0.48)])
    assert figures(found, "positives", of=JUDGE) == [60]
    assert figures(found, "positives", of=REFERENCE) == [40]
    precision, recall = found.figure("precision"), found.figure("recall")
    assert precision is not None
    assert recall is not None
    assert (precision.n, precision.prompts, precision.unit) == (3, 3, "%")
    assert (recall.n, recall.prompts) == (2, 2)


def test_ratings_have_mean_gap_and_two_kappas() -> None:
    found = compare(verdicts([8, 6, 5], "rating"), verdicts([8, 5, 2], "rating"))
    # Squares of all nine gaps: 84 / 9; of the three pairs: 10 / 3.
    assert figures(found, "kappa_quadratic") == pytest.approx([1 - (10 / 3) / (84 / 9)])
    # By chance: both 8 in 1 of 9, both 5 in 1 of 9.
    assert figures(found, "kappa") == pytest.approx([(1 / 3 - 2 / 9) / (1 - 2 / 9)])
    assert figures(found, "agreement", "agreement_within_1") == pytest.approx([100 / 3, 200 / 3])
    means = [found.figure("mean_rating", of) for of in (JUDGE, REFERENCE)]
    assert [mean and (mean.value, mean.unit, mean.n) for mean in means] == [
        (pytest.approx(19 / 3), "points", 3), (5, "points", 3)
    ]  # fmt: skip
    assert found.figure("win_rate", JUDGE) is None


def test_labels_are_compared_game_by_game() -> None:
    judged = [[("baseline", 0.25), ("model", 0.75)], [("baseline", 0.5), ("model", 1.0)]]
    reference = [[("baseline", 0.25), ("model", 0.5)], [("baseline", 0.5)]]
    found = compare(
        verdicts([0.5, 0.75], "arena", games=judged),
        verdicts([0.375, 0.5], "arena", games=reference),
    )
    names = ("label_agreement", "label_kappa", "label_kappa_quadratic")
    assert figures(found, *names) == pytest.approx([200 / 3, 0.5, 2 / 3])
    label = found.figure("label_agreement")
    assert label is not None
    assert (label.n, label.prompts) == (3, 2)
    other = compare(verdicts([0.5, 0.75], "arena"), verdicts([0.375, 0.5], "arena"))
    assert other.figure("label_agreement") is None


def test_positions_count_ties_half_and_contradictions_need_both_orders() -> None:
    games: list[Shares] = [
        [("model", 1.0)],  # the first shown wins
        [("baseline", 1.0)],  # the second
        [("model", 0.5)],  # a tie
        [("baseline", 0.25), ("model", 0.75)],  # both times the first
        [("baseline", 0.75), ("model", 0.25)],  # both times the second
        [("baseline", 0.5), ("model", 0.5)],  # ties contradict nothing
        [("baseline", 1.0), ("model", 1.0)],  # the model
        [("model", 1.0), ("model", 1.0)],  # one order only
    ]
    values = [1, 1, 0.5, 0.5, 0.5, 0.5, 1, 1]
    found = compare(verdicts(values, games=games), verdicts(values))
    # 1, 0, 0.5; 1, 1; 0, 0; 0.5, 0.5; 0, 1; 1, 1: 13 games.
    names = ("first_shown", "contradictions", "contradictions_to_first")
    assert figures(found, *names, of=JUDGE) == pytest.approx([100 * 7.5 / 13, 50, 50])
    first, torn, to_first = (found.figure(name, JUDGE) for name in names)
    assert [each and (each.n, each.prompts) for each in (first, torn, to_first)] == [
        (13, 8), (4, 4), (2, 2)
    ]  # fmt: skip
    assert figures(found, *names, of=REFERENCE) == [None] * 3
    single = compare(verdicts(values, games=games[:3] + [[]] * 5), verdicts(values))
    assert figures(single, "first_shown", of=JUDGE) == [50]
    assert single.figure("contradictions", JUDGE) is None


def test_the_longer_answer_is_preferred_among_decided_unequal_lengths() -> None:
    values = [1.0, 0.0, 0.0, 0.5, 1.0, 1.0]
    lengths = [(120.0, 100.0), (120.0, 100.0), (80.0, 100.0), (90.0, 100.0), (100.0, 100.0), None]
    turned = [1 - value for value in values]
    found = compare(verdicts(values), verdicts(turned, lengths=lengths))
    longer = found.figure("prefers_longer", JUDGE)
    assert longer is not None
    assert (longer.value, longer.n, longer.prompts) == (pytest.approx(200 / 3), 3, 3)
    assert figures(found, "prefers_longer", of=REFERENCE) == pytest.approx([100 / 3])
    slopes = [figures(found, "length_slope", of=side)[0] for side in (JUDGE, REFERENCE)]
    excess = found.figure("length_slope_excess")
    assert excess is not None
    assert slopes[0] is not None
    assert slopes == pytest.approx([slopes[0], -slopes[0]])
    assert (excess.value, excess.n) == (pytest.approx(2 * slopes[0]), 5)
    assert compare(verdicts(values), verdicts(turned)).figure("length_slope", JUDGE) is None


def test_three_systems_are_ranked() -> None:
    names = ["x", "y", "z"] * 2
    judged = verdicts([0.1, 0.4, 0.9, 0.3, 0.4, 0.9], systems=names)
    reference = verdicts([0.5, 0.2, 0.8, 0.5, 0.2, 0.8], systems=names)
    found = compare(judged, reference, rounds=30)
    # Means 0.2, 0.4, 0.9 and 0.5, 0.2, 0.8: two places differ by one.
    assert figures(found, "spearman", "kendall") == pytest.approx([0.5, 1 / 3])
    figure = found.figure("spearman")
    assert figure is not None
    assert (figure.n, figure.unit) == (3, "")
    # Every system has its value on all of its prompts, so that no resample ranks them otherwise.
    first, then = (verdicts(each * 2, systems=names) for each in ([0.1, 0.4, 0.9], [0.5, 0.2, 0.8]))
    figure = compare(first, then, rounds=30).figure("spearman")
    assert figure is not None
    assert figure.estimate.replicates == pytest.approx(0.5)
    two = compare(
        verdicts([0.1, 0.4], systems=["x", "y"]), verdicts([0.1, 0.4], systems=["x", "y"])
    )
    assert two.figure("spearman") is None


def test_systems_are_named_in_order() -> None:
    names = list("hgfedcba")
    made = [verdicts([0.1] * 8, systems=names) for _ in range(2)]
    assert compare(*made, rounds=5).systems == tuple("abcdefgh")


@pytest.mark.parametrize(
    ("value", "margin", "tie"),
    [
        *[(0.5, 0.0, True), (0.5 + 1e-12, 0.0, True), (0.501, 0.0, False)],
        *[(0.75, 0.25, True), (0.25, 0.25, True), (0.76, 0.25, False), (0.24, 0.25, False)],
    ],
)
def test_a_preference_near_one_half_is_a_tie(value: float, margin: float, tie: bool) -> None:
    found = compare(verdicts([value, 1.0]), verdicts([0.5, 1.0]), tie_margin=margin)
    assert figures(found, "agreement") == [100 if tie else 50]
    assert figures(found, "win_rate", of=JUDGE) == pytest.approx([50 * (value + 1)])
    assert figures(found, "agreement_without_ties") == [100]


def test_levels_resamples_and_constant_labels() -> None:
    values, other = [1.0, 0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0, 1.0]
    found = compare(verdicts(values), verdicts(other)).figure("agreement")
    narrow = compare(verdicts(values), verdicts(other), level=0.5).figure("agreement")
    assert found is not None
    assert narrow is not None
    assert found.interval is not None
    assert narrow.interval is not None
    assert (found.interval.level, narrow.interval.level) == (0.95, 0.5)
    assert found.interval.low < narrow.interval.low < 60 < narrow.interval.high
    assert len(found.estimate.replicates) == 1000
    constant = compare(verdicts([1.0] * 3), verdicts([1.0] * 3)).figure("kappa")
    assert constant is not None
    assert (constant.value, constant.n, constant.prompts) == (None, 3, 0)


def test_a_cell_is_of_the_judge_against_the_verdicts_of_the_reference() -> None:
    reference = verdicts([0.0, 1.0, 1.0], judge="gold", fingerprint="g", scale="nano")
    judged = verdicts([0.0, 0.0, None], judge="mine", fingerprint="f", scale="paper")
    found = compare(judged, reference, rounds=20)
    made = {cell.metric: cell for cell in cells(found)}
    cell = made["judge_agreement"]
    assert (cell.value, cell.unit, cell.n_expected, cell.n_failed) == (50, "%", 3, 1)
    assert cell.bounds == pytest.approx((100 / 3, 200 / 3))
    assert cell.resampled is not None
    assert (cell.resampled.units, cell.decode_fingerprint) == (2, None)
    assert (cell.scale, cell.prompt_set) == ("nano", digest(["0", "1", "2"]))
    said = [["0", "m", 1, 0.0], ["1", "m", 1, 1.0], ["2", "m", 1, 1.0]]
    assert cell.judge_fingerprint == digest(["gold", "g", said])[:16]
    assert cell.details == {
        "n": 2, "systems": 1, "only_judged": 0, "only_reference": 0, "other_answers": 0,
        "fingerprint": "f",
    }  # fmt: skip
    rate = made["judge_win_rate"]
    assert (rate.value, rate.details["reference"], rate.bounds) == (0, 50, None)
    assert (cell.primary, made["judge_kappa"].primary, rate.primary) == (True, True, False)
    plain = cells(compare(verdicts([0.0, 1.0], scale="paper"), verdicts([0.0, 1.0])))[0]
    assert (plain.scale, plain.details["fingerprint"]) == ("paper", None)
    assert plain.bounds is None


def test_fewer_contradictions_are_better() -> None:
    games: list[Shares] = [[("baseline", 0.25), ("model", 0.75)]] * 2
    found = cells(compare(verdicts([0.5, 0.5], games=games), verdicts([0.5, 1.0]), rounds=20))
    better = {cell.metric: cell.higher_is_better for cell in found}
    assert better["judge_contradictions"] is False
    assert {better[name] for name in better if name != "judge_contradictions"} == {True}
