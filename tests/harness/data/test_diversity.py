"""The diversity filter: rouge-score's decisions, at a fraction of its comparisons."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, BadRecord
from harness.data.instructions.diversity import Decision, diversity_filter
from harness.data.instructions.overlaps import Corpus
from harness.data.instructions.rouge_l import (
    Compare,
    Threshold,
    f_measure,
    lcs_length,
    rouge_l,
    rouge_tokens,
)
from harness.data.tables import read_table
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]


@st.composite
def corpora(draw: st.DrawFn) -> list[str]:
    """Texts over 2 to 50 words, of up to 60 words; some are nearly equal to earlier ones."""
    words = [f"w{n}" for n in range(draw(st.sampled_from([2, 3, 5, 10, 50])))]
    rng = draw(st.randoms(use_true_random=False))
    longest = draw(st.sampled_from([3, 10, 60]))
    texts: list[str] = []
    for _ in range(draw(st.integers(0, 14))):
        if texts and rng.random() < 0.4:
            row = rng.choice(texts).split()
            row[: rng.randint(0, 3)] = rng.choices(words, k=rng.randint(0, 3))
        else:
            row = rng.choices(words, k=rng.randint(0, longest))
        texts.append(" ".join(row))
    return texts


def naive(texts: list[str], threshold: float, compare: Compare) -> list[Decision]:
    """Every pair compared."""
    limit, tokens = Threshold(threshold, compare), [rouge_tokens(text) for text in texts]
    decisions: list[Decision] = []
    kept: list[int] = []
    for index, row in enumerate(tokens):
        counts = [(lcs_length(tokens[k], row), len(tokens[k]), len(row)) for k in kept]
        scores = [f_measure(*each) for each in counts]
        best = max(scores, default=None)
        near = any(limit.exceeded(*each) for each in counts)
        decisions.append(
            Decision(not near, best, None if best is None else kept[scores.index(best)])
        )
        if not near:
            kept.append(index)
    return decisions


@given(corpora(), st.sampled_from([-0.1, 0.0, 0.3, 0.5, 2 / 3, 0.7, 0.8, 1.0, 1.5]), st.booleans())
def test_decisions_are_those_of_comparing_every_pair(
    texts: list[str], threshold: float, exact: bool
) -> None:
    compare: Compare = "exact" if exact else "float_compat"
    expected = naive(texts, threshold, compare)
    assert diversity_filter(texts, threshold, compare=compare, details=True) == expected
    plain = diversity_filter(texts, threshold, compare=compare)
    assert plain == [Decision(each.kept) for each in expected]


def test_golden_rouge_filter(golden: Golden) -> None:
    data = vectors(golden("explore_instruct/rouge_filter.json"))
    texts = [case["instruction"] for case in data["cases"]]
    found = diversity_filter(texts, data["threshold"], details=True)
    for case, text, decision in zip(data["cases"], texts, found, strict=True):
        assert rouge_tokens(text) == case["tokens"]
        assert decision == Decision(
            case["reference_kept"], case["max_rouge_l"], case["most_similar"]
        )
    kept = [each.kept for each in found]
    assert [each.kept for each in diversity_filter(texts, data["threshold"])] == kept
    for case, decision in zip(
        data["threshold_0_5"], diversity_filter(texts, 0.5, details=True), strict=True
    ):
        assert decision.kept == case["reference_kept"]
        assert decision.max_rouge_l == case["max_rouge_l"]


def test_golden_exact_comparison_against_the_kept_of_the_reference(golden: Golden) -> None:
    data = vectors(golden("explore_instruct/rouge_filter.json"))
    limit = Threshold(data["threshold"], "exact")
    kept: list[list[str]] = []
    for case in data["cases"]:
        row = case["tokens"]
        near = any(limit.exceeded(lcs_length(other, row), len(other), len(row)) for other in kept)
        assert near == case["exact_arithmetic_drop"]
        if case["reference_kept"]:
            kept.append(row)


def rouge_words() -> list[str]:
    text = "the a Tone tone! 3/4 naïve email, İs K résumé (1,2) ??? report formal"
    return text.split()


def test_f_is_that_of_rouge_score() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    rng = random.Random(5)
    words = rouge_words()
    for _ in range(200):
        first, second = (" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(2))
        assert rouge_l(first, second) == scorer.score(first, second)["rougeL"].fmeasure


def tied(common: int, m: int, n: int) -> list[str]:
    """Two texts of m and n tokens, of which `common` are equal."""
    shared = [f"s{i}" for i in range(common)]
    return [
        " ".join(shared + [f"{side}{i}" for i in range(length - common)])
        for side, length in (("x", m), ("y", n))
    ]


def test_at_the_threshold_floats_decide_by_lengths_and_integers_never_drop() -> None:
    assert [each.kept for each in diversity_filter(tied(7, 10, 10), 0.7)] == [True, True]
    assert [each.kept for each in diversity_filter(tied(7, 8, 12), 0.7)] == [True, False]
    for sizes in ((7, 10, 10), (7, 8, 12), (14, 17, 23)):
        found = diversity_filter(tied(*sizes), 0.7, compare="exact")
        assert all(each.kept for each in found)


def made_instructions(n: int, seed: int = 7) -> list[str]:
    """Instructions from a few frames and 1,500 words."""
    rng = random.Random(seed)
    frames = ("{} the {} about {} for {}", "{} a {} {} so that the {} is {}", "Please {} {} in {}")
    words = [f"word{number}" for number in range(1500)]
    return [rng.choice(frames).format(*rng.choices(words, k=5)) for _ in range(n)]


def test_golden_cost_is_undercut_on_one_core(golden: Golden) -> None:
    """Processor time, which other processes on the machine affect little."""
    data = vectors(golden("explore_instruct/filter_cost.json"))
    costs = data["token_overlap_bound_then_bit_parallel_lcs"]
    for case in costs:
        if case["n"] <= 5000:
            texts = made_instructions(case["n"])
            start = time.process_time()
            kept = sum(each.kept for each in diversity_filter(texts))
            assert time.process_time() - start < case["seconds"]
            assert kept > case["n"] / 2


@given(corpora())
def test_laws_of_the_filter(texts: list[str]) -> None:
    kept = [t for t, each in zip(texts, diversity_filter(texts)) if each.kept]
    assert kept[:1] == texts[:1]
    assert all(each.kept for each in diversity_filter(kept))
    assert all(rouge_l(a, b) <= 0.7 for n, a in enumerate(kept) for b in kept[:n])
    assert all(each.kept for each in diversity_filter(texts + texts, 1.0))


def test_groups_are_filtered_apart_and_indexes_are_those_of_the_input() -> None:
    texts = ["name ten animals", "list ideas", "name ten animals", "name ten animals"]
    apart = diversity_filter(texts, groups=["a", "b", "b", "a"], details=True)
    assert [each.kept for each in apart] == [True, True, True, False]
    assert [each.most_similar for each in apart] == [None, None, 1, 0]
    together = diversity_filter(texts, details=True)
    assert [each.kept for each in together] == [True, True, False, False]


def test_texts_without_tokens_are_kept_and_equal_to_nothing() -> None:
    found = diversity_filter(["", "???", "...", "总结", "总结"], details=True)
    assert [each.kept for each in found] == [True] * 5
    assert [(each.max_rouge_l, each.most_similar) for each in found[1:]] == [(0.0, 0)] * 4
    assert [each.kept for each in diversity_filter(["总结", "总结"], tokenize=list)] == [
        True,
        False,
    ]


def test_a_huge_text_among_short_ones() -> None:
    huge = " ".join(f"w{n % 5000}" for n in range(20_000))
    texts = ["w1 w2 w3", huge, "w1 w2 w3 w4", huge + " end", "w9"]
    assert [each.kept for each in diversity_filter(texts)] == [True, True, False, False, True]


def test_no_texts() -> None:
    assert diversity_filter([]) == diversity_filter([], details=True) == []


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(BadData, match="text 1: expected text, found NoneType"):
        diversity_filter(["a", None])  # type: ignore[list-item]
    with pytest.raises(BadData, match="1 groups for 2 texts"):
        diversity_filter(["a", "b"], groups=["x"])
    for threshold in (float("nan"), float("inf"), "0.7"):
        with pytest.raises(BadRecord, match="expected a number"):
            diversity_filter(["a"], threshold)  # type: ignore[arg-type]
    with pytest.raises(BadRecord, match="float_compat or exact"):
        diversity_filter(["a"], compare="close")  # type: ignore[arg-type]


@pytest.mark.realdata
def test_the_released_examples_are_filtered_as_by_comparing_every_pair(realdata: Golden) -> None:
    path = realdata("explore_instruct/demo_domain_examples.jsonl.gz")
    texts = [row["instruction"] for row in read_table(path)]
    kept = np.array([each.kept for each in diversity_filter(texts)])
    corpus = Corpus(texts)
    for start in range(0, len(texts), 256):
        block = list(range(start, min(start + 256, len(texts))))
        near = (corpus.f_measures(block) > 0.7) & kept[None, :]
        earlier = np.arange(len(texts))[None, :] < np.array(block)[:, None]
        assert ((near & earlier).any(axis=1) == ~kept[block]).all()
