"""ROUGE against the library and the vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.hallucination.rouge import NAMES, is_unscorable, rouge
from tests.golden_vectors import vectors

pytest.importorskip("rouge_score")
WORD = st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "far"])
WORDS = st.lists(WORD, min_size=1).map(" ".join)


def test_scores_match_the_vectors(golden: Callable[[str], Path]) -> None:
    found = vectors(golden("kca/metrics.json"))
    sums = dict.fromkeys(NAMES, 0.0)
    for pair in found["pairs"]:
        scores = rouge(pair["prediction"], [pair["reference"]])
        assert scores is not None
        for name in NAMES:
            assert scores[name] == pytest.approx(pair["rouge_no_stem"][name]["f1"], abs=1e-9)
            sums[name] += scores[name]
    means = {name: total / len(found["pairs"]) for name, total in sums.items()}
    assert means == pytest.approx(found["corpus_mean_f1"], abs=1e-9)


@given(WORDS, WORDS)
def test_equal_to_the_library_and_symmetric(answer: str, reference: str) -> None:
    from rouge_score import rouge_scorer

    direct = rouge_scorer.RougeScorer(list(NAMES), use_stemmer=False).score(reference, answer)
    scores, turned = rouge(answer, [reference]), rouge(reference, [answer])
    assert scores == {name: direct[name].fmeasure for name in NAMES}
    assert scores is not None
    assert turned == pytest.approx(scores)
    assert scores["rougeL"] <= scores["rouge1"] + 1e-12
    assert scores["rougeL"] == scores["rougeLsum"]  # without newlines
    itself = rouge(answer, [answer])
    assert itself is not None
    assert itself["rouge1"] == itself["rougeL"] == 1


def test_the_rule_chooses_among_references() -> None:
    references = ["the cat sat", "a dog ran far"]
    last = rouge("the cat sat", references)
    best = rouge("the cat sat", references, "max")
    mean = rouge("the cat sat", references, "mean")
    assert last is not None
    assert best is not None
    assert mean is not None
    assert (last["rouge1"], best["rouge1"], mean["rouge1"]) == (0, 1, 0.5)
    assert rouge("the cat sat", []) is None


def test_other_scripts_need_the_other_tokenizer() -> None:
    assert rouge("富士山", ["富士山"]) == dict.fromkeys(NAMES, 0.0)
    wide = rouge("富士山は本州", ["富士山は本州にある"], unicode=True)
    assert wide is not None
    assert wide["rouge1"] == pytest.approx(0.8)
    assert is_unscorable("富士山")
    assert not is_unscorable("Mt. Fuji 富士山")
    assert not is_unscorable(" !")
