"""Classifiers of authors: words, folds, degenerate sets, and the golden figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline

from harness.core.errors import BadData
from harness.data.author_files import read_authors
from harness.data.traits import BIG_FIVE, MBTI
from harness.suites.personality.classifiers import Learning, Task, fit, texts_of
from harness.suites.personality.words import FrequentWords, counts
from tests.golden_vectors import vectors

TEXTS = ["The cat, the hat.", "a cat and a dog", "Dog eat dog; hat on", "the sun a-b"]
SETS = {"essays": ("essays_test", BIG_FIVE), "kaggle_mbti": ("kaggle_mbti_test", MBTI)}
KINDS = {"majority": "majority", "svm": "tfidf_svm", "logreg": "tfidf_logistic"}


def test_frequent_words_weigh_as_in_scikit_learn() -> None:
    ours = make_pipeline(FrequentWords(), TfidfTransformer(sublinear_tf=True))
    theirs = TfidfVectorizer(min_df=2, max_features=5000, sublinear_tf=True)
    found = ours.fit_transform(counts(TEXTS)).toarray()
    assert found == pytest.approx(theirs.fit_transform(TEXTS).toarray(), abs=1e-12)
    assert found.shape[1] == 4  # cat dog hat the


def test_equally_frequent_words_are_kept_in_alphabetical_order() -> None:
    table = counts(["bb cc dd zz zz", "bb cc dd zz aa"])
    assert FrequentWords(most=3).fit(table).get_support().tolist() == [False, 1, 1, False, 1]


def test_texts_without_words_in_common_are_refused() -> None:
    with pytest.raises(BadData, match="no word occurs in 2 of 3 training texts"):
        fit("tfidf_svm", counts(["ab", "cd", "ef"]), np.array([0, 1, 1]), Learning(tune=False))
    with pytest.raises(BadData, match="none of 2 texts contains a word"):
        counts(["...", "a b c"])


def test_one_class_gives_its_constant_and_is_counted() -> None:
    report: Counter[str] = Counter()
    model = fit("tfidf_svm", counts(TEXTS), np.array([1, 1, 1, 1]), Learning(), report=report)
    assert model.predict(counts(TEXTS)).tolist() == [1, 1, 1, 1]
    model = fit("tfidf_svm", counts(TEXTS), np.array([1, 1, 1, 0]), Learning(), report=report)
    assert model.get_params()["model__C"] == 1
    assert report == {"one_class": 1, "too_small_to_tune": 1}


def test_strength_is_tuned_inside_the_training_part() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    texts = [" ".join(rng.choice(["aa", "bb", "cc"], 9)) + " yes" * label for label in labels]
    tuned = [
        fit("tfidf_logistic", counts(texts), labels, Learning(folds=4), seed) for seed in (0, 0)
    ]
    (first, second) = (model.get_params()["model__C"] for model in tuned)
    assert first == second == 0.01  # the word alone is enough: the smallest of equals
    noise = fit("tfidf_svm", counts(texts), rng.integers(0, 2, 40), Learning(tune=False))
    assert noise.get_params()["model__C"] == 1


@pytest.mark.parametrize("ones", [0, 2, 15])
def test_every_author_is_labelled_once_by_what_was_learnt_from_others(ones: int) -> None:
    rows = [{"id": str(n)} for n in range(30)]
    labels = np.array([[int(n < ones)] for n in range(30)])
    parts = list(Task(rows, rows, ["ext"], labels).parts(5, 0, [0]))
    assert sorted(np.concatenate([places for *_, places in parts])) == list(range(30))
    for known, asked, _ in parts:
        assert not set(known) & set(asked)
        assert len(known) + len(asked) == 30
        assert abs(labels[asked].sum() - ones / 5) < 1


def test_authors_with_labels_of_their_own_each_are_folded_without_strata() -> None:
    rows = [{"id": str(n)} for n in range(4)]
    labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert len(list(Task(rows, rows, ["a", "b"], labels).parts(4, 0, [0, 1]))) == 4
    with pytest.raises(BadData, match=r"4 authors cannot be cross-validated in 5 folds: give more"):
        list(Task(rows, rows, ["a", "b"], labels).parts(5, 0, [0, 1]))


def test_posts_are_joined_by_one_blank_and_shuffled_by_seed() -> None:
    row = {"id": "a", "posts": ["one", "two", "three", "four"]}
    assert texts_of([row, {"id": "b", "text": "t"}]) == ["one two three four", "t"]
    (shuffled,) = texts_of([row], post_seed=0)
    assert shuffled == texts_of([row], post_seed=0)[0] != texts_of([row])[0]
    assert sorted(shuffled.split()) == sorted(row["posts"])


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_golden_baselines(
    name: str, golden: Callable[[str], Path], realdata: Callable[[str], Path]
) -> None:
    """Five seeded 70/30 splits: within 0.03 on each.

    The posts have more than 5000 words that stand in two texts. Which of the equally frequent ones
    stay is undefined in the golden recipe: other choices move single splits of TF and JP by up to
    0.06, which is three of 60 authors, so that only their means are held to 0.03.
    """
    results = vectors(golden("psycot/tfidf_baseline.json"))["results"][name]
    file, traits = SETS[name]
    rows = read_authors(realdata("personality") / f"{file}.jsonl.gz", traits)
    words = counts(texts_of(rows))
    for theirs, kind in KINDS.items():
        for trait in traits:
            labels = np.array([row["labels"][trait.name] for row in rows])
            scores, accuracies = [], []
            for seed in range(5):
                cut = StratifiedShuffleSplit(n_splits=1, test_size=0.3, random_state=seed)
                known, asked = next(cut.split(labels, labels))
                model = fit(kind, words[known], labels[known], Learning(tune=False))
                found = model.predict(words[asked])
                scores.append(f1_score(labels[asked], found, average="macro", zero_division=0))
                accuracies.append(accuracy_score(labels[asked], found))
            known_as = results[theirs][trait.name]
            each = 0.06 if trait.name in ("tf", "jp") else 0.03
            assert scores == pytest.approx(known_as["macro_f1_by_seed"], abs=each), trait.name
            assert accuracies == pytest.approx(known_as["accuracy_by_seed"], abs=each)
            assert np.mean(scores) == pytest.approx(known_as["macro_f1_mean"], abs=0.03)
