"""Two judges on the same answers: what is joined, what is found, and the laws of both."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.judging.agreement import BOTH, JUDGE, REFERENCE, Agreement, compare
from harness.judging.agreement_cells import cells
from harness.judging.frames import KINDS, Kind
from harness.judging.records import Game
from harness.judging.verdict_sets import JudgedItem, VerdictSet

ROUNDS = 60


def game(first: str, share: float) -> Game:
    """A game in which the model has this share of the win."""
    return Game(first, share if first == "model" else 1 - share)


def verdicts(
    values: dict[str, float | None],
    judge: str = "judge",
    kind: Kind = "alpaca",
    system: str = "m",
    firsts: dict[str, str] | None = None,
    **more: Any,
) -> VerdictSet:
    """A set with one game a prompt; lengths grow with the number of the prompt."""
    found = []
    for number, (prompt, value) in enumerate(values.items()):
        first = (firsts or {}).get(prompt, ("model", "baseline")[number % 2])
        games = () if value is None or kind == "rating" else (game(first, value),)
        lengths = None if kind == "rating" else (100.0 + 10 * number, 120.0)
        found.append(JudgedItem(prompt, system, value, games=games, lengths=lengths))
    settings: dict[str, Any] = {"source": f"{judge}.json", "suite": "suite", **more}
    return VerdictSet(judge=judge, kind=kind, items=tuple(found), **settings)


def noisy(n: int = 80, seed: int = 0, scale: float = 1.0) -> dict[str, float | None]:
    base = np.random.default_rng(7).normal(size=n)
    noise = np.random.default_rng(seed).normal(size=n)
    shares = 1 / (1 + np.exp(-(base + scale * noise)))
    return {f"p{number:03d}": float(share) for number, share in enumerate(shares)}


def figures(found: Agreement) -> dict[tuple[str, str], float | None]:
    return {(f.name, f.of): f.value for f in found.figures}


def test_equal_judgments_agree_completely() -> None:
    found = compare(verdicts(noisy()), verdicts(noisy(), "other"), rounds=ROUNDS)
    for name in ("agreement", "agreement_without_ties", "kappa", "pearson"):
        figure = found.figure(name)
        assert figure is not None
        assert figure.value == pytest.approx(100.0 if figure.unit == "%" else 1.0)
    share = found.figure("agreement").interval
    assert share.high == 100
    assert 90 < share.low < 100  # other prompts may differ: the rule of three
    for name in ("kappa", "pearson"):  # without any disagreement their spread is unknown
        assert found.figure(name).interval is None
    assert found.figure("length_slope_excess").value == 0.0  # type: ignore[union-attr]


def test_kappa_of_two_constant_judges_has_no_value() -> None:
    """0 / 0: the judges agree, but their labels carry nothing to agree on."""
    wins = {f"p{number}": 1.0 for number in range(20)}
    found = compare(verdicts(wins), verdicts(wins, "other"), rounds=ROUNDS)
    assert found.figure("agreement").value == 100
    assert found.figure("kappa").value is None
    assert found.figure("pearson").value is None


def test_one_prompt_has_no_interval() -> None:
    found = compare(verdicts({"p": 1.0}), verdicts({"p": 0.0}, "other"), rounds=ROUNDS)
    assert {figure.interval for figure in found.figures} == {None}


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_the_sides_swaps_the_figures(kind: Kind) -> None:
    first, second = noisy(seed=1), noisy(seed=2)
    if kind == "rating":
        first, second = (
            {k: float(1 + round(9 * v)) for k, v in side.items() if v is not None}
            for side in (first, second)
        )
    elif kind != "alpaca":
        first, second = (
            {k: round(4 * v) / 4 for k, v in side.items() if v is not None}
            for side in (first, second)
        )
    a, b = verdicts(first, "a", kind), verdicts(second, "b", kind)
    straight, turned = compare(a, b, rounds=ROUNDS), compare(b, a, rounds=ROUNDS)
    assert len(straight.figures) == len(turned.figures) >= 6
    for figure in straight.figures:
        of = {JUDGE: REFERENCE, REFERENCE: JUDGE, BOTH: BOTH}[figure.of]
        other = turned.figure(figure.name, of)
        assert other is not None
        sign = -1 if figure.name == "length_slope_excess" else 1
        assert figure.value == pytest.approx(sign * other.value)
        assert figure.interval is not None
        assert other.interval is not None
        ends = sorted((sign * other.interval.low, sign * other.interval.high))
        assert [figure.interval.low, figure.interval.high] == pytest.approx(ends)
        assert figure.interval.low <= figure.value <= figure.interval.high


def test_the_order_of_rows_and_foreign_rows_change_nothing() -> None:
    a, b = verdicts(noisy(seed=1), "a"), verdicts(noisy(seed=2), "b")
    shuffled = random.Random(0).sample(a.items, len(a.items))
    foreign = JudgedItem("elsewhere", "m", 0.5)
    more = replace(a, items=(foreign, *shuffled))
    straight, other = compare(a, b, rounds=ROUNDS), compare(more, b, rounds=ROUNDS)
    assert figures(straight) == pytest.approx(figures(other))
    assert straight.prompt_set == other.prompt_set
    assert (other.joined.only_judged, other.joined.only_reference) == (1, 0)


def test_agreement_and_kappa_by_hand() -> None:
    reference = {"a": 0.9, "b": 0.8, "c": 0.1, "d": 0.5}
    judged = {"a": 0.7, "b": 0.2, "c": 0.3, "d": 0.6}
    found = figures(compare(verdicts(judged), verdicts(reference, "r"), rounds=ROUNDS))
    assert found["agreement", BOTH] == 50.0  # a and c
    assert found["agreement_without_ties", BOTH] == pytest.approx(200 / 3)
    # Marginals: judge win 2, loss 2; reference win 2, loss 1, tie 1; by chance (2*2 + 2*1) / 16.
    assert found["kappa", BOTH] == pytest.approx((0.5 - 0.375) / (1 - 0.375))
    wide = compare(verdicts(judged), verdicts(reference, "r"), tie_margin=0.15, rounds=ROUNDS)
    assert figures(wide)["agreement", BOTH] == 75.0  # d is a tie for both now


def test_a_leaning_to_the_first_shown_is_found() -> None:
    fair = noisy(400, seed=3, scale=0.3)
    firsts = {prompt: ("model", "baseline")[n % 2] for n, prompt in enumerate(sorted(fair))}
    odds = {p: np.log(v / (1 - v)) for p, v in fair.items() if v is not None}
    leaning: dict[str, float | None] = {
        p: float(1 / (1 + np.exp(-(x + (2 if firsts[p] == "model" else -2)))))
        for p, x in odds.items()
    }
    found = compare(
        verdicts(leaning, "leaning", firsts=firsts),
        verdicts(fair, "fair", firsts=firsts),
        rounds=ROUNDS,
    )
    first, other = found.figure("first_shown", JUDGE), found.figure("first_shown", REFERENCE)
    assert first is not None
    assert first.interval is not None
    assert first.interval.low > 80
    assert other is not None
    assert other.interval is not None
    assert other.interval.low < 50 < other.interval.high


def test_two_games_that_contradict_are_counted_with_their_direction() -> None:
    def judged(judge: str, shares: list[tuple[float, float]]) -> VerdictSet:
        rows = tuple(
            JudgedItem(f"p{n}", "m", 0.5, games=(game("baseline", one), game("model", two)))
            for n, (one, two) in enumerate(shares)
        )
        return VerdictSet(judge, "arena", rows, judge, "arena_hard")

    torn = [(0.25, 0.75), (0.75, 0.25), (1.0, 1.0), (0.5, 1.0)]
    sure = [(1.0, 1.0)] * 4
    found = figures(compare(judged("torn", torn), judged("sure", sure), rounds=ROUNDS))
    assert found["contradictions", JUDGE] == 50.0
    assert found["contradictions_to_first", JUDGE] == 50.0  # the first pair, not the second
    assert found["contradictions", REFERENCE] == 0.0
    assert found["contradictions_to_first", REFERENCE] is None
    assert found["label_agreement", BOTH] == pytest.approx(100 * 3 / 8)


def test_a_liking_of_length_shows_beyond_the_reference() -> None:
    fair = noisy(300, seed=4)
    gaps = np.tanh((np.arange(300) * 10 - 20) / np.std(np.arange(300) * 10, ddof=1))
    liking: dict[str, float | None] = {
        prompt: float(1 / (1 + np.exp(-(np.log(value / (1 - value)) + 1.5 * gap))))
        for (prompt, value), gap in zip(fair.items(), gaps, strict=True)
        if value is not None
    }
    found = compare(verdicts(liking), verdicts(fair, "fair"), rounds=ROUNDS)
    excess = found.figure("length_slope_excess")
    assert excess is not None
    assert excess.interval is not None
    assert excess.interval.low > 0.5
    longer = figures(found)
    assert longer["prefers_longer", JUDGE] > longer["prefers_longer", REFERENCE]  # type: ignore[operator]


def test_systems_are_ranked_alike_or_not() -> None:
    def several(judge: str, levels: dict[str, float]) -> VerdictSet:
        rows = tuple(
            JudgedItem(f"p{n:02d}", system, min(1.0, level + 0.01 * n))
            for system, level in levels.items()
            for n in range(20)
        )
        return VerdictSet(judge, "alpaca", rows, judge, "alpaca_eval2")

    levels = {"w": 0.1, "x": 0.3, "y": 0.5, "z": 0.7}
    turned = dict(zip(levels, reversed(levels.values()), strict=True))
    same = figures(compare(several("a", levels), several("b", levels), rounds=ROUNDS))
    assert (same["spearman", BOTH], same["kendall", BOTH]) == (1.0, 1.0)
    other = figures(compare(several("a", levels), several("b", turned), rounds=ROUNDS))
    assert (other["spearman", BOTH], other["kendall", BOTH]) == (-1.0, -1.0)
    few = {k: levels[k] for k in ("w", "x")}
    assert ("spearman", BOTH) not in figures(compare(several("a", few), several("b", few)))


def test_ratings() -> None:
    reference = {"a": 8.0, "b": 5.0, "c": 2.0}
    judged = {"a": 8.0, "b": 6.0, "c": 5.0}
    found = figures(
        compare(
            verdicts(judged, kind="rating"),
            verdicts(reference, "r", "rating"),
            rounds=ROUNDS,
        )
    )
    assert found["agreement", BOTH] == pytest.approx(100 / 3)
    assert found["agreement_within_1", BOTH] == pytest.approx(200 / 3)
    assert found["pearson", BOTH] == pytest.approx(np.corrcoef([8, 6, 5], [8, 5, 2])[0, 1])
    assert (found["mean_rating", JUDGE], found["mean_rating", REFERENCE]) == pytest.approx(
        (19 / 3, 5.0)
    )
    with pytest.raises(
        BadData, match=r"judge.json contains ratings of one answer, r.json verdicts on two"
    ):
        compare(verdicts(judged, kind="rating"), verdicts(reference, "r"))


def test_rows_are_joined_by_id_then_bare_id_then_text() -> None:
    def one(judge: str, prompt: str, text: str = "", system: str = "m") -> VerdictSet:
        rows = (JudgedItem(prompt, system, 0.9, text=text), JudgedItem("both", system, 0.2))
        return VerdictSet(judge, "alpaca", rows, judge, "s")

    for left, right in (
        (one("a", "81"), one("b", "81")),
        (one("a", "mt_bench/81"), one("b", "81")),
        (one("a", "x", "digest"), one("b", "y", "digest")),
        (one("a", "81", system="nano:target"), one("b", "81", system="the same by another name")),
    ):
        assert compare(left, right, rounds=ROUNDS).n_scored == 2
    assert compare(one("a", "x"), one("b", "y"), rounds=ROUNDS).n_scored == 1
    with pytest.raises(BadData, match='"81" is a different prompt on each side'):
        compare(one("a", "81", "this"), one("b", "81", "that"))


def test_a_bare_id_that_two_share_joins_nothing() -> None:
    rows = tuple(JudgedItem(f"{suite}/1", "m", 0.9) for suite in ("x", "y"))
    left = VerdictSet("a", "alpaca", rows, "a", "s")
    right = VerdictSet("b", "alpaca", (JudgedItem("1", "m", 0.1),), "b", "s")
    with pytest.raises(BadData, match="no prompt in common"):
        compare(left, right)


def test_other_answers_are_left_out_and_mostly_other_answers_refused() -> None:
    def judged(judge: str, answers: str) -> VerdictSet:
        rows = tuple(
            JudgedItem(f"p{number}", "m", 0.9, answers=answer)
            for number, answer in enumerate(answers)
        )
        return VerdictSet(judge, "alpaca", rows, judge, "s")

    found = compare(judged("a", "xyz"), judged("b", "xy-"), rounds=ROUNDS)
    assert (found.n_scored, found.joined.other_answers) == (2, 1)
    with pytest.raises(BadData, match="2 of 3 common prompts have different answers"):
        compare(judged("a", "xyz"), judged("b", "x--"))


def test_no_system_in_common_is_refused() -> None:
    def several(*names: str) -> VerdictSet:
        rows = tuple(JudgedItem("p", name, 0.9) for name in names)
        return VerdictSet("j", "alpaca", rows, "file", "s")

    with pytest.raises(BadData, match="no system in common: file judges a, b"):
        compare(several("a", "b"), several("c", "d"))


def test_failures_of_either_side_are_counted_apart() -> None:
    judged: dict[str, float | None] = {"a": 0.9, "b": None, "c": 0.1, "d": None}
    reference: dict[str, float | None] = {"a": 0.8, "b": 0.8, "c": None, "d": None}
    found = compare(verdicts(judged), verdicts(reference, "r"), rounds=ROUNDS)
    assert (found.n_scored, found.n_failed, found.n_reference_failed) == (1, 1, 2)
    nothing = compare(verdicts({"a": None}), verdicts({"a": 0.5}, "r"), rounds=ROUNDS)
    assert nothing.figures == ()


def test_cells_say_who_was_held_against_what() -> None:
    judged = {**noisy(seed=1), "lost": None}
    reference = {**noisy(seed=2), "lost": 0.9}
    found = compare(
        verdicts(judged, "mine", fingerprint="abc", scale="nano"),
        verdicts(reference, "gold"),
        rounds=ROUNDS,
    )
    made = {cell.metric: cell for cell in cells(found)}
    cell = made["judge_agreement"]
    assert (cell.system, cell.judge, cell.suite) == ("mine", "gold", "judge_agreement:suite")
    assert (cell.n_expected, cell.n_scored, cell.n_failed) == (81, 80, 1)
    assert cell.scale == "nano"
    assert len(cell.replicates) == ROUNDS
    assert cell.value is not None
    assert cell.bounds is not None
    assert cell.bounds[0] == pytest.approx(cell.value * 80 / 81)
    assert cell.bounds[1] == pytest.approx((cell.value * 80 + 100) / 81)
    assert made["judge_kappa"].primary
    assert made["judge_first_shown"].details["reference"] is not None
    other = compare(verdicts(noisy(seed=3), "another"), verdicts(reference, "gold"), rounds=ROUNDS)
    # The judge without the lost prompt stands on other prompts: a board will not rank the two.
    assert cells(other)[0].judge_fingerprint != cell.judge_fingerprint
    same = compare(
        verdicts({**noisy(seed=3), "lost": 0.1}, "another"),
        verdicts(reference, "gold"),
        rounds=ROUNDS,
    )
    assert cells(same)[0].judge_fingerprint == cell.judge_fingerprint
    assert cells(same)[0].prompt_set == cell.prompt_set
