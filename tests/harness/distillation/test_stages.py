"""What the stages of explicit fusion hand on: manifests, engines, links, blocks, names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.distillation import operations
from harness.distillation.documents import corpus_digest
from harness.distillation.operations import (
    MakeTeacherParams,
    MapTeacherParams,
    TrainFusionParams,
    _link,
    _reader,
    make_teacher,
    map_teacher,
    train_fusion,
)
from harness.distillation.produce import TopK
from harness.distillation.shards import Teacher
from harness.engine.operations import Artifact, Row
from harness.models.references import model_identity
from harness.models.tokenize import tokenizer_digest
from harness.training.held_out import prompt_key, split
from tests.tiny_models import make_tokenizer

Make = Callable[..., Any]
ROWS: list[Row] = [{"id": f"d{n}", "text": "ab" * (n + 1)} for n in range(5)]
LENGTHS = [4, 6, 8, 10, 12]  # with BOS and EOS


def test_links_are_of_finished_files_alone(tmp_path: Path) -> None:
    made, out = tmp_path / "made", tmp_path / "out"
    (made / "inner").mkdir(parents=True)
    for name in ("a.json", ".a.partial", "inner/b"):
        (made / name).write_text(name)
    out.mkdir()
    (out / "there").write_text("")
    _link(made, out)
    found = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert found == {"there", "a.json", "inner", "inner/b"}
    assert (out / "a.json").stat().st_ino == (made / "a.json").stat().st_ino


def test_a_teachers_manifest_names_what_was_asked(
    rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    run, model = context("run"), checkpoint("llama")
    params = MakeTeacherParams(k=3, token_ce=True, shard_documents=2, bos=False)
    make_teacher(run, params, corpus=rows_artifact(ROWS), model=model)
    teacher = Teacher(run.directory)
    assert teacher.manifest.model_dump() == {
        "format": 1, "k": 3, "vocabulary": 43, "tokenizer": tokenizer_digest(make_tokenizer()),
        "corpus": corpus_digest(ROWS), "model": model_identity(model.path), "shard_documents": 2,
        "token_ce": True,
        "settings": {"engine": "hf", "dtype": "float32", "logits": 43, "bos": False, "eos": True},
    }  # fmt: skip
    assert [len(teacher[row["id"]].ids) for row in ROWS] == [length - 1 for length in LENGTHS]
    assert run.reports == [(2, 5, "documents"), (4, 5, "documents"), (5, 5, "documents")]
    assert list((run.scratch / "teacher").glob("shard-*"))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What vLLM's backend is opened with."""
    opened: list[Any] = []

    class Backend:
        def __init__(self, path: Path, services: Any, **options: Any) -> None:
            opened.append((path, services, options))
            self.tokenizer = make_tokenizer()

    monkeypatch.setattr("harness.backends.vllm.VLLMBackend", Backend)
    return opened


@pytest.mark.parametrize(("k", "more"), [(20, None), (21, {"max_logprobs": 21})])
def test_vllm_is_asked_for_more_log_probabilities_above_its_default(
    k: int, more: dict[str, int] | None, served: list[Any], context: Make, checkpoint: Make
) -> None:
    run, model = context("run"), checkpoint("llama")
    run.services = "services"
    params = MakeTeacherParams(k=k, engine="vllm", dtype="bfloat16")
    tokenizer, read = _reader(run, params, model)
    options = {"dtype": "bfloat16", "engine_args": more}
    assert served == [(model.path, "services", options)]
    assert (read.k, read.vocabulary, read.backend.tokenizer) == (k, 43, tokenizer)


