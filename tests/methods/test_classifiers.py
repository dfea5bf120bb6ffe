"""Trained classifiers as systems: through plan, engine, suite and cells."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, BadRecord
from harness.core.records import Cell
from harness.data.traits import BIG_FIVE
from harness.engine.operations import Artifact, Row
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.suites.base import System
from harness.suites.personality.orders import Orders
from harness.suites.personality.recipe import AuthorsRecipe
from harness.suites.personality.suite import ESSAYS_SUITE, EssaysSettings
from methods.classifiers import method

WORDS = (
    *("on", "we", "saw", "old", "sea", "sky", "at", "home", "then", "he", "ran", "out", "to"),
    *("see", "them", "go", "by", "all", "day", "long"),
)
NAMES = [trait.name for trait in BIG_FIVE]


def authors(count: int, seed: int, planted: str = "party") -> list[Row]:
    """Texts in which the word `planted` tells extraversion and nothing tells the rest."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        words = [rng.choice(WORDS) for _ in range(20)]
        if number % 2:
            words[::2] = [planted] * 10
        rows.append({"id": f"{seed}-{number}", "text": " ".join(words)})
        rows[-1] |= {name: rng.randrange(2) for name in NAMES} | {"ext": number % 2}
    return rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[Row]], str]:
    def put(rows: list[Row]) -> str:
        path = tmp_path / f"{rows[0]['id']}-{len(rows)}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return put


class Result:
    def __init__(self, labels: Artifact, cells: Artifact) -> None:
        self.rows = labels.rows()
        self.report = labels.read_json("classifier.json")
        self.scores = {c["metric"]: Cell.model_validate(c) for c in cells.read_json("cells.json")}

    def labels(self, trait: str) -> list[int]:
        return [row["labels"][trait] for row in self.rows]


def recipe(folder: str | None = None, **classifier: Any) -> AuthorsRecipe:
    models = {"chat": {"ref": "nano:target"}} | ({"encoder": {"ref": folder}} if folder else {})
    tables = {"models": models, "classifier": classifier}
    return AuthorsRecipe.model_validate(
        {"method": "psycot", "systems": (), "suites": (), "profile": "nano", **tables}
    )


def evaluate(
    made: Any, given: AuthorsRecipe, store: Path, authors: str, train: str | None = None
) -> Result:
    plan = Plan()
    program = made.plan(given, plan.stage)
    settings = EssaysSettings(authors=authors, train=train, rounds=20)
    cells = ESSAYS_SUITE.plan(System.of("system", program), settings, plan.stage)
    InlineExecutor().execute(plan, [cells], Store(store))
    (labels,) = (stage.id for stage in plan.stages.values() if "classify" in stage.operation.name)
    return Result(Store(store).artifact(labels), Store(store).artifact(cells.id))


@pytest.mark.parametrize("made", [method.TFIDF_SVM, method.TFIDF_LOGISTIC])
def test_words_are_learnt_out_of_fold(
    made: Any, tmp_path: Path, write: Callable[[list[Row]], str]
) -> None:
    rows = authors(40, 1)
    given = recipe(folds=2)
    found = evaluate(made, given, tmp_path / "a", write(rows))
    assert found.scores["macro_f1:ext"].value == 100
    assert found.scores["macro_f1:agr"].value < 80
    assert [row["id"] for row in found.rows] == [row["id"] for row in rows]
    assert all(row["cross_validated"] for row in found.rows)
    assert not any(row["text"] in json.dumps(answer) for row in rows for answer in found.rows)
    assert len(found.report["C"]["ext"]) == 2
    again = evaluate(made, given, tmp_path / "b", write(rows))
    assert again.rows == found.rows
    assert again.report == found.report


def test_a_training_set_is_learnt_from_alone(
    tmp_path: Path, write: Callable[[list[Row]], str]
) -> None:
    given = recipe(tune=False)
    train, asked = write(authors(30, 1)), write(authors(9, 2))
    found = evaluate(method.TFIDF_SVM, given, tmp_path / "a", asked, train)
    assert found.labels("ext") == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert not any(row["cross_validated"] for row in found.rows)
    other = evaluate(
        method.TFIDF_SVM, given, tmp_path / "b", write(authors(8, 3, planted="feast")), train
    )
    assert other.labels("ext") == [0] * 8 or 0 < other.scores["macro_f1:ext"].value < 90


