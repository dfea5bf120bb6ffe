"""Classifiers of authors: TF-IDF with a linear model, and the code that all classifiers share.

With a training set, a classifier is trained on all of it. Without one, authors are labelled out of
fold: k seeded, stratified folds, each labelled by a classifier trained on the others. C is tuned
by an inner cross-validation on the training part only. Answer rows contain labels and no text.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.core.errors import BadData, MissingExtra
from harness.core.hashing import seed_from
from harness.core.records import Record
from harness.data.author_files import author_sets_overlap
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.personality.labels import label_scores

Kind = Literal["majority", "tfidf_svm", "tfidf_logistic", "frozen"]
Ints = NDArray[np.int64]
GRID = (0.01, 0.1, 1.0, 10.0, 100.0)  # values of C, the inverse strength of regularisation


class Learning(Record):
    """Training settings of every classifier.

    Attributes:
        tune: choose C by an inner cross-validation for macro-F1; otherwise C = 1.
        folds: number of folds of the inner cross-validation, and of the outer one if there is no
            training set.
    """

    tune: bool = True
    folds: int = Field(default=5, ge=2)


class ClassifyParams(Learning):
    """Parameters of `classify_authors`.

    Attributes:
        kind: a TF-IDF classifier, or the majority label.
        seed: seed of the folds.
    """

    kind: Literal["majority", "tfidf_svm", "tfidf_logistic"]
    seed: int = 0


@operation("classify_authors", version=1, params=ClassifyParams, libraries=("scikit-learn",))
def classify_authors(
    context: Context, params: ClassifyParams, *, authors: Artifact, train: Artifact | None = None
) -> None:
    """Label authors by a classifier of word frequencies.

    Writes label rows, each with `cross_validated`, and classifier.json: the C of every fold, and
    the number of training parts in which a trait had a single class (which is then the label).

    Raises:
        BadData: fewer authors than folds, texts without words, or a text in both sets.
        MissingExtra: scikit-learn is not installed.
    """
    require_sklearn()
    from harness.suites.personality.words import counts

    task = read_task(authors, train)
    majority = params.kind == "majority"
    inputs = np.zeros((len(task.rows), 1)) if majority else counts(texts_of(task.rows))
    label(context, task, inputs, params.kind, params, params.seed, Counter())


def require_sklearn() -> None:
    """Raise MissingExtra if scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtra("scikit-learn", "classic") from None


