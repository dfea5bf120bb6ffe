"""Cells of the hallucination suites on a few answers, computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.core.records import Cell
from harness.engine.operations import Artifact, Row
from harness.stats.bootstrap import resample_counts
from harness.stats.mcnemar import OUTCOMES, pack
from harness.suites.hallucination import prompts
from harness.suites.hallucination.agreement import judge_cells
from harness.suites.hallucination.metrics import judge_counts, read_answer, risk_coverage
from harness.suites.hallucination.refusals import SENTENCE
from harness.suites.hallucination.replies import parse_reply
from harness.suites.hallucination.rouge import rouge
from harness.suites.hallucination.short_facts import grades, short_fact_cells
from harness.suites.scoring import CellMaker, CellParams
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]
KNOWN: dict[str, Any] = {"suite": "s", "system": "m", "scale": "nano", "rounds": 50}
NEED, NO_NEED, UNKNOWN = "need_and_have_fact", "no_need_fact", "need_and_have_no_fact"


def outcome(score: float | None, attempts: int = 1, reply: str = "?", **more: Any) -> Row:
    value = None if score is None else {"score": score, **more}
    return {"value": value, "reply": reply, "attempts": attempts, "failure": None}


def row(id: str, text: str | None, wrong: float | None, good: float | None, **more: Any) -> Row:
    """A judged row; `logp` is that of one token."""
    if "logp" in more:
        more["confidence_scores"] = [{"logp": more.pop("logp"), "tokens": 2}]
    return {
        "id": id,
        "messages": [{"role": "user", "content": f"{id}?"}],
        "responses": [] if text is None else [text],
        "hallucination": outcome(wrong),
        "helpfulness": outcome(good),
        **more,
    }


ROWS = [
    row("a", "It is so.", 1, 8, knowledge="k", logp=-2.0, **{"class": NEED}),
    row("b", "It is not.", 0, 4, knowledge="k", logp=-0.2, **{"class": NEED}),
    row("c", SENTENCE, 1, 2, **{"class": UNKNOWN}),
    row("d", f"{SENTENCE} It is so.", 1, 6, logp=-1.0, **{"class": UNKNOWN}),
    row("e", " ", None, None, **{"class": NO_NEED}),
    row("f", "Well.", None, None, logp=-0.1),
    row("g", None, None, None, error="late"),
    row("h", SENTENCE, 0, 2, knowledge=" ", **{"class": NEED}),
]


@pytest.fixture
def score(run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]) -> Any:
    def run(operation: str, rows: Sequence[Row], name: str = "judgments", **more: Any) -> Any:
        questions = rows_artifact([])
        summary = {"n_dropped": {"too long": 2}, "n_repeated": 3}
        (questions.path / "summary.json").write_text(json.dumps(summary))
        inputs = {name: rows_artifact(list(reversed(rows))), "questions": questions}
        made = run_operation(
            operation, KNOWN | more, generations=rows_artifact(list(rows)), **inputs
        )
        cells = [Cell.model_validate(cell) for cell in made.read_json("cells.json")]
        return {cell.metric: cell for cell in cells}, made

    return run


def counts(cell: Cell) -> tuple[float | None, int, int]:
    return cell.value, cell.n_expected, cell.n_failed


def test_rates_over_all_answered_and_known_questions(score: Any) -> None:
    cells, _ = score("score_hallucination", ROWS)
    rate = cells["hallucination_rate"]
    # a, d of a, b, c, d, e, h; f was not read and g not answered.
    assert counts(rate) == (pytest.approx(100 * 2 / 6), 8, 2)
    assert rate.bounds == pytest.approx((25, 50))
    assert rate.details[OUTCOMES] == pack([False, True, True, False, True, False, False, True])
    assert (rate.details["left out: too long"], rate.details["repeated questions"]) == (2, 3)
    assert rate.details["n_parsed"] == 5
    assert (rate.unit, rate.primary, rate.higher_is_better) == ("%", True, False)
    answered = cells["hallucination_rate:answered"]
    assert counts(answered) == (pytest.approx(100 * 2 / 3), 4, 1)
    assert OUTCOMES not in answered.details
    known, unknown = (cells[f"hallucination_rate:{x}_knowledge"] for x in ("with", "without"))
    assert counts(known) == (50, 2, 0)
    assert counts(unknown) == (25, 6, 2)
    assert counts(cells[f"hallucination_rate:{NEED}"]) == (pytest.approx(100 / 3), 3, 0)
    assert counts(cells[f"hallucination_rate:{UNKNOWN}"]) == (50, 2, 0)
    assert counts(cells[f"hallucination_rate:{NO_NEED}"]) == (0, 1, 0)
    assert (known.primary, known.higher_is_better, known.unit) == (False, False, "%")


def test_helpfulness_is_a_mean_of_ratings_with_empty_answers_worst(score: Any) -> None:
    cell = score("score_hallucination", ROWS)[0]["helpfulness"]
    assert counts(cell) == (pytest.approx((8 + 4 + 2 + 6 + 1 + 2) / 6), 8, 2)
    assert cell.bounds == pytest.approx((25 / 8, 43 / 8))
    assert (cell.unit, cell.resampled.span, cell.higher_is_better) == ("1 to 10", (1, 10), True)


def test_refusals_are_counted_by_level_and_against_what_is_known(score: Any) -> None:
    cells, _ = score("score_hallucination", ROWS)
    # c and h of seven answers.
    assert counts(cells["refusal_rate"]) == (pytest.approx(200 / 7), 8, 1)
    assert cells["refusal_rate:exact"].value == pytest.approx(300 / 7)  # and d
    assert cells["refusal_rate:normalised"].value == pytest.approx(200 / 7)
    assert "refusal_rate:judge" not in cells
    assert cells["partial_refusals"].value == pytest.approx(100 / 7)
    assert cells["coverage"].value == pytest.approx(400 / 7)
    assert counts(cells["refusal_precision"]) == (50, 2, 0)  # c, not h
    assert counts(cells["refusal_recall"]) == (50, 2, 0)  # c, not d
    better = {name: (cells[name].primary, cells[name].higher_is_better) for name in (
        "refusal_rate", "refusal_rate:exact", "partial_refusals", "coverage", "refusal_precision",
        "refusal_recall")}  # fmt: skip
    assert list(better.values()) == [
        (True, False), (False, False), (False, False), (False, True), (False, True), (False, True)
    ]  # fmt: skip
    few, _ = score("score_hallucination", ROWS[:2])
    assert not {"refusal_precision", "refusal_recall"} & few.keys()


def test_the_judge_is_a_level_of_its_own_where_it_was_asked(score: Any) -> None:
    rows = [{**each, "refusal": {"value": each["id"] == "a"}} for each in ROWS]
    cells, _ = score("score_hallucination", rows, refusals_by="judge")
    assert cells["refusal_rate:judge"].value == cells["refusal_rate"].value
    assert cells["refusal_rate"].value == pytest.approx(100 / 7)  # a; c and h by the judge are not
    assert cells["refusal_rate:patterns"].value == pytest.approx(200 / 7)


def test_the_curve_goes_from_the_most_confident_answer_to_all(score: Any) -> None:
    cells, made = score("score_hallucination", ROWS)
    # b (right), d and a (wrong) by confidence; f was not read.
    area = cells["risk_coverage_area"]
    assert counts(area) == (pytest.approx(100 * (0 + 1 / 2 + 2 / 3) / 3), 4, 1)
    curve = made.read_json("curve.json")
    assert [point["coverage"] for point in curve] == [1 / 8, 2 / 8, 3 / 8]
    assert [point["hallucination"] for point in curve] == pytest.approx([0, 1 / 2, 2 / 3])
    expected = [math.exp(-0.1), math.exp(-0.5), math.exp(-1.0)]
    assert [point["confidence"] for point in curve] == pytest.approx(expected)
    assert (area.resampled.units, area.resampled.span, area.unit) == (3, (0, 100), "%")
    assert (area.primary, area.higher_is_better) == (False, False)
    drawn = resample_counts(area.prompt_set, 8, 50)[:, [1, 3, 0]].astype(float)
    number = np.cumsum(drawn, axis=1)
    risks = np.cumsum(drawn * [0, 1, 1], axis=1) / np.maximum(number, 1)
    means = (drawn * risks).sum(axis=1) / np.maximum(number[:, -1], 1)
    assert area.replicates == pytest.approx(100 * means)
    # Of four answers with a confidence the most confident are f, b, d, a.
    shares = {
        share: counts(cells[f"hallucination_rate:coverage_{share}"]) for share in (25, 50, 75)
    }
    assert shares == {25: (None, 1, 1), 50: (0, 2, 1), 75: (50, 3, 1)}
    assert "risk_coverage_area" not in score("score_hallucination", ROWS[2:3])[0]


def test_released_counting_is_named_and_counts_unparsed_replies_as_one(score: Any) -> None:
    cells, _ = score("score_hallucination", ROWS, parser="released")
    rate = cells["hallucination_rate"]
    assert rate.details["parser"] == "released: unparsed replies count as 1"
    # 1, 0, 1, 1, then four replies "?" without a score, and 0.
    assert rate.value == pytest.approx(100 * 6 / 8)
    assert "parser" not in score("score_hallucination", ROWS)[0]["hallucination_rate"].details


def test_an_area_of_drawn_answers_by_hand() -> None:
    drawn = np.array([[2, 0, 1], [0, 0, 0]], np.int32)
    areas, curve = risk_coverage(np.array([0.1, 0.5, 0.5]), np.array([1.0, 0.0, 1.0]), drawn)
    # Most confident first: the second (not drawn), the third, then the first twice.
    assert curve.tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    assert areas.tolist() == pytest.approx([1, 0])


def test_replies_of_the_judge_are_counted() -> None:
    rows = [
        {"hallucination": outcome(1, spans_ok=False)}, {"hallucination": outcome(0, 2)},
        {"hallucination": outcome(None, 0)}, {"hallucination": outcome(None, 1, "1\n[]")}, {},
    ]  # fmt: skip
    assert judge_counts(rows, "hallucination") == {
        "n_parsed": 2, "n_unreadable_spans": 1, "n_asked_again": 1, "n_unparsed": 1
    }  # fmt: skip
    assert read_answer(row("a", "x", 0.5, 1)).judged == 0.5


LABELS = [1, 1, 0, 0, 1]
SAID = [1.0, 0.5, 0.4, 1.0, None]


def test_a_judge_is_measured_against_people() -> None:
    maker = CellMaker(CellParams(**KNOWN), "set", {})
    cells = {c.metric: c for c in judge_cells(maker, list("abcde"), SAID, LABELS, {"n": 1})}
    # Of 1, 1, 0, 1: two of three positives are right; of the people's three one was not read.
    assert counts(cells["judge_precision"]) == (pytest.approx(200 / 3), 4, 1)
    assert counts(cells["judge_recall"]) == (100, 3, 1)
    assert counts(cells["judge_f1"]) == (pytest.approx(100 * 4 / 5), 5, 1)
    assert counts(cells["judge_agreement"]) == (75, 5, 1)
    kappa = cells["judge_kappa"]
    chance = (3 * 2 + 1 * 2) / 16
    assert counts(kappa) == (pytest.approx((0.75 - chance) / (1 - chance)), 5, 1)
    assert (kappa.unit, kappa.resampled.units, kappa.resampled.statistic) == ("-1 to 1", 4, "kappa")
    # A table of the judge's 0, 1 by the people's 0, 1.
    assert kappa.resampled.columns == (
        (0, 0, 1, 0, 0), (0, 0, 0, 0, 0), (0, 0, 0, 1, 0), (1, 1, 0, 0, 0)
    )  # fmt: skip
    assert kappa.details == {"n": 1, "called hallucinated by people": 3}
    none = {c.metric: c for c in judge_cells(maker, ["a"], [None], [1], {})}
    assert counts(none["judge_kappa"]) == (None, 1, 1)
    assert none["judge_kappa"].unit == "-1 to 1"


def test_three_grades_give_five_shares() -> None:
    maker = CellMaker(CellParams(**KNOWN), "set", {})
    graded = ["A", "A", "B", "C", None]
    cells = {c.metric: c for c in short_fact_cells(maker, list("abcde"), graded, {"x": 2})}
    assert counts(cells["correct"]) == (50, 5, 1)
    assert counts(cells["correct_given_attempted"]) == (pytest.approx(200 / 3), 4, 1)
    assert cells["f_score"].value == pytest.approx(100 * 4 / 7)  # 2 A / (A + B + all)
    assert cells["f_score"].bounds == pytest.approx((400 / 9, 600 / 9))
    assert counts(cells["incorrect"]) == (25, 5, 1)
    assert counts(cells["not_attempted"]) == (25, 5, 1)
    assert cells["correct"].details == {"x": 2}
    assert [(c.primary, c.higher_is_better) for c in cells.values()] == [
        (True, True), (True, True), (True, True), (False, False), (False, False)
    ]  # fmt: skip


def test_an_empty_answer_is_not_attempted_and_a_lost_one_has_no_grade() -> None:
    rows = [
        {"responses": [" "]}, {"responses": [" "], "error": "x"}, {"responses": ["x"]},
        {"responses": ["x"], "grade": {"value": "B"}}, {"responses": []},
    ]  # fmt: skip
    assert grades(rows) == ["C", None, None, "B", None]


def test_short_facts_without_reference_are_counted(score: Any) -> None:
    rows = [
        {**row("a", "x", None, None), "grade": {"value": "A"}, "references": ["x"]},
        {**row("b", "x", None, None), "grade": {"value": None}},
    ]
    cells, _ = score("score_short_facts", rows)
    assert counts(cells["correct"]) == (100, 2, 1)
    assert cells["correct"].details["n_without_reference"] == 1
    whole, _ = score("score_short_facts", rows[:1])
    assert "n_without_reference" not in whole["correct"].details


def test_the_wordings_of_the_questions_are_unchanged() -> None:
    """The judge's fingerprint contains them."""
    assert {name: prompts.prompt_hash(name) for name in prompts.BUILDERS} == {
        "hallucination": "2ee2fc3c860f4f3a6e547486b5284940",
        "helpfulness": "a861a37ad5ca202ebf4a706d9c529d47",
        "refusal": "9f941ffce553942b0b9bc2be26607899",
        "grade": "587d7f6536dbe9bcac20bc68b6ef2fd1",
    }


