"""Settings of classifiers, questionnaires that are none, and what cells say of abstentions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.core.errors import BadData, BadRecord, MissingExtra, UserError
from harness.core.records import Cell
from harness.data.traits import BIG_FIVE, MBTI
from harness.engine.operations import Artifact, Row
from harness.suites.personality.classifiers import GRID, Learning, estimator
from harness.suites.personality.encoders import ClassifierSettings, EncodeParams
from harness.suites.personality.questionnaires import for_traits, load

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]
KNOWN = {"suite": "s", "system": "m", "scale": "nano", "rounds": 20}


def test_settings_of_classifiers() -> None:
    assert Learning().model_dump() == {"tune": True, "folds": 5}
    assert Learning(folds=2).folds == 2
    with pytest.raises(ValidationError):
        Learning(folds=1)
    assert GRID == (0.01, 0.1, 1.0, 10.0, 100.0)
    encoder = ClassifierSettings().encoder
    assert (encoder.mode, encoder.max_length) == ("finetune", 500)
    training = encoder.training
    assert (training.learning_rate, training.epochs, training.scheduler) == (5e-5, 4, "linear")
    assert training.weight_decay == 0.01
    assert (EncodeParams().seed, EncodeParams().post_seed) == (0, None)
    assert EncodeParams(max_length=8).max_length == 8
    with pytest.raises(ValidationError):
        EncodeParams(max_length=7)


def test_models_of_classifiers_have_their_settings() -> None:
    svm, logistic, frozen = (
        estimator(kind, 10.0) for kind in ("tfidf_svm", "tfidf_logistic", "frozen")
    )
    known = [
        (model["model"].C, model["model"].class_weight, model["model"].max_iter)
        for model in (svm, logistic, frozen)
    ]
    assert known == [(10, "balanced", 5000), (10, "balanced", 2000), (10, "balanced", 2000)]
    assert svm["model"].random_state == 0
    assert type(frozen["features"]).__name__ == "Normalizer"
    words, weights = (step for _, step in svm["features"].steps)
    assert (words.texts, words.most, weights.sublinear_tf) == (2, 5000, True)


def authors(rows_artifact: Make, rows: list[Row], masked: int = 0) -> Artifact:
    made = rows_artifact(rows)
    traits = [{"name": name} for name in rows[0]["labels"]]
    (made.path / "traits.json").write_text(json.dumps(traits))
    (made.path / "summary.json").write_text(json.dumps({"masked_posts": masked}))
    return made


def test_without_the_library_its_extra_is_named(
    run_operation: Run, rows_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = authors(rows_artifact, [{"id": "a", "text": "x", "labels": {"ext": 1}}])
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match="scikit-learn"):
        run_operation("classify_authors", {"kind": "majority"}, authors=people)


def test_the_majority_label_is_cross_validated(run_operation: Run, rows_artifact: Make) -> None:
    rows = [{"id": f"{n}", "text": "x", "labels": {"ext": int(n > 1)}} for n in range(6)]
    people = authors(rows_artifact, rows)
    made = run_operation("classify_authors", {"kind": "majority", "folds": 2}, authors=people)
    assert [row["labels"]["ext"] for row in made.rows()] == [1] * 6
    assert {row["cross_validated"] for row in made.rows()} == {True}
    assert made.rows()[0]["status"] == {"ext": "ok"}
    report = made.read_json("classifier.json")
    assert report == {
        "cross_validated": True, "one_class": 0, "too_small_to_tune": 2, "C": {"ext": [None] * 2}
    }  # fmt: skip
    train = authors(rows_artifact, [{**row, "id": f"t{n}", "text": f"y{n}", "labels": {"ext": 0}}
                                    for n, row in enumerate(rows)])  # fmt: skip
    learnt = run_operation("classify_authors", {"kind": "majority"}, authors=people, train=train)
    assert [row["labels"]["ext"] for row in learnt.rows()] == [0] * 6
    assert learnt.read_json("classifier.json")["one_class"] == 1
    with pytest.raises(BadData, match="6 authors cannot be cross-validated in 7 folds"):
        run_operation("classify_authors", {"kind": "majority", "folds": 7}, authors=people)


def scored(run_operation: Run, rows_artifact: Make, labels: list[Row], **more: Any) -> Any:
    rows = [{"id": f"{n}", "text": f"t{n}", "labels": {"ext": n % 2, "neu": 1}} for n in range(4)]
    made = run_operation(
        "score_labels", KNOWN | more, authors=authors(rows_artifact, rows, masked=3),
        labels=rows_artifact(labels),
    )  # fmt: skip
    return {c["metric"]: Cell.model_validate(c) for c in made.read_json("cells.json")}


def test_abstentions_are_told_by_reason(run_operation: Run, rows_artifact: Make) -> None:
    labels = [
        {"id": "0", "labels": {"ext": 1, "neu": None}, "status": {"neu": "tie"}},
        {"id": "1", "labels": {"ext": 0, "neu": 1}},
        {"id": "2", "labels": {"ext": 1, "neu": None}, "status": {"neu": "error: late"}},
        {"id": "3", "labels": {"ext": None, "neu": 1}, "status": {"ext": "x" * 50}},
    ]
    cells = scored(run_operation, rows_artifact, labels)
    details = cells["macro_f1"].details
    assert details["posts with masked type words"] == 3
    assert {key: n for key, n in details.items() if key.startswith("abstained")} == {
        f"abstained: {'x' * 40}": 1, "abstained: tie": 1, "abstained: error": 1
    }  # fmt: skip
    told = [key for key in details if key.startswith("abstained")]
    assert told == sorted(told)
    assert "cross_validated" not in details
    # Every label of extraversion is wrong: inverted, all that were given are right.
    ext = cells["macro_f1:ext"]
    assert (ext.value, cells["accuracy:ext"].value) == (0, 0)
    assert ext.details["macro_f1 if inverted"] == pytest.approx(100 * (4 / 5 + 2 / 3) / 2)
    neu = cells["macro_f1:neu"]
    assert neu.details["class without authors"] == "neu"
    assert (neu.interval.low, neu.interval.high, neu.interval.kind) == (0, 100, "not identified")
    right = [{"id": f"{n}", "labels": {"ext": n % 2, "neu": 1}} for n in range(4)]
    made = scored(run_operation, rows_artifact, [{**right[0], "cross_validated": True}, *right[1:]])
    assert "macro_f1 if inverted" not in made["macro_f1:ext"].details
    assert made["macro_f1"].details["cross_validated"] is True


def test_labels_of_other_authors_or_kinds_are_refused(
    run_operation: Run, rows_artifact: Make
) -> None:
    good = [{"id": f"{n}", "labels": {"ext": 1, "neu": 1}} for n in range(4)]
    with pytest.raises(BadData, match='labels 3 authors; expected the 4 imported ones: "3"'):
        scored(run_operation, rows_artifact, good[:3])
    bad = {"id": "0", "labels": {"ext": 2}}
    with pytest.raises(BadData, match='author "0": ext is 2; expected 0, 1 or null'):
        scored(run_operation, rows_artifact, [bad, *good[1:]])


FORM = 'name = "n"\nscheme = "big_five"\n'
RATED = '[items]\next = [[1, 1, "is so"]]\n'
SCALE = 'scale = ["a", "b", "c", "d", "e"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FORM + RATED, "`scale` has 0 entries; expected 5"),
        (FORM + 'scale = ["a", "b"]\n' + RATED, "`scale` has 2 entries"),
        (FORM + '[items]\next = [[1, "q", [["a", 1]]]]\n', "question 1 has 1 options; expected 2"),
        (FORM + '[items]\next = [[1, "q", [["a", 1], ["b", 0], ["c", 1], ["d", 0]]]]\n',
         "question 1 has 4 options"),
        (FORM, "not a questionnaire"),
        (FORM + SCALE + "[items]\next = [[1, 1]]\n", "not a questionnaire"),
    ],
)  # fmt: skip
def test_files_that_are_no_questionnaires_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(BadRecord, match=message):
        load(str(tmp_path / "own.toml"))


def test_a_questionnaire_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('subject = "She"\n' + FORM + SCALE + RATED)
    assert load(str(path)).items[0].text == "She is so."
    (tmp_path / "plain.toml").write_text('subject = ""\n' + FORM + SCALE + RATED)
    assert load(str(tmp_path / "plain.toml")).items[0].text == "is so"
    three = '[items]\next = [[1, "q", [["a", 1], ["b", 0], ["c", 1]]]]\n'
    (tmp_path / "three.toml").write_text(FORM + three)
    (item,) = load(str(tmp_path / "three.toml")).items
    assert (item.kind, item.labels, list(item.choices)) == ("choice", (1, 0, 1), list("ABCD"))
    for name in ("none", str(tmp_path / "none.toml"), str(tmp_path)):
        with pytest.raises(
            UserError, match=r"expected one of bfi44, ipip50, mbti50, or a \.toml file"
        ):
            load(name)
    with pytest.raises(UserError, match="lacks items for a trait of"):
        for_traits("bfi44", MBTI)
    assert for_traits("bfi44", BIG_FIVE).name == "bfi44"