def test_majority(tmp_path: Path, write: Callable[[list[Row]], str]) -> None:
    train = [{**row, "neu": 1} for row in authors(9, 1)]
    found = evaluate(method.MAJORITY, recipe(), tmp_path, write(authors(6, 2)), write(train))
    assert found.labels("ext") == [0] * 6
    assert found.labels("neu") == [1] * 6
    assert found.report["one_class"] == 1
    assert found.scores["macro_f1:ext"].value == pytest.approx(100 / 3)


def test_a_text_in_both_sets_is_refused(tmp_path: Path, write: Callable[[list[Row]], str]) -> None:
    train, asked = authors(12, 1), authors(6, 2)
    train[3]["text"] = f"  {asked[5]['text'].upper()}"
    with pytest.raises(BadData, match=r'"2-5".* have the same text'):
        evaluate(method.TFIDF_SVM, recipe(), tmp_path, write(asked), write(train))


def test_too_few_authors_to_fold(tmp_path: Path, write: Callable[[list[Row]], str]) -> None:
    with pytest.raises(BadData, match=r"4 authors cannot be cross-validated in 5 folds"):
        evaluate(method.TFIDF_SVM, recipe(), tmp_path, write(authors(4, 1)))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random tiny BERT that reads whole words, 48 of them."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "party", *sorted(set(WORDS))]
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(known)}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    folder = tmp_path_factory.mktemp("bert")
    specials = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
    PreTrainedTokenizerFast(
        tokenizer_object=core, **{f"{name}_token": token for name, token in specials.items()}
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(known),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
        hidden_dropout_prob=0.0,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def test_a_frozen_encoder(tmp_path: Path, bert: str, write: Callable[[list[Row]], str]) -> None:
    rows = authors(40, 1)
    rows[0]["text"] *= 5  # longer than the encoder can read
    given = recipe(bert, tune=False, folds=2, encoder={"mode": "frozen"})
    found = evaluate(method.ENCODER, given, tmp_path, write(rows))
    assert found.scores["macro_f1:ext"].value > 75
    assert found.report["texts_cut"] == 1
    assert all(row["cross_validated"] for row in found.rows)


def test_a_fine_tuned_encoder(tmp_path: Path, bert: str, write: Callable[[list[Row]], str]) -> None:
    training = {"learning_rate": 3e-3, "epochs": 6, "scheduler": "constant"}
    given = recipe(bert, encoder={"training": training})
    train, asked = write(authors(64, 1)), write(authors(20, 2))
    found = evaluate(method.ENCODER, given, tmp_path / "a", asked, train)
    assert found.scores["macro_f1:ext"].value > 90
    assert found.scores["macro_f1:agr"].value < 80
    again = evaluate(method.ENCODER, given, tmp_path / "b", asked, train)
    assert again.rows == found.rows


def test_the_encoder_must_be_named() -> None:
    with pytest.raises(BadRecord, match=r"needs models\.encoder; for example --set"):
        method.ENCODER.plan(recipe(), Plan().stage)


def test_only_a_reader_of_sequences_depends_on_the_order_of_posts(
    bert: str, write: Callable[[list[Row]], str]
) -> None:
    for made, sensitive in ((method.TFIDF_SVM, False), (method.ENCODER, True)):
        plan = Plan()
        program = made.plan(recipe(bert), plan.stage)
        rows = plan.stage("import_authors", ref=write(authors(6, 1)), digest="d", scheme="big_five")
        plain, shuffled = (
            program.answer(rows, plan.stage, orders=orders, train=None, seed=0, batch_size=1)
            for orders in (Orders(), Orders(post_seed=0))
        )
        assert (plain != shuffled) == sensitive == ("post_seed" in program.sensitive_to)
