"""Training with teachers, end to end on tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.core.hashing import folder_digest
from harness.core.records import parse
from harness.distillation.align.report import AlignmentReport
from harness.distillation.operations import (
    MakeTeacherParams,
    MapTeacherParams,
    TrainFusionParams,
    make_teacher,
    map_teacher,
    train_fusion,
)
from harness.engine.operations import Artifact, Row
from harness.training.held_out import prompt_key, split
from tests.tokenizers import WEIGHTS

Make = Callable[..., Any]
WORDS = ["ab", "cde", "f ghi", "jk lmno", "pq", "r s t u v w", "xyz 0 1", "23", "4567", "8 9", "ba"]


@pytest.fixture
def corpus(rows_artifact: Make) -> Artifact:
    return rows_artifact([{"id": f"c{n}", "text": word * 3} for n, word in enumerate(WORDS)])


@pytest.fixture
def teachers(corpus: Artifact, checkpoint: Make, context: Make) -> tuple[Artifact, ...]:
    """The target itself and two others that share its tokenizer."""
    made = []
    for kind in ("llama", "tied", "neox"):
        run = context(f"teacher-{kind}")
        settings = MakeTeacherParams(k=5, shard_documents=4, token_ce=True)
        make_teacher(run, settings, corpus=corpus, model=checkpoint(kind))
        assert run.reports[-1] == (11, 11, "documents")
        made.append(Artifact(kind, run.directory))
    return tuple(made)


def params(**changes: Any) -> TrainFusionParams:
    plain = {
        "loss": {"lm_weight": 0.5},
        "block_size": 24,
        "learning_rate": 3e-3,
        "max_steps": 8,
        "warmup_ratio": 0.0,
        "per_device_batch_size": 2,
    }
    return parse(TrainFusionParams, {**plain, **changes}, "test")


def log_of(run: Any) -> list[dict[str, Any]]:
    log: list[dict[str, Any]] = json.loads((run.directory / "training_log.json").read_text())["log"]
    return log


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"lm_weight": 0.5, "fusion": "avg_ce", "divergence": "kl"}, "level": "token"},
        {"loss": {"weighting": "decay", "positions": "all"}, "packing": "wrapped"},
        {"loss": {"weighting": "soft", "released": True}, "packing": "none", "level": "document"},
    ],
)
def test_both_losses_fall(
    changes: dict[str, Any], corpus: Artifact, teachers: Any, checkpoint: Make, context: Make
) -> None:
    run = context("run")
    train_fusion(
        run, params(**changes), corpus=corpus, model=checkpoint("llama"), teachers=teachers
    )
    log = log_of(run)
    assert [entry["step"] for entry in log] == list(range(1, 9))
    for name in ("clm", "loss"):
        assert sum(e[name] for e in log[-2:]) < sum(e[name] for e in log[:2]), name
    settings = params(**changes).loss
    if settings.weighting == "decay":
        assert [entry["lm_weight"] for entry in log] == pytest.approx(
            [0.9 + 0.1 * step / 8 for step in range(8)]
        )
    if settings.weighting == "fixed":
        for entry in log:
            expected = 0.5 * entry["clm"] + 0.5 * entry["fusion"]
            assert entry["loss"] == pytest.approx(expected, rel=1e-4)
    names = {path.name for path in run.directory.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training_log.json"} <= names


@pytest.mark.parametrize("packing", ["documents", "none"])
def test_accumulating_is_exact(
    packing: str, corpus: Artifact, teachers: Any, checkpoint: Make, context: Make
) -> None:
    for name, (batch, accumulation) in {"whole": (4, 1), "parts": (1, 4)}.items():
        settings = params(
            packing=packing, max_steps=4,
            per_device_batch_size=batch, accumulation_steps=accumulation,
        )  # fmt: skip
        train_fusion(
            context(name), settings, corpus=corpus, model=checkpoint("llama"), teachers=teachers
        )
    whole, parts = (log_of(context(name)) for name in ("whole", "parts"))
    for one, other in zip(whole, parts, strict=True):
        for key in ("loss", "grad_norm", "clm", "fusion"):
            assert other[key] == pytest.approx(one[key], rel=1e-4), key


def test_without_teachers_it_is_continual_training(
    corpus: Artifact, checkpoint: Make, context: Make, teachers: Any
) -> None:
    for name, given in (("none", ()), ("weightless", teachers)):
        settings = params(loss={"lm_weight": 1.0}, max_steps=3)
        run = context(name)
        train_fusion(run, settings, corpus=corpus, model=checkpoint("llama"), teachers=given)
    none, weightless = (log_of(context(name)) for name in ("none", "weightless"))
    for one, other in zip(none, weightless, strict=True):
        assert one["loss"] == pytest.approx(one["clm"], rel=1e-5)
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert (one["fusion"], other["fusion"] > 0) == (0.0, True)


def test_equal_inputs_give_equal_bytes(
    corpus: Artifact, teachers: Any, checkpoint: Make, context: Make
) -> None:
    for name in ("one", "two"):
        train_fusion(
            context(name), params(max_steps=2),
            corpus=corpus, model=checkpoint("llama"), teachers=teachers,
        )  # fmt: skip
    assert folder_digest(context("one").directory) == folder_digest(context("two").directory)


def test_teachers_of_other_corpora_stop_before_training(
    corpus: Artifact, teachers: Any, checkpoint: Make, context: Make, rows_artifact: Make
) -> None:
    other = rows_artifact([{"id": "c0", "text": "other"}], "other")
    run = context("run")
    with pytest.raises(BadData, match=r"was made with corpus .*; expected"):
        train_fusion(run, params(), corpus=other, model=checkpoint("llama"), teachers=teachers)
    settings = params(eos=False)
    with pytest.raises(BadData, match="read 8 tokens of document"):
        train_fusion(run, settings, corpus=corpus, model=checkpoint("llama"), teachers=teachers)
    empty = rows_artifact([], "empty")
    with pytest.raises(BadData, match="no documents"):
        train_fusion(run, params(), corpus=empty, model=checkpoint("llama"))
    assert not list(run.directory.iterdir())


def test_chats_learn_from_answers_only(
    rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    rows: list[Row] = [
        {"id": f"r{n}", "messages": [{"role": "user", "content": word}], "response": word[::-1]}
        for n, word in enumerate(WORDS)
    ]
    chats, model = rows_artifact(rows, "chats"), checkpoint("llama")
    run = context("teacher")
    make_teacher(run, MakeTeacherParams(k=5), corpus=chats, model=model)
    trained = context("run")
    teachers = (Artifact("t", run.directory),)
    train_fusion(trained, params(packing="none"), corpus=chats, model=model, teachers=teachers)
    assert log_of(trained)[-1]["loss"] < log_of(trained)[0]["loss"]


def test_a_source_with_another_tokenizer_teaches_through_its_mapping(
    corpus: Artifact, teachers: Any, checkpoint: Make, context: Make
) -> None:
    source = Artifact("source", WEIGHTS / "source_b")
    made, mapped, trained = (context(name) for name in ("source", "mapped", "run"))
    make_teacher(made, MakeTeacherParams(k=5), corpus=corpus, model=source)
    map_teacher(
        mapped, MapTeacherParams(), corpus=corpus,
        teacher=Artifact("t", made.directory), target=checkpoint("llama"), source=source,
    )  # fmt: skip
    assert mapped.reports[-1] == (11, 11, "documents")
    report = AlignmentReport.model_validate_json((mapped.directory / "alignment.json").read_text())
    assert report.documents == 11
    both = (teachers[0], Artifact("m", mapped.directory))
    train_fusion(trained, params(), corpus=corpus, model=checkpoint("llama"), teachers=both)
    assert log_of(trained)[-1]["loss"] < log_of(trained)[0]["loss"]
    with pytest.raises(BadData, match="was made with tokenizer"):
        train_fusion(
            context("refused"), params(), corpus=corpus, model=checkpoint("llama"),
            teachers=(teachers[0], Artifact("t", made.directory)),
        )  # fmt: skip


def test_held_out_documents_leave_the_training_as_it_is(
    corpus: Artifact, teachers: Any, checkpoint: Make, context: Make, rows_artifact: Make
) -> None:
    short = {"max_steps": 4, "packing": "documents"}
    on = params(**short, validation={"share": 0.3, "points": 2})
    documents = corpus.rows()
    left = rows_artifact(split([prompt_key(row) for row in documents], on).of(documents)[0], "left")
    model = checkpoint("llama")
    train_fusion(context("with"), on, corpus=corpus, model=model)
    train_fusion(context("without"), params(**short), corpus=left, model=model)
    both = [context(name).directory / "model.safetensors" for name in ("with", "without")]
    assert both[0].read_bytes() == both[1].read_bytes()
    assert log_of(context("with")) == log_of(context("without"))
    train_fusion(context("taught"), on, corpus=corpus, model=model, teachers=teachers)
    found = json.loads((context("taught").directory / "training_log.json").read_text())
    points = found["validation"]["points"]
    assert [point["step"] for point in points] == [0, 2, 4]
    for point in points:
        assert point["loss"] == pytest.approx(0.5 * point["clm"] + 0.5 * point["fusion"], rel=1e-4)
