"""Scores of labels: the golden vectors, scikit-learn, and what no order or resample may change."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.stats.bootstrap import resample_counts
from harness.suites.personality.labels import POLICIES, Policy, label_scores
from tests.golden_vectors import vectors

LABEL = st.sampled_from([0.0, 1.0])
PAIRS = st.lists(st.tuples(LABEL, st.one_of(LABEL, st.just(np.nan))), min_size=1, max_size=40)


def as_floats(labels: list[int | None]) -> list[float]:
    return [np.nan if label is None else label for label in labels]


def test_golden_metrics(golden: Callable[[str], Path]) -> None:
    cases = vectors(golden("psycot/metrics.json"))["cases"]
    for case in cases:
        for policy in POLICIES:
            found = label_scores(case["gold"], as_floats(case["pred"]), policy)
            wanted = case[f"policy_{policy}"]
            if wanted is None:
                assert found is None, case["name"]
                continue
            assert found is not None
            ours = {
                "accuracy": found.accuracy[0],
                "macro_f1": found.macro_f1[0],
                "f1_label0": found.f1[0][0],
                "f1_label1": found.f1[1][0],
            }
            assert ours == pytest.approx(wanted, abs=1e-12), (case["name"], policy)


@settings(max_examples=30)
@given(PAIRS, st.sampled_from(POLICIES))
def test_equal_to_scikit_learn(pairs: list[tuple[float, float]], policy: Policy) -> None:
    from sklearn import metrics

    gold, given = np.array(pairs).T
    found = label_scores(gold, given, policy)
    if policy == "drop":
        gold, given = gold[~np.isnan(given)], given[~np.isnan(given)]
    if not len(gold):
        assert found is None
        return
    assert found is not None
    filled = np.where(np.isnan(given), 1 - gold if policy == "wrong" else 2, given)
    both: dict[str, Any] = {"labels": [0, 1], "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, recall, f1, _ = metrics.precision_recall_fscore_support(gold, filled, **both)
        balanced = metrics.balanced_accuracy_score(gold, filled)
    expected = [np.mean(gold == filled), f1.mean(), balanced, *recall]
    recalls = [recall[0] for recall in found.recall]
    ours = [found.accuracy[0], found.macro_f1[0], found.balanced_accuracy[0], *recalls]
    assert ours == pytest.approx(expected, abs=1e-12)


@given(PAIRS, st.sampled_from(POLICIES))
def test_neither_order_nor_names_of_the_classes_matter(
    pairs: list[tuple[float, float]], policy: Policy
) -> None:
    gold, given = np.array(pairs).T
    here, swapped = label_scores(gold, given, policy), label_scores(1 - gold, 1 - given, policy)
    turned = label_scores(gold[::-1], given[::-1], policy)
    if here is None:
        assert swapped is None
        assert turned is None
        return
    assert swapped is not None
    assert turned is not None
    assert here.macro_f1[0] == swapped.macro_f1[0] == turned.macro_f1[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_resamples_score_the_rows_they_draw(policy: Policy) -> None:
    rng = np.random.default_rng(3)
    gold = rng.integers(0, 2, 12).astype(float)
    given = rng.choice([0, 1, np.nan], 12)
    counts = resample_counts("authors", 12, 50)
    found = label_scores(gold, given, policy, counts)
    assert found is not None
    for row, value in zip(counts, found.macro_f1, strict=True):
        drawn = np.repeat(np.arange(12), row)
        alone = label_scores(gold[drawn], given[drawn], policy)
        assert alone is not None
        assert value == pytest.approx(alone.macro_f1[0], abs=1e-12)


def test_a_resample_without_a_label_gets_the_score_of_all() -> None:
    counts = np.array([[0, 2], [1, 1]], dtype=np.int32)
    found = label_scores([1, 1], [1, np.nan], "drop", counts)
    assert found is not None
    assert found.accuracy.tolist() == [1, 1]


def test_gold_labels_are_0_or_1() -> None:
    with pytest.raises(BadData, match="0/1"):
        label_scores([0, 2], [0, 1])
