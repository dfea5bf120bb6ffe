"""One training on pairs: what it needs, what it refuses, and what it hands to the trainer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.errors import BadData
from harness.distillation.advantage import training
from harness.distillation.advantage.objective import PairExample
from harness.distillation.advantage.settings import PairLoss, TrainOnPairsParams
from harness.distillation.advantage.training import PairRun, _detached
from harness.distillation.shards import token_check
from harness.engine.operations import Artifact, Row
from harness.models.heads import Head
from harness.models.tokenize import IGNORE, TokenSequence, tokenizer_digest
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
PROMPT = [1, 3, 6, 7, 4]  # <s> <u> a b <a>; letters begin at 6
ADPA, DCKD = {"gamma": 1.0}, {"kl_chosen": 0.5, "kl_response": 0.5}


def row(id: str, chosen: str, answer: str, **more: Any) -> Row:
    message = {"role": "user", "content": "ab"}
    return {"id": id, "messages": [message], "responses": {"chosen": chosen, "answer": answer},
            **more}  # fmt: skip


ROWS = [
    row("r", "c", "dd"),
    row("s", "", "", finish={"chosen": "length"}),  # nothing to learn from
    row("t", "e", " ", finish={"chosen": "length"}),
    row("u", "", "f", finish={"chosen": "length"}),
]


def scored(*answer: int) -> TokenSequence:
    return TokenSequence([*PROMPT, *answer], [IGNORE] * 5 + list(answer))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the trainer is given, in place of a training."""
    calls: list[Any] = []
    monkeypatch.setattr(training, "train", lambda *args: calls.append(args))
    return calls


@pytest.fixture
def pair_run(rows_artifact: Make, checkpoint: Make, context: Make) -> Make:
    """`pair_run(loss, **artifacts and settings)`; models by the kind of their checkpoint."""

    def make(loss: Any = None, rows: list[Row] = ROWS, **how: Any) -> PairRun:
        names = ("teacher", "reference", "cache", "weights")
        inputs = [how.pop(name, None) for name in names]
        inputs = [checkpoint(each) if isinstance(each, str) else each for each in inputs]
        params = TrainOnPairsParams(
            **{"learning_rate": 1e-3, "loss": loss or {}, "response": "answer", **how}
        )
        return PairRun(context("run"), params, rows_artifact(rows), checkpoint("llama"), *inputs)

    return make


@pytest.mark.parametrize(
    ("loss", "sources", "complaint"),
    [
        ({}, {}, ""),
        ({"distill": 0.0, "kl_chosen": 1.0}, {}, ""),
        ({"kl_chosen": 1.0}, {}, "the loss needs teacher; teacher missing"),
        ({"kl_response": 1.0}, {}, "the loss needs teacher; teacher missing"),
        ({"kl_response": 1.0}, {"teacher": "tied"}, ""),
        (ADPA, {}, "the loss needs teacher and reference; teacher and reference missing"),
        (ADPA, {"teacher": "tied"}, "the loss needs teacher and reference; reference missing"),
        (ADPA, {"reference": "tied"}, "needs teacher and reference; teacher missing"),
        (ADPA, {"teacher": "tied", "reference": "neox"}, ""),
        (ADPA, {"teacher": "tied", "uniform": True}, ""),
        ({"distill": 0.0, "gamma": 1.0}, {}, "the loss needs teacher and reference"),
    ],
)
def test_the_models_that_a_loss_needs_are_named(
    loss: dict[str, float], sources: dict[str, Any], complaint: str, pair_run: Make
) -> None:
    if complaint:
        with pytest.raises(BadData, match=complaint):
            pair_run(loss, **sources)
    else:
        assert pair_run(loss, **sources).params.loss == PairLoss(**loss)


@pytest.mark.parametrize(
    ("loss", "chosen", "response"),
    [
        ({}, False, False), ({"kl_chosen": 1.0}, True, False), ({"kl_response": 1.0}, False, True),
        (ADPA, False, True), ({"kl_chosen": 1.0, "distill": 0.0}, False, False),
        ({"kl_response": 1.0, "distill": 0.0}, False, False),
        ({"gamma": 1.0, "distill": 0.0}, False, True),
    ],
)  # fmt: skip
def test_a_cache_is_read_for_the_sides_that_a_loss_distils(
    loss: dict[str, float], chosen: bool, response: bool, pair_run: Make
) -> None:
    run = pair_run(loss, teacher="tied", reference="neox")
    assert (run._is_read("chosen"), run._is_read("response")) == (chosen, response)


def test_the_trainer_gets_the_rows_with_a_scored_token(given: list[Any], pair_run: Make) -> None:
    run = pair_run()
    run.train()
    ((student, tokenizer, examples, objective, params, context, held_out),) = given
    assert examples == [
        PairExample(scored(8, 2), scored(9, 9, 2)),
        PairExample(scored(10), None),
        PairExample(scored(), scored(11, 2)),
    ]
    assert context.tokens == 7 + 8 + 6 + 5 + 7
    assert (held_out, params, context) == ([], run.params, run.context)
    assert (objective.settings, objective.pad_id, objective.vocabulary) == (params.loss, 0, 43)
    assert tokenizer_digest(tokenizer) == tokenizer_digest(make_tokenizer())
    assert student.lm_head.weight.dtype == torch.float32
    assert "2 of 8 answers" not in "".join(context.notes)
    assert [note for note in context.notes if "1 of 4 rows left out" in note]


