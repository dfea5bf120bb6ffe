"""Statistics of sums: recomputed replicates are those of the suites."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.errors import UnknownName
from harness.core.records import Resampled
from harness.engine.registry import load_target, table
from harness.stats import agreement
from harness.stats.bootstrap import cluster_counts, resample_counts
from harness.suites.dialogue.bleu import bleu, bleu_counts
from harness.suites.personality.labels import POLICIES, indicators_of, label_scores
from harness.suites.scoring import with_columns
from harness.suites.statistics import TABLE, percent, replicates_of_columns, statistic

N, ROUNDS = 60, 200
RNG = np.random.default_rng(0)


def sample(name, columns, clusters=()):
    return with_columns(Resampled(units=N), name, np.asarray(columns, dtype=float), clusters)


def test_every_statistic_of_the_catalogue_is_a_function():
    for target in table(TABLE).values():
        assert callable(load_target(target))


def test_an_unknown_statistic_is_named():
    with pytest.raises(UnknownName, match="blue"):
        statistic("blue")


def test_shares_without_a_whole_are_undefined():
    assert np.isnan(percent([[1.0, 0.0]])[0])
    assert replicates_of_columns("p", sample("percent", np.zeros((N, 2))), ROUNDS) is None
    few = np.zeros((N, 2))
    few[0] = (1, 2)  # resamples without the row have the value of the sample
    found = replicates_of_columns("p", sample("percent", few), ROUNDS)
    assert (found == 50).all()


def test_bleu_of_clusters_is_that_of_their_sums():
    texts = [" ".join(RNG.choice(list("abcd"), 8)) for _ in range(2 * N)]
    rows = np.array([bleu_counts(*pair) for pair in zip(texts[:N], texts[N:], strict=True)])
    names = [f"dialogue {place // 3}" for place in range(N)]
    expected = bleu(cluster_counts("p", names, ROUNDS) @ rows)
    found = replicates_of_columns("p", sample("bleu", rows, names), ROUNDS)
    assert np.allclose(found, expected, atol=1e-9)
    assert found.std() > 0


@pytest.mark.parametrize("policy", POLICIES)
def test_macro_f1_and_accuracy_are_those_of_labels(policy):
    gold = RNG.integers(0, 2, (N, 3)).astype(float)
    given = np.where(RNG.uniform(size=(N, 3)) < 0.1, np.nan, RNG.integers(0, 2, (N, 3)))
    counts = resample_counts("p", N, ROUNDS)
    scores = [label_scores(gold[:, c], given[:, c], policy, counts) for c in range(3)]
    columns = np.concatenate([indicators_of(gold[:, c], given[:, c], policy) for c in range(3)], 1)
    for name, values in (
        ("label_macro_f1", [s.macro_f1 for s in scores]),
        ("label_accuracy", [s.accuracy for s in scores]),
    ):
        found = replicates_of_columns("p", sample(name, columns), ROUNDS)
        assert np.allclose(found, 100 * np.mean(values, axis=0), atol=1e-9)
    parts = [100 * s.macro_f1 for s in scores]  # here the three columns stand for three orders
    for name, expected in (
        ("label_macro_f1_worst:3", np.min(parts, axis=0)),
        ("label_macro_f1_sd:3", np.std(parts, axis=0, ddof=1)),
    ):
        found = replicates_of_columns("p", sample(name, columns), ROUNDS)
        assert np.allclose(found, expected, atol=1e-9)


def test_kappa_is_that_of_the_tables():
    a, b = RNG.integers(0, 3, N), RNG.integers(0, 3, N)
    rows = np.zeros((N, 9))
    rows[np.arange(N), 3 * a + b] = 1
    counts = resample_counts("p", N, ROUNDS).astype(float)
    expected = agreement.kappa(agreement.tables(a, b, np.arange(N), counts))
    assert np.allclose(replicates_of_columns("p", sample("kappa", rows), ROUNDS), expected)
