"""Replicates recomputed from rows: equal to the bootstrap's, and exact."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.bootstrap import cluster_counts, replicate_means, resample_counts
from harness.stats.rows import replicates_of_rows, sums_of_rows


def test_a_mean_has_the_replicates_of_the_bootstrap():
    values = np.round(np.random.default_rng(0).uniform(0, 100, 30), 6)
    found = replicates_of_rows("set", values.tolist(), 200)
    assert np.allclose(found, replicate_means(values, resample_counts("set", 30, 200)), atol=1e-9)


def test_missing_rows_and_clusters_are_those_of_the_bootstrap():
    values = [1.0, None, 3.0, 10.0, None, 2.5]
    topics = [0, 0, 1, 1, 2, 2]
    array = np.array([np.nan if v is None else v for v in values])
    expected = replicate_means(array, cluster_counts("set", topics, 100))
    found = replicates_of_rows("set", values, 100, clusters=topics)
    assert np.allclose(found, expected)


def test_a_ratio_divides_the_drawn_sums():
    above, below = [1.0, 0.0, 4.0, 0.0], [2.0, 1.0, 4.0, 0.0]
    counts = resample_counts("set", 4, 50)
    drawn = counts @ np.array(below)
    expected = np.where(drawn > 0, counts @ np.array(above) / np.maximum(drawn, 1), 5 / 7)
    assert np.array_equal(replicates_of_rows("set", above, 50, weights=below), expected)


def test_the_order_of_rows_in_a_unit_changes_no_bit():
    values = np.round(np.random.default_rng(1).normal(size=400), 6)
    units = np.repeat(np.arange(20), 20)
    mixed = np.random.default_rng(2).permutation(400)
    one = replicates_of_rows("set", values.tolist(), 100, clusters=units.tolist())
    two = replicates_of_rows("set", values[mixed].tolist(), 100, clusters=units[mixed].tolist())
    assert np.array_equal(one, two)


@pytest.mark.parametrize("values", [[None, None], [1e10, 1e10]])
def test_rows_without_weight_or_beyond_exact_sums_have_none(values):
    assert replicates_of_rows("set", values, 10) is None


def test_sums_of_columns_are_those_of_the_resamples():
    columns = [[1.5, 0.25, 3.0, 0.0], [0.0, 1.0, 1.0, 1.0]]
    found = sums_of_rows("set", columns, 20, clusters=[0, 0, 1, 2])
    counts = resample_counts("set", 3, 20)[:, [0, 0, 1, 2]]
    expected = np.vstack([np.sum(columns, axis=1), counts @ np.array(columns).T])
    assert np.array_equal(found, expected)
    assert sums_of_rows("set", [], 5) is None
    assert sums_of_rows("set", [[1e10, 1e10]], 5) is None


EDGE = 9007199254.740992  # times 10^6 it is 2^53, above which whole numbers are not exact


@pytest.mark.parametrize(
    ("values", "more", "exact"),
    [
        ([EDGE], {}, False),
        ([EDGE - 1e-6], {}, True),
        ([EDGE / 2 - 1e-6], {"clusters": [1]}, True),  # two units, of which one has no row
        ([EDGE / 2], {"clusters": [1]}, False),
        ([EDGE / 2, -EDGE / 2], {"clusters": [0, 0]}, False),
        ([1.0], {"weights": [EDGE]}, False),
        ([1.0], {"weights": [EDGE - 1e-6]}, True),
        ([1.0, 2.0], {"weights": [EDGE, 1 - EDGE], "clusters": [0, 0]}, False),
    ],
)
def test_sums_are_exact_or_there_are_none(values, more, exact):
    assert (replicates_of_rows("set", values, 3, **more) is not None) is exact
    if "weights" not in more:
        found = sums_of_rows("set", [[0.0] * len(values), values], 3, **more)
        assert (found is not None) is exact


def test_numbers_have_six_decimals():
    assert replicates_of_rows("set", [0.1234567], 2).tolist() == [0.123457, 0.123457]
    assert sums_of_rows("set", [[0.1234567]], 1).tolist() == [[0.123457], [0.123457]]


def test_a_resample_without_weight_has_the_ratio_of_the_sample():
    found = replicates_of_rows("set", [3.0, 0.0], 40, weights=[2.0, 0.0])
    assert found.tolist() == [1.5] * 40
    assert replicates_of_rows("set", [1.0, 2.0], 4, weights=[0.0, 0.0]) is None
    assert replicates_of_rows("set", [5.0, None], 40).tolist() == [5.0] * 40