def test_some_prompts_are_held_out_and_none_left_is_refused(
    given: list[Any], pair_run: Make
) -> None:
    rows = [row(f"r{n}", "c", "d") for n in range(6)]
    for n, each in enumerate(rows):
        each["messages"][0]["content"] = "ab"[: 1 + n % 2] * (n + 1)
    run = pair_run(rows=rows, validation={"share": 0.34, "points": 1})
    run.train()
    assert [len(part) for part in (given[0][2], given[0][6])] == [4, 2]
    counted = sum(len(e.chosen.input_ids) + len(e.response.input_ids) for e in given[0][2])
    assert run.context.tokens == counted
    with pytest.raises(BadData, match=r"no row has a scored token: .*max_length \(2048\)"):
        pair_run(rows=[ROWS[1]]).train()


def test_live_teachers_are_loaded_in_their_type(pair_run: Make) -> None:
    run = pair_run(ADPA, teacher="tied", reference="neox", teacher_dtype="bfloat16", uniform=True)
    found, vocabulary = run._teachers(make_tokenizer())
    assert vocabulary == 43
    assert (found.uniform, found.heads) == (True, ())
    assert found.teacher.config.model_type == "llama"
    assert found.reference.config.model_type == "gpt_neox"
    assert {p.dtype for p in found.teacher.parameters()} == {torch.bfloat16}
    none, vocabulary = pair_run()._teachers(make_tokenizer())
    assert (none.teacher, none.reference, none.uniform, vocabulary) == (None, None, False, 43)


@pytest.mark.parametrize("form", ["hidden", "lists"])
def test_with_a_cache_only_heads_are_kept(
    form: str, pair_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"ids": 2} if form == "lists" else {"teacher": 16}
    manifest = SimpleNamespace(columns=columns, settings={"values": "ratios"}, models={})
    monkeypatch.setattr(training, "Cache", lambda path, *_: SimpleNamespace(manifest=manifest))
    models = {} if form == "lists" else {"teacher": "tied", "reference": "neox"}
    run = pair_run(ADPA, cache=Artifact("c", None), **models)  # type: ignore[arg-type]
    found, vocabulary = run._teachers(make_tokenizer())
    assert (found.teacher, found.reference, vocabulary) == (None, None, 43)
    assert [head.weight.shape for head in found.heads] == [(43, 16)] * len(models)
    if models:
        first = make_model("tied").get_output_embeddings().weight
        assert torch.equal(found.heads[0].weight, first)
    assert not any(head.weight.requires_grad for head in found.heads)


@pytest.mark.parametrize(
    ("loss", "values", "refused"),
    [(ADPA, "ratios", ""), (ADPA, "logps", "logps; the loss needs ratios"),
     (DCKD, "logps", ""), (DCKD, "ratios", "ratios; the loss needs logps")],
)  # fmt: skip
def test_a_cache_holds_what_the_loss_takes(
    loss: dict[str, float], values: str, refused: str, pair_run: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    manifest = SimpleNamespace(columns={"ids": 2}, settings={"values": values})
    made = SimpleNamespace(manifest=manifest, folder="folder")
    monkeypatch.setattr(training, "Cache", lambda path: made)
    cache = Artifact("c", None)  # type: ignore[arg-type]
    if refused:
        with pytest.raises(BadData, match=f"folder: a cache of {refused}"):
            pair_run(loss, cache=cache)
    else:
        assert pair_run(loss, cache=cache).cache is made


def test_a_head_is_copied_without_its_gradient() -> None:
    weight = torch.nn.Parameter(torch.ones(3, 2))
    bias = torch.nn.Parameter(torch.ones(3))
    found = _detached(Head(weight, bias, 0.5, 3.0))
    assert found.bias is not None
    assert (found.scale, found.cap) == (0.5, 3.0)
    for copy, whole in ((found.weight, weight), (found.bias, bias)):
        assert torch.equal(copy, whole.detach())
        assert copy.data_ptr() != whole.data_ptr()
        assert not copy.requires_grad
    assert _detached(Head(weight, None)).bias is None


def test_advantages_of_spans_belong_to_their_tokens(
    given: list[Any], pair_run: Make, rows_artifact: Make
) -> None:
    known = {"id": "r", "weights": [0.5, 1.0, 2.0], "check": token_check([9, 9, 2])}
    made = rows_artifact([known], "weights")
    run = pair_run(ADPA, rows=ROWS[:1], weights=made)
    run.train()
    (example,) = given[0][2]
    assert example.rows.keys() == {"response"}
    assert example.rows["response"]["weights"].tolist() == [0.5, 1.0, 2.0]
    for wrong in ({"check": 1}, {"weights": [0.5, 1.0]}, {"id": "other"}):
        other = rows_artifact([{**known, **wrong}], "wrong")
        with pytest.raises(BadData, match='the advantages of row "r" belong to other tokens'):
            pair_run(ADPA, rows=ROWS[:1], weights=other).train()


def test_a_head_that_is_narrower_than_the_tokenizer_is_refused(
    pair_run: Make, tmp_path: Any
) -> None:
    make_model("llama", vocabulary=40).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    run = pair_run({"kl_chosen": 1.0}, teacher="tied")
    run.artifacts["teacher"] = Artifact("narrow", tmp_path)
    with pytest.raises(BadData, match=r"head has 40 outputs; expected at least the 43 ids|rows"):
        run._teachers(make_tokenizer())
