"""ROUGE-L of instructions with all others."""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, MissingExtra
from harness.data.instructions.overlaps import (
    WORK,
    Corpus,
    chosen_rows,
    pair_replicates,
    pairwise_mean,
)
from harness.data.instructions.rouge_l import rouge_l
from harness.stats.bootstrap import resample_counts
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]
words = st.sampled_from(["a", "b", "c", "d", "e", "f9", "é"])
texts_of_few_words = st.lists(st.lists(words, max_size=9).map(" ".join), max_size=8)


def test_golden_pairwise_mean(golden: Golden) -> None:
    cases = vectors(golden("explore_instruct/rouge_filter.json"))["cases"]
    texts = [case["instruction"] for case in cases]
    for expected in vectors(golden("explore_instruct/rouge_pairwise_mean.json")).values():
        own = texts[: expected["n"]]
        assert math.comb(len(own), 2) == expected["pairs"]
        assert pairwise_mean(own) == pytest.approx(expected["mean"], rel=1e-12)
        found = [each.rouge_l for each in Corpus(own).overlaps(range(len(own)))]
        assert max(score for score in found if score is not None) == expected["max"]


@given(texts_of_few_words)
def test_the_nearest_and_the_mean_are_those_of_comparing_every_pair(texts: list[str]) -> None:
    for each in Corpus(texts).overlaps(range(len(texts))):
        others = [i for i in range(len(texts)) if i != each.index]
        scores = [rouge_l(texts[each.index], texts[i]) for i in others]
        if not scores:
            assert (each.nearest, each.rouge_l, each.mean) == (None, None, None)
            continue
        assert each.rouge_l == max(scores)
        assert each.nearest == others[scores.index(max(scores))]
        assert each.mean == pytest.approx(sum(scores) / len(scores))


def test_two_empty_sides_do_not_overlap() -> None:
    (first, second) = Corpus(["???", ""]).overlaps([0, 1])
    assert (first.nearest, first.rouge_l, second.rouge_l) == (1, 0.0, 0.0)
    assert pairwise_mean(["???"]) is pairwise_mean([]) is None


def test_long_texts_are_compared_whole() -> None:
    long = " ".join(f"w{n}" for n in range(3000))
    (found,) = Corpus([long, f"{long} end", "w2999 w0"]).overlaps([0])
    assert found.nearest == 1
    assert found.rouge_l == rouge_l(long, f"{long} end")


def test_a_vocabulary_beyond_the_characters_is_compared_all_the_same() -> None:
    many = [f"w{n}" for n in range(60_000)]  # passes the surrogates
    texts = [" ".join(many), " ".join(many[55_000:]), " ".join(many[:3])]
    last = next(Corpus(texts).overlaps([1]))
    assert last.nearest == 0
    assert last.rouge_l == pytest.approx(2 * 5000 / 65_000)


def test_of_many_or_long_texts_a_random_part_is_compared() -> None:
    assert chosen_rows([3] * 10, 20) == list(range(10))
    part = chosen_rows([12] * 10_000, 500)
    assert part == chosen_rows([12] * 10_000, 500) == sorted(set(part))
    assert len(part) == 500
    assert part != chosen_rows([12] * 10_000, 500, seed=1)
    long = chosen_rows([640] * 4000, 4000)
    assert 100 <= len(long) < 4000
    assert len(long) * 10 * 640 * 4000 <= WORK
    assert chosen_rows([]) == []
    assert chosen_rows([0, 0]) == [0, 1]


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_interval_of_the_mean_over_pairs_has_the_spread_of_new_samples(share: float) -> None:
    """Instructions of random topics: the spread of the estimate over fresh data sets."""
    rng = np.random.default_rng(4)
    n, q = 60, int(60 * share)
    estimates, widths = [], []
    for _ in range(300):
        topics = rng.integers(0, 4, n) * (rng.random(n) < 0.5)
        alike = (topics[:, None] == topics[None, :]).astype(float)
        np.fill_diagonal(alike, 0)
        means = alike[:q].sum(axis=1) / (n - 1)
        replicates = pair_replicates(means, resample_counts("x", q, 400), n)
        estimates.append(means.mean())
        widths.append(replicates.std())
    assert np.mean(widths) == pytest.approx(np.std(estimates), rel=0.15)


def test_bad_input_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadData, match="text 1: expected text, found int 3"):
        Corpus(["a", 3])  # type: ignore[list-item]
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("rapidfuzz"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"needs rapidfuzz: .*\[analysis\]"):
        Corpus(["a"])


def test_f_is_symmetric() -> None:
    texts = ["a b c", "a c d e", "b", "???"]
    table = Corpus(texts).f_measures(range(4))
    for i, j in itertools.product(range(4), repeat=2):
        assert table[i, j] == table[j, i] == rouge_l(texts[i], texts[j])