@pytest.mark.parametrize(
    ("reply", "task", "score", "explanation"),
    [
        ("10", "helpfulness", 10, ""), ("1", "helpfulness", 1, ""),
        ("0.9", "helpfulness", None, ""),
        ("10.1", "helpfulness", None, ""), ("8/10 good", "helpfulness", 8, "good"),
        ("8 out of 10: good", "helpfulness", 8, "good"), ("4/5", "helpfulness", None, ""),
        ("[8]/10 good", "helpfulness", 8, "good"), ("Score: 7 - good", "helpfulness", 7, "good"),
        ("1/1", "hallucination", 1, ""), ("1/5", "hallucination", None, ""),
        ("nan", "hallucination", None, ""), ("1: yes", "hallucination", 1, "yes"),
    ],
)  # fmt: skip
def test_scores_stay_in_their_range_and_scale(
    reply: str, task: Any, score: float | None, explanation: str
) -> None:
    found = parse_reply(reply, task)
    assert (found.score, found.explanation) == (score, explanation)
    assert found.status == ("ok" if score is not None else "score_out_of_set")


def test_a_list_in_single_quotes_ends_at_its_own_bracket() -> None:
    found = parse_reply("1\n['a]b', None]\nx", "hallucination")
    assert (found.spans, found.explanation, found.spans_ok) == (("a]b",), "x", True)
    assert parse_reply('1\n["a", [b] x', "hallucination").spans_ok is False