@dataclass(frozen=True)
class Task:
    """Authors to label and rows for training.

    Attributes:
        authors: authors to label.
        rows: the training set followed by the authors, or only the authors.
        names: names of the traits.
        labels: true labels (rows, traits), 0 or 1.
    """

    authors: list[Row]
    rows: list[Row]
    names: list[str]
    labels: Ints

    @property
    def cross_validated(self) -> bool:
        """Whether there is no training set."""
        return len(self.rows) == len(self.authors)

    def parts(
        self, folds: int, seed: int, columns: Sequence[int]
    ) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yield (training rows, rows to label, their indexes among the authors).

        One triple with a training set, otherwise one per fold. Folds are stratified by the
        combination of labels in `columns` if at least one combination occurs `folds` times.

        Raises:
            BadData: fewer authors than folds.
        """
        from sklearn.model_selection import KFold, StratifiedKFold

        count, learnt = len(self.authors), len(self.rows) - len(self.authors)
        if not self.cross_validated:
            yield np.arange(learnt), np.arange(learnt, learnt + count), np.arange(count)
            return
        if count < folds:
            raise BadData(
                f"{count} authors cannot be cross-validated in {folds} folds: give more authors or "
                "a training set, or set classifier.folds lower"
            )
        patterns = ["".join(map(str, row)) for row in self.labels[:, list(columns)]]
        fills = max(Counter(patterns).values()) >= folds
        cut = (StratifiedKFold if fills else KFold)(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():  # expected for rare combinations
            warnings.filterwarnings("ignore", message="The least populated class")
            for known, asked in cut.split(patterns, patterns):
                yield known, asked, asked


def read_task(authors: Artifact, train: Artifact | None) -> Task:
    """Task of labelling `authors`, trained on `train` or cross-validated.

    Raises:
        BadData: no authors, or a training set that is empty or contains a text of the authors.
    """
    names = [trait["name"] for trait in authors.read_json("traits.json")]
    asked = authors.rows()
    learnt = [] if train is None else train.rows()
    if not asked or (train is not None and not learnt):
        raise BadData(f"no authors to {'train on' if asked else 'label'}; expected at least one")
    author_sets_overlap(learnt, asked)
    rows = learnt + asked
    labels = [[row["labels"][name] for name in names] for row in rows]
    return Task(asked, rows, names, np.array(labels, dtype=np.int64))


def texts_of(rows: Sequence[Row], post_seed: int | None = None) -> list[str]:
    """One text per author; posts are joined by a blank, in their order or shuffled by a seed."""
    texts = []
    for row in rows:
        posts = list(row["posts"]) if "posts" in row else [row["text"]]
        if post_seed is not None:
            random.Random(seed_from("post order", row["id"], post_seed)).shuffle(posts)
        texts.append(" ".join(posts))
    return texts


def label(
    context: Context,
    task: Task,
    inputs: Any,
    kind: Kind,
    learning: Learning,
    seed: int,
    report: Counter[str],
) -> None:
    """Label every trait by a separate classifier and write the rows.

    Args:
        inputs: features (rows, features) that were not fitted to the rows.
        report: counts for classifier.json; `fit` adds more.
    """
    found = np.zeros((len(task.authors), len(task.names)), dtype=np.int64)
    chosen: dict[str, list[float | None]] = {}
    for column, name in enumerate(task.names):
        labels = task.labels[:, column]
        for known, asked, places in task.parts(learning.folds, seed, [column]):
            model = fit(kind, inputs[known], labels[known], learning, seed, report)
            found[places, column] = model.predict(inputs[asked])
            chosen.setdefault(name, []).append(model.get_params().get("model__C"))
        context.progress(column + 1, len(task.names), "traits")
    write_labels(context, task, found, {**report, "C": chosen})


def fit(
    kind: Kind,
    inputs: Any,
    labels: Ints,
    learning: Learning,
    seed: int = 0,
    report: Counter[str] | None = None,
) -> Any:
    """Fit a scikit-learn classifier of one trait to labels (rows,).

    With a single class the classifier is constant; if a class is too small for an inner
    cross-validation, C is 1. `report` counts both cases.
    """
    smallest = int(np.bincount(labels, minlength=2).min())
    folds = min(learning.folds, smallest)
    strength = 1.0
    if learning.tune and kind != "majority" and folds > 1:
        strength = _tuned(kind, inputs, labels, folds, seed)
    if report is not None:
        report["one_class"] += int(smallest == 0)
        report["too_small_to_tune"] += int(learning.tune and smallest == 1)
    return estimator(kind if smallest else "majority", strength).fit(inputs, labels)


def _tuned(kind: Kind, inputs: Any, labels: Ints, folds: int, seed: int) -> float:
    """C with the best mean macro-F1 over inner folds; the smallest one on a tie.

    The features of a fold are computed once for all C, unlike in scikit-learn's GridSearchCV.
    """
    from sklearn.model_selection import StratifiedKFold

    scores = np.zeros(len(GRID))
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for known, asked in cut.split(labels, labels):
        features = estimator(kind)["features"].fit(inputs[known])
        learnt, given = features.transform(inputs[known]), features.transform(inputs[asked])
        for place, strength in enumerate(GRID):
            model = estimator(kind, strength)["model"].fit(learnt, labels[known])
            found = label_scores(labels[asked], model.predict(given))
            scores[place] += 0 if found is None else found.macro_f1[0]
    return GRID[int(np.argmax(scores))]


def estimator(kind: Kind, strength: float = 1.0) -> Any:
    """Unfitted pipeline with the steps "features" and "model", with C = `strength`."""
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import LinearSVC

    from harness.suites.personality.words import FrequentWords

    if kind == "majority":
        return DummyClassifier(strategy="most_frequent")
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    if kind == "tfidf_svm":
        model = LinearSVC(C=strength, class_weight="balanced", random_state=0, max_iter=5000)
    weights = make_pipeline(FrequentWords(), TfidfTransformer(sublinear_tf=True))
    return Pipeline([("features", Normalizer() if kind == "frozen" else weights), ("model", model)])


def write_labels(context: Context, task: Task, found: Ints, report: dict[str, Any]) -> None:
    """Write label rows and classifier.json."""
    rows = (
        {
            "id": row["id"],
            "labels": dict(zip(task.names, labels)),
            "status": dict.fromkeys(task.names, "ok"),
            "cross_validated": task.cross_validated,
        }
        for row, labels in zip(task.authors, found.tolist())
    )
    write_rows(context.directory / "rows.jsonl", rows)
    report = {"cross_validated": task.cross_validated, **report}
    write_json(context.directory / "classifier.json", report)
