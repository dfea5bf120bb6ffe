"""Cells of the domain suites by hand: rates of five prompts, and of six checked problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.core.records import Cell
from harness.engine.operations import Artifact, Estimate, Row
from harness.judging.records import Game, Judged, JudgedTurn
from harness.suites.domain.cells import ScoreDomainParams, domain_cells
from harness.suites.domain.judging import JudgeDomainParams, judge_domain, rules
from harness.suites.domain.mathematics import math_cells, problem_fields
from harness.suites.domain.metrics import count, first_shown_share
from harness.suites.domain.prompts import prompt_hash
from harness.suites.domain.verdicts import parse_verdict, states_order
from harness.suites.scoring import CellMaker, CellParams

KNOWN: dict[str, Any] = {"suite": "s", "system": "m", "scale": "nano", "rounds": 40}
# Verdicts of the game with the baseline first and of that with the model first.
PLAYED = [("B", "A"), ("A", "A"), ("tie", "B"), ("A", "B"), (None, "A")]


def judged(number: int, verdicts: tuple[str | None, ...], **more: Any) -> Judged:
    games = tuple(
        Game(first, verdict, "Assistant 1 > Assistant 2", 1, None if verdict else "unread", **more)
        for first, verdict in zip(("baseline", "model"), verdicts)
    )
    return Judged("pairwise", f"p{number}", "m", (JudgedTurn("q", "a", "b", games),))


def cells_of(rows: list[Judged], **more: Any) -> dict[str, Cell]:
    params = ScoreDomainParams(**KNOWN, **more)
    return {c.metric: c for c in domain_cells(CellMaker(params, "set", {}), params, rows)}


def test_five_prompts_give_five_rates() -> None:
    rows = [judged(number, verdicts) for number, verdicts in enumerate(PLAYED)]
    cells = cells_of(rows)
    assert list(cells) == [
        "beat_rate", "win_rate", "tie_rate", "lose_rate", "contradiction_rate", "unparsed_rate"
    ]  # fmt: skip
    assert [cells[f"{name}_rate"].value for name in ("win", "tie", "lose")] == [25, 50, 25]
    beat = cells["beat_rate"]
    assert (beat.value, beat.n_expected, beat.n_failed) == (50, 5, 1)
    assert beat.bounds == pytest.approx((100 / 3, 200 / 3))
    assert beat.resampled.units == 2
    assert beat.details == {
        "win": 1, "tie": 2, "lose": 1, "orders": "both", "parser": "strict", "failed: unread": 1
    }  # fmt: skip
    torn = cells["contradiction_rate"]
    # Of four prompts the second; of the decided games A, A, A, B, B, A, B, A of nine: the tie.
    assert (torn.value, torn.n_failed) == (25, 1)
    assert torn.details == {"first_shown_share": pytest.approx(5 / 8)}
    assert cells["unparsed_rate"].value == 10  # one of two reviews of one prompt
    assert {n: (c.primary, c.higher_is_better) for n, c in cells.items()} == {
        "beat_rate": (True, True), "win_rate": (False, True), "tie_rate": (False, True),
        "lose_rate": (False, False), "contradiction_rate": (False, False),
        "unparsed_rate": (False, False),
    }  # fmt: skip


def test_with_one_order_nothing_can_contradict() -> None:
    cells = cells_of([judged(0, ("B",)), judged(1, ("A",))], orders="single")
    assert "contradiction_rate" not in cells
    assert cells["beat_rate"].value == 50


def test_reviews_that_were_never_written_are_not_unparsed() -> None:
    def unparsed(game: Game, **more: Any) -> float | None:
        row = Judged("pairwise", "p", "m", (JudgedTurn("q", "a", "b", (game, game)),))
        return cells_of([row], **more)["unparsed_rate"].value

    assert unparsed(Game("model", None, "", 1, "no verdict found")) == 100
    assert unparsed(Game("model", None, "", 1, "the judge failed: HTTP 503")) is None
    assert unparsed(Game("model", None, "", 0, "no answer was generated")) is None
    # As released, a review without a pattern is a tie; that it has none is counted.
    assert unparsed(Game("model", "tie", "no order", 1), parser="compat") == 100
    assert unparsed(Game("model", "tie", "Assistant 1 = Assistant 2", 1), parser="compat") == 0


def test_each_further_baseline_has_its_beat_rate(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    rows = [judged(number, verdicts).row() for number, verdicts in enumerate(PLAYED)]
    others = (rows_artifact(rows[:1]), rows_artifact(rows[3:4]))
    made = run_operation(
        "score_domain", {**KNOWN, "names": ("x", "y")}, judgments=rows_artifact(rows[::-1]),
        others=others,
    )  # fmt: skip
    found = {c["metric"]: c for c in made.read_json("cells.json")}
    rates = {name: found[name]["value"] for name in ("beat_rate", "beat_rate:x", "beat_rate:y")}
    assert rates == {"beat_rate": 50, "beat_rate:x": 100, "beat_rate:y": 0}
    assert [found[f"beat_rate:{x}"]["primary"] for x in "xy"] == [False, False]
    assert len(found) == 8
    assert found["win_rate"]["resampled"]["values"] == [100, 0, 0, 0, None]


def test_counts_and_the_first_shown_share() -> None:
    counts = count(["win", "win", "tie", "lose", None, None, None])
    assert (counts.win, counts.tie, counts.lose, counts.failed) == (2, 1, 1, 3)
    assert counts.beat_rate == pytest.approx(200 / 3)
    games = [Game("model", verdict) for verdict in ("A", "B", "B", "tie", None)]
    assert first_shown_share(games) == pytest.approx(1 / 3)


def test_the_judge_has_the_settings_of_the_release() -> None:
    params = JudgeDomainParams(judge="j", fingerprint="f")
    assert (params.orders, params.cleaning) == ("both", "header")
    made = rules(params)
    assert (made.sampling.temperature, made.sampling.max_tokens) == (0.0, 2048)
    assert (made.kind, made.parser) == ("ordering", "ordering-strict/1")
    assert made.order_rule == "two games: baseline first, then model first"
    single = rules(params.model_copy(update={"orders": "single", "max_tokens": 5}))
    assert (single.order_rule, single.sampling.max_tokens) == ("one game: baseline first", 5)
    assert rules(params.model_copy(update={"parser": "compat"})).parser == "ordering-compat/1"
    assert prompt_hash() == "0b18b9e53b09fce3062cd1a074475097"
    assert made.suspicion("An assistant said: 1 > 0") is None
    assert made.suspicion("[[A>B]]") == "it holds a judge's verdict: [[a>b]]"


def test_one_order_costs_half_of_two() -> None:
    from harness.engine.operations import Operation
    from harness.engine.registry import load_operation

    operation: Operation = load_operation("judge_domain")
    assert operation.function is judge_domain
    assert operation.estimate is not None
    both, single = (
        operation.estimate(
            JudgeDomainParams(judge="j", fingerprint="f", orders=orders),
            generations=Estimate(rows=4), baseline=Estimate(rows=4),
        )
        for orders in ("both", "single")
    )  # fmt: skip
    assert (both.rows, both.requests, single.requests) == (4, 8, 4)
    assert both.tokens == 2 * (single.tokens or 0)


def problem(id: str, correct: bool | None, found: str | None = "1", **more: Any) -> Row:
    check = {"correct": correct, "reason": more.pop("reason", "")}
    return {"id": id, "checks": [check], "found": [found], "level": None, "subject": None, **more}


def test_checked_problems_give_accuracy_by_level_and_subject() -> None:
    rows = [
        problem("a", True, level=1, subject="Algebra"),
        problem("b", False, "", level=1, subject="Geometry"),
        problem("c", None, None, reason="x" * 99, level=5),
        problem("d", True, "\\text{ }", subject="Algebra"),
        {**problem("e", None), "checks": [], "found": [], "error": "late" * 30},
        {**problem("f", None), "checks": [], "found": []},
    ]
    maker = CellMaker(CellParams(**KNOWN), "set", {})
    cells = {c.metric: c for c in math_cells(maker, rows)}
    assert list(cells) == [
        "accuracy", "unanswered_rate", "accuracy:level_1", "accuracy:level_5", "accuracy:Algebra",
        "accuracy:Geometry",
    ]  # fmt: skip
    whole = cells["accuracy"]
    assert (whole.value, whole.n_expected, whole.n_failed) == (50, 6, 2)
    assert whole.bounds == pytest.approx((100 * 2 / 6, 100 * 4 / 6))
    assert whole.details == {
        f"not compared: {'x' * 60}": 1,
        f"failed: {'late' * 15}": 1,
        "failed: no answer": 1,
    }
    assert cells["unanswered_rate"].value == 75
    parts = ("level_1", "level_5", "Algebra", "Geometry")
    assert [cells[f"accuracy:{part}"].value for part in parts] == [50, 0, 100, 0]
    assert cells["accuracy:level_1"].n_expected == 2
    every = [problem(str(level), True, level=level) for level in (16, 1, 5, 2, 33, 8)]
    order = [c.metric for c in math_cells(maker, every)][2:]
    assert order == [f"accuracy:level_{level}" for level in (1, 2, 5, 8, 16, 33)]
    assert [(c.primary, c.higher_is_better) for c in cells.values()] == [
        (True, True), (False, False), *[(False, True)] * 4
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"answer": 0}, "0"), ({"answer": "", "solution": "\\boxed{2}"}, "2"),
        ({"std_answer": "\\boxed{3}", "solution": "\\boxed{2}"}, "3"),
        ({"std_answer": "none", "solution": "\\boxed{1} or \\boxed{2}"}, "2"),
    ],
)  # fmt: skip
def test_the_gold_answer_is_given_or_the_last_box(row: Row, answer: str) -> None:
    assert problem_fields({"id": "x", **row})["answer"] == answer


def test_levels_are_whole_numbers_and_subjects_have_two_names() -> None:
    def fields(**row: Any) -> tuple[Any, Any]:
        found = problem_fields({"id": "x", "answer": "1", **row})
        return found["level"], found["subject"]

    assert fields(level="Level 12", subject="S", type="T") == (12, "S")
    assert fields(level=3, type="T") == (3, "T")
    assert fields(level="1 of 5") == (None, None)
    with pytest.raises(BadData, match="it has answer, id"):
        problem_fields({"id": "x", "answer": " "})


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("Assistant 1 = Assistant 2 > Assistant 1", "assistant_2"),
        ("Assistant 1 > Assistant 1, so Assistant 2 > Assistant 1", "assistant_2"),
        ("Assistant 2 is better; but overall Assistant 1 is better", "assistant_1"),
        ("Assistant 2 is better; Assistant 1 is better", None),
        ("Assistant 1 > Assistant 2. Assistant 2 = Assistant 1", "tie"),
        ("Either Assistant 1 > Assistant 2, or Assistant 2 > Assistant 1", None),
        ("Assistant 2 is not as good as Assistant 1", "assistant_1"),
        ("Assistant 2 loses", "assistant_1"),
        ("They are equal, yet Assistant 2 wins over Assistant 1", "assistant_2"),
        ("Assistant 1 >> Assistant 2", "assistant_1"),
        ("Assistant 1 <= Assistant 2", "assistant_2"),
        ("Assistant 1 == Assistant 2", "tie"),
    ],
)
def test_the_last_of_several_statements_counts_if_the_line_turns_to_it(
    line: str, verdict: str | None
) -> None:
    assert parse_verdict(line) == verdict


def test_the_last_two_thousand_characters_of_a_line_are_read() -> None:
    order = "Assistant 1 > Assistant 2"
    assert parse_verdict(order + " " * (1999 - len(order)) + "x") == "assistant_1"
    assert parse_verdict(order + " " * (2000 - len(order)) + "x") is None
    assert states_order(order + " " + "x" * (1999 - len(order)))
    assert not states_order(order + " " + "x" * (2000 - len(order)))