def test_the_last_of_three_references_counts() -> None:
    pytest.importorskip("rouge_score")
    three = ["the cat sat", "a dog ran", "far away"]
    for rule, score in (("last", 0), ("max", 1), ("mean", 1 / 3)):
        found = rouge("the cat sat", three, rule)  # type: ignore[arg-type]
        assert found is not None
        assert found["rouge1"] == pytest.approx(score)


def test_texts_that_rouge_cannot_read_are_counted(
    score: Any, rows_artifact: Callable[..., Artifact], run_operation: Callable[..., Artifact]
) -> None:
    pytest.importorskip("rouge_score")
    said = [("a b", ["a"]), ("富士山", ["a"]), ("a", ["富士山", "a"]), ("a", []), (None, ["a"])]
    rows = [
        {**row(f"{n}", text, None, None), "references": references}
        for n, (text, references) in enumerate(said)
    ]
    scored = run_operation("rouge_answers", {"unicode": True}, answers=rows_artifact(rows)).rows()
    assert [each["rouge"] is None for each in scored] == [False, False, False, True, True]
    assert (
        scored[0]["rouge"]["rouge1"] == scored[0]["rouge"]["rouge1_unicode"] == pytest.approx(2 / 3)
    )
    cells, _ = score("score_rouge", scored, "samples")
    cell = cells["rouge1"]
    assert counts(cell) == (pytest.approx(100 * (2 / 3 + 0 + 1) / 3), 5, 2)
    assert (cell.details["n_without_reference"], cell.details["n_without_latin_letters"]) == (1, 2)
    assert (cell.unit, cell.primary, cells["rouge1_unicode"].primary) == ("F1 x100", True, False)
    assert list(cells)[:5] == ["rouge1", "rouge2", "rougeL", "rougeLsum", "rouge1_unicode"]
    plain = run_operation("rouge_answers", {}, answers=rows_artifact(rows)).rows()
    assert list(score("score_rouge", plain, "samples")[0]) == list(cells)[:4]