def test_the_engine_of_a_reference_is_taken_unless_told_otherwise(
    served: list[Any], context: Make, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = context("run"), checkpoint("llama")
    run.services = None
    monkeypatch.setattr(operations, "pointer_of", lambda path: SimpleNamespace(engine="vllm"))
    _reader(run, MakeTeacherParams(), model)
    assert len(served) == 1
    _, read = _reader(run, MakeTeacherParams(engine="hf", batch_tokens=77, k=4), model)
    assert isinstance(read, TopK)
    assert (read._batch_tokens, read.k, read.vocabulary, len(served)) == (77, 4, 43, 1)


def test_the_report_of_a_mapping_names_the_models(
    rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    corpus, source, made = rows_artifact(ROWS), checkpoint("tied"), context("made")
    make_teacher(made, MakeTeacherParams(k=2), corpus=corpus, model=source)
    for number, ref in enumerate(("org/target", None)):
        run = context(f"mapped-{number}")
        target = Artifact("t", checkpoint("llama").path, params={"ref": ref} if ref else {})
        named = Artifact("s", source.path, params={"ref": "org/source"})
        teacher = Artifact("teacher", made.directory)
        inputs = {"corpus": corpus, "teacher": teacher, "target": target, "source": named}
        map_teacher(run, MapTeacherParams(alignment="dtw", bos=True), **inputs)
        report = json.loads((run.directory / "alignment.json").read_text())
        assert report["source"] == "org/source"
        assert (report["base"] == "org/target") == (ref is not None)
        assert (report["documents"], report["dtw"]) == (5, 5)
        assert run.reports == [(5, 5, "documents")]
        settings = Teacher(run.directory).manifest.settings
        assert (settings["alignment"], settings["source"]) == (
            "dtw", tokenizer_digest(make_tokenizer())
        )  # fmt: skip
    other = rows_artifact(ROWS[:2], "other")
    with pytest.raises(BadData, match="was made with corpus"):
        map_teacher(context("refused"), MapTeacherParams(), **{**inputs, "corpus": other})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the trainer is given, in place of a training."""
    given: list[Any] = []
    monkeypatch.setattr(
        "harness.training.trainer.train", lambda *args, **named: given.append((args, named))
    )
    return given


def test_documents_are_packed_and_held_out_apart(
    trained: list[Any], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    run = context("run")
    params = TrainFusionParams(
        learning_rate=1e-3, block_size=7, packing="wrapped", level="document", adam_beta2=0.9,
        validation={"share": 0.4, "points": 2}, loss={"lm_weight": 0.25},
    )  # fmt: skip
    train_fusion(run, params, corpus=rows_artifact(ROWS), model=checkpoint("llama"))
    (((_, _, blocks, objective, *rest), named),) = trained
    assert (rest[:2], named) == ([params, run], {"adam_beta2": 0.9})
    assert run.tokens == sum(LENGTHS)
    assert (objective.settings.lm_weight, objective.packing, objective.pad_id) == (
        0.25, "wrapped", 0
    )  # fmt: skip
    parts = split([prompt_key(row) for row in ROWS], params)
    for part, made in zip(parts, (blocks, rest[2]), strict=True):
        sizes = [[stop - start for _, start, stop in block] for block in made.plan]
        total = sum(LENGTHS[n] for n in part)
        assert [sum(block) for block in sizes] == [7] * (total // 7) + [total % 7] * (total % 7 > 0)
        assert (made.packing, made.level) == ("wrapped", "document")
        whole = [token for n in range(len(made)) for token in made[n].input_ids]
        tokenizer = make_tokenizer()
        wanted = [[1, *tokenizer(ROWS[n]["text"], add_special_tokens=False)["input_ids"], 2]
                  for n in part]  # fmt: skip
        assert whole == [token for ids in wanted for token in ids]


def test_teachers_are_opened_for_the_tokenizer_and_read_before_training(
    trained: list[Any], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    corpus, model, made = rows_artifact(ROWS), checkpoint("llama"), context("made")
    make_teacher(made, MakeTeacherParams(k=2), corpus=corpus, model=model)
    teacher = Artifact("teacher", made.directory)
    params = TrainFusionParams(learning_rate=1e-3, level="token")
    with pytest.raises(BadData, match="no cross-entropies of single tokens"):
        train_fusion(context("a"), params, corpus=corpus, model=model, teachers=(teacher,))
    assert trained == []
    run, params = context("b"), TrainFusionParams(learning_rate=1e-3)
    train_fusion(run, params, corpus=corpus, model=model, teachers=(teacher, teacher))
    (((_, _, blocks, *_), _),) = trained
    assert blocks[0].teacher_ids.shape[1:] == (2, 2)
    with pytest.raises(BadData, match="there are no documents to train on"):
        train_fusion(context("c"), params, corpus=rows_artifact([], "none"), model=model)
