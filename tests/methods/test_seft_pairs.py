"""Mining and labelling of pairs: shapes of ratings, thresholds from data, and bad input."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest

from harness.core.errors import BadData
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

SAID = [{"role": "user", "content": "x"}]


def rated(number: int, responses: list[str], **rating: list[Any]) -> dict[str, Any]:
    return {"id": f"p{number}", "messages": SAID, "responses": responses, **rating}


def scored(*gaps: float) -> list[dict[str, Any]]:
    """One prompt per gap, with a source of score 0 and a target of that score."""
    return [rated(n, ["good", "bad"], scores=[gap, 0.0]) for n, gap in enumerate(gaps)]


def test_each_answer_is_paired_with_the_best_and_the_best_with_itself(
    rows_artifact: Any, run_operation: Any
) -> None:
    row = rated(0, ["a", "b", "c"], ranks=[2, 1, 3])
    made = run_operation("mine_pairs", {}, rated=rows_artifact([row]))
    pairs = {(r["source"], r["target"]): (r["source_rank"], r["target_rank"]) for r in made.rows()}
    assert pairs == {("a", "b"): (2, 1), ("b", "b"): (1, 1), ("c", "b"): (3, 1)}
    every = run_operation("mine_pairs", {"pairing": "all"}, rated=rows_artifact([row])).rows()
    found = {(r["source"], r["target"]) for r in every}
    assert found == {("a", "b"), ("b", "b"), ("c", "b"), ("c", "a")}


def test_ties_and_empty_answers_are_dropped_and_counted(
    rows_artifact: Any, run_operation: Any
) -> None:
    rows = [
        rated(0, ["a", "b"], scores=[1.0, 1.0]),
        rated(1, ["a", "b", " "], scores=[2.0, 2.0, 1.0]),
        rated(2, ["same", "same"], scores=[2.0, 2.0]),
        rated(3, ["a", "b"], scores=[2.0, 1.0]),
    ]
    made = run_operation("mine_pairs", {}, rated=rows_artifact(rows))
    found = [(row["source"], row["target"]) for row in made.rows()]
    assert found == [("a", "a"), ("same", "same"), ("a", "a"), ("b", "a")]
    summary = made.read_json("summary.json")
    assert summary["dropped"] == {
        "empty answers": 1, "prompts whose answers are all tied": 1, "repeated answers": 1,
        "ties": 1,
    }  # fmt: skip
    with pytest.raises(BadData, match="1 prompts whose answers are all tied"):
        run_operation("mine_pairs", {}, rated=rows_artifact(rows[:1]))


@pytest.mark.parametrize("score", [math.inf, -math.inf])
def test_rewards_that_are_not_finite_are_refused(score: float, tmp_path: Any) -> None:
    from methods.seft.pairs import _values

    with pytest.raises(BadData, match='row "p0": a score'):
        _values(rated(0, ["a", "b"], scores=[1.0, score]))


def test_rewards_of_the_responses_at_hand_count_and_not_earlier_ratings(
    rows_artifact: Any, run_operation: Any
) -> None:
    row = rated(0, ["a", "b"], ranks=[1, 2, 3], rewards=[0.0, 1.0])
    made = run_operation("mine_pairs", {}, rated=rows_artifact([row])).rows()
    assert [(r["source"], r["target"]) for r in made] == [("a", "b"), ("b", "b")]
    assert made[0]["target_score"] == 1.0


def label(run_operation: Any, rows_artifact: Any, rows: list[Any], **params: Any) -> Any:
    pairs = run_operation("mine_pairs", {}, rated=rows_artifact(rows))
    return run_operation("label_pairs", {"balance": False, **params}, pairs=pairs)


def test_thresholds_come_from_the_positive_gaps(rows_artifact: Any, run_operation: Any) -> None:
    rows = scored(1, 2, 3, 4, 5, 6, 7)
    made = label(run_operation, rows_artifact, rows, ceiling_quantile=None)
    thresholds = made.read_json("summary.json")["thresholds"]
    assert thresholds == {"t_no": pytest.approx(3), "t_major": pytest.approx(5), "ceiling": None}
    labels = [row["label"] for row in made.rows() if row["source"] == "bad"]
    assert labels == ["no_revise"] * 3 + ["minor_revise"] * 2 + ["major_revise"] * 2
    kept = [row for row in made.rows() if row["label"] == "no_revise"]
    assert all(row["target"] == row["source"] for row in kept)
    assert made.read_json("summary.json")["mix"]["no_revise"] == 3 + 7


def test_a_source_at_the_ceiling_is_left_alone(rows_artifact: Any, run_operation: Any) -> None:
    rows = [rated(n, ["best", "ok"], scores=[9.0, float(n)]) for n in range(8)]
    made = label(run_operation, rows_artifact, rows, t_no=0, t_major=5, ceiling_quantile=0.0)
    assert {row["label"] for row in made.rows()} == {"no_revise"}


def test_balancing_keeps_as_many_of_each_label_as_of_the_rarest(
    rows_artifact: Any, run_operation: Any
) -> None:
    rows, how = scored(1, 2, 3, 4, 5, 6, 7), {"balance": True, "ceiling_quantile": None}
    made = label(run_operation, rows_artifact, rows, **how)
    assert made.read_json("summary.json")["balanced_mix"] == {
        "no_revise": 2, "minor_revise": 2, "major_revise": 2,
    }  # fmt: skip
    chosen = [
        {row["id"] for row in label(run_operation, rows_artifact, rows, **how, seed=seed).rows()}
        for seed in range(4)
    ]
    assert chosen[0] != chosen[1] or chosen[1] != chosen[2] or chosen[2] != chosen[3]


def test_a_label_that_no_pair_has_is_warned_about(
    rows_artifact: Any, run_operation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        label(run_operation, rows_artifact, scored(9, 9), t_no=0, t_major=1, ceiling_quantile=None)
    assert "no training pair has the label minor_revise" in caplog.text
    assert "2 major_revise" in caplog.text


@pytest.mark.parametrize(
    ("gaps", "t_no", "t_major"), [((2, 2, 2), 0.0, 2.0), ((1, 2, 2, 2, 2), 1.0, 2.0)]
)
def test_equal_quantiles_use_the_next_smaller_gap(
    rows_artifact: Any, run_operation: Any, gaps: tuple[int, ...], t_no: float, t_major: float
) -> None:
    made = label(run_operation, rows_artifact, scored(*gaps))
    thresholds = made.read_json("summary.json")["thresholds"]
    assert (thresholds["t_no"], thresholds["t_major"]) == (t_no, t_major)
    with pytest.raises(BadData, match=r"set labels\.t_no and labels\.t_major"):
        label(run_operation, rows_artifact, scored(*gaps), t_no=2.0)


def test_a_rule_without_its_ratings_names_the_other(rows_artifact: Any, run_operation: Any) -> None:
    ranked = [rated(0, ["a", "b"], ranks=[1, 2])]
    with pytest.raises(BadData, match=r'labels\.rule = "rank_gap"'):
        label(run_operation, rows_artifact, ranked)
    with pytest.raises(BadData, match=r'labels\.rule = "score_gap"'):
        label(run_operation, rows_artifact, scored(1), rule="rank_gap")
    with pytest.raises(BadData, match="scored without and with"):
        label(run_operation, rows_artifact, ranked, rule="likelihood")


def test_rank_labels(rows_artifact: Any, run_operation: Any) -> None:
    row = rated(0, list("abcd"), ranks=[1, 2, 3, 4])
    made = label(run_operation, rows_artifact, [row], rule="rank_gap").rows()
    assert [r["label"] for r in made] == [
        "no_revise", "minor_revise", "minor_revise", "major_revise",
    ]  # fmt: skip


def test_likelihood_labels_of_scored_targets(rows_artifact: Any, run_operation: Any) -> None:
    pairs = run_operation("mine_pairs", {}, rated=rows_artifact(scored(5, 5)))
    rows = pairs.rows()

    def score(field: str, values: list[float | None], tokens: int = 2) -> Any:
        scores = [{"logp": v, "tokens": tokens, "error": None} for v in values]
        return rows_artifact([{**r, field: [s]} for r, s in zip(rows, scores, strict=True)])

    alone = score("alone", [-4.0, -4.0, -4.0, -4.0])
    given = score("given", [-4.0, -2.0, -1.0, None])
    how = {"rule": "likelihood", "balance": False}
    made = run_operation("label_pairs", how, pairs=pairs, alone=alone, given=given)
    # Sorted information 0, 1, 1.5; the third pair has no gap, so that it stays a copy.
    gaps = [r["target_score"] - r["source_score"] for r in rows[:3]]
    labels = [row["label"] for row in made.rows()]
    assert labels[0] == "major_revise"
    assert labels[1] == "minor_revise"
    assert labels[2] == ("no_revise" if gaps[2] == 0 else "minor_revise")
    assert made.read_json("summary.json")["thresholds"]["failed"] == 1
    other = score("given", [-4.0] * 4, tokens=3)
    with pytest.raises(BadData, match="expected the same model and text"):
        run_operation("label_pairs", how, pairs=pairs, alone=alone, given=other)


def test_targets_are_scored_with_and_without_their_sources(
    rows_artifact: Any, run_operation: Any
) -> None:
    pairs = run_operation("mine_pairs", {}, rated=rows_artifact(scored(5)))
    given = run_operation("target_scoring", {"wording": "{prompt}>{answer}"}, pairs=pairs).rows()
    alone = run_operation("target_scoring", {"wording": "{prompt}"}, pairs=pairs).rows()
    assert [row["messages"][0]["content"] for row in given] == ["x>good", "x>bad"]
    assert [row["messages"][0]["content"] for row in alone] == ["x", "x"]
    assert [row["texts"] for row in given] == [["good"], ["good"]]


def test_rows_of_the_baselines(rows_artifact: Any, run_operation: Any) -> None:
    rows = [
        rated(0, ["a", "b", "c"], ranks=[2, 1, 3]),
        rated(1, ["a", "b"], scores=[1.0, 1.0]),
    ]
    best = run_operation("rated_targets", {}, rated=rows_artifact(rows)).rows()
    assert [row["response"] for row in best] == ["b", "a"]
    pairs = run_operation("rated_preferences", {}, rated=rows_artifact(rows)).rows()
    assert [row["responses"] for row in pairs] == [{"target": "b", "rejected": "c"}]
    with pytest.raises(BadData, match="all rated answers are tied"):
        run_operation("rated_preferences", {}, rated=rows_artifact(rows[1:]))


def test_prompts_of_rounds_are_not_among_the_rated_ones(
    rows_artifact: Any, run_operation: Any
) -> None:
    def asked(*texts: str) -> Any:
        return rows_artifact(
            [{"id": text, "messages": [{"role": "user", "content": text}]} for text in texts]
        )

    inputs = {"pool": asked("A  b", "c", "d", "e"), "rated": asked("a B", "e ")}
    made = run_operation("fresh_prompts", {"offset": 1, "limit": 1}, **inputs)
    assert [row["id"] for row in made.rows()] == ["d"]
    assert made.read_json("summary.json") == {"pool": 4, "excluded": 2}
    with pytest.raises(BadData, match=r"2 of the pool's 4 prompts.*need 3"):
        run_operation("fresh_prompts", {"offset": 2, "limit": 1}, **inputs)
