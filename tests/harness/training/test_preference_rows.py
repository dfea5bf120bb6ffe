"""What a row of preferences becomes for training and for its reference, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, UserError
from harness.engine.operations import Artifact, Row
from harness.models.checkpoints import load_causal_lm
from harness.models.logprobs import dense_logprobs
from harness.models.tokenize import IGNORE, TokenSequence
from harness.training import preference
from harness.training.losses import get_loss
from harness.training.preference import PreferenceExample, PreferenceObjective, disable_dropout
from harness.training.preference_operations import (
    ReferenceLogpsParams,
    TrainPreferenceParams,
    _examples,
    reference_logps,
    train_preference,
)
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
PROMPT = [1, 3, 6, 7, 4]  # <s> <u> a b <a>; letters begin at 6
GOOD, BAD, LONG = [8, 2], [9, 9, 2], [10] * 4 + [2]
ROW: Row = {
    "id": "r", "messages": [{"role": "user", "content": "ab"}],
    "responses": {"target": "c", "rejected": "dd", "other": "eeee"},
}  # fmt: skip


def scored(prompt: list[int], answer: list[int]) -> TokenSequence:
    return TokenSequence([*prompt, *answer], [IGNORE] * len(prompt) + answer)


@pytest.fixture
def read(rows_artifact: Make) -> Make:
    """`read(rows, reference, **settings)`: examples, keys of prompts, counts."""

    def one(rows: list[Row], frozen: list[Row] | None = None, **settings: Any) -> Any:
        params = TrainPreferenceParams(learning_rate=1e-3, **{"loss": "simpo", **settings})
        reference = None if frozen is None else rows_artifact(frozen, "frozen")
        loss = get_loss(params.loss)
        return _examples(make_tokenizer(), params, loss, rows_artifact(rows), reference)

    return one


def test_the_columns_of_the_loss_are_trained_in_their_order(read: Make) -> None:
    (example,), keys, counts = read([ROW])
    assert example == PreferenceExample((scored(PROMPT, GOOD), scored(PROMPT, BAD)), None)
    assert (len(keys), counts.rows, counts.answers) == (1, 1, {"target": 1, "rejected": 1})
    (example,), _, _ = read([ROW], responses=("other", "target"))
    assert example.sequences == (scored(PROMPT, LONG), scored(PROMPT, GOOD))


def test_the_longest_response_decides_what_a_prompt_loses(read: Make) -> None:
    limits = {"max_length": 8, "max_prompt_length": 2}
    (example,), _, _ = read([ROW], **limits)  # "other" has five ids, three are left for the prompt
    assert example.sequences == (scored([1, 7, 4], GOOD), scored([1, 7, 4], BAD))
    (tight,), _, _ = read([ROW], max_length=5, max_prompt_length=4)
    assert tight.sequences == (scored([1, 6, 7, 4], [8]), scored([1, 6, 7, 4], [9]))
    (released,), _, _ = read([ROW], released=True, max_length=64, max_prompt_length=40)
    assert released.sequences == (scored(PROMPT, [8, 2, 2]), scored(PROMPT, [9, 9, 2, 2]))


def test_answers_that_were_cut_or_are_empty_follow_the_rule(read: Make) -> None:
    cut = {**ROW, "finish": {"target": "stop", "rejected": "length", "other": "length"}}
    (example,), _, counts = read([cut])
    assert example.sequences[1] == scored(PROMPT, [9, 9])
    assert counts.cut == {"rejected": 1}
    (ended,), _, _ = read([cut], cut_answers="end")
    assert ended.sequences[1] == scored(PROMPT, BAD)
    whole = {**ROW, "id": "s"}
    _, keys, counts = read([cut, whole], cut_answers="leave_out")
    assert (len(keys), counts.left_out, counts.rows) == (1, 1, 1)
    finish = {"target": "length"}
    empty = {**ROW, "responses": {"target": "", "rejected": "d"}, "finish": finish}
    examples, _, counts = read([empty, whole])
    assert (len(examples), counts.left_out) == (1, 1)
    with pytest.raises(BadData, match="all 1 preference rows are left out"):
        read([empty])
    other = {**ROW, "finish": {"other": "length"}}  # not compared
    assert read([other], cut_answers="leave_out")[2].rows == 1


def test_the_reference_of_each_row_is_found_by_its_id(read: Make) -> None:
    second = {**ROW, "id": "s"}
    lengths = {"target": 2, "rejected": 3}
    frozen = [
        {"id": "s", "logps": {"target": -1.0, "rejected": -2.0}, "lengths": lengths},
        {"id": "r", "logps": {"target": -3.0, "rejected": -4.0}, "lengths": lengths},
    ]
    examples, _, _ = read([ROW, second], frozen, loss="dpo")
    assert [example.reference for example in examples] == [(-3.0, -4.0), (-1.0, -2.0)]
    assert read([ROW], frozen)[0][0].reference is None  # simpo compares with none
    with pytest.raises(BadData, match='no reference log-probabilities for preference row "r"'):
        read([ROW], frozen[:1], loss="dpo")
    with pytest.raises(BadData, match="give the artifact of a reference_logps stage"):
        read([ROW], loss="dpo")


def references(model: Artifact, rows: list[Row], context: Any, write: Make, **how: Any) -> Any:
    params = ReferenceLogpsParams(**how)
    made = reference_logps(context, params, [rows], rows=write(rows), model=model)
    return [row for batch in made for row in batch]


@pytest.mark.parametrize(
    ("how", "target"),
    [
        ({}, scored(PROMPT, GOOD)),
        ({"max_length": 8, "max_prompt_length": 2}, scored([1, 7, 4], GOOD)),
        ({"released": True, "max_length": 64, "max_prompt_length": 9}, scored(PROMPT, [8, 2, 2])),
    ],
)
def test_reference_values_are_of_the_tokens_that_are_trained(
    how: dict[str, Any], target: TokenSequence, checkpoint: Make, context: Make, rows_artifact: Make
) -> None:
    run = context("run")
    (row,) = references(checkpoint("llama"), [ROW], run, rows_artifact, **how)
    model, _ = load_causal_lm(checkpoint("llama").path)
    with torch.no_grad():
        logits = model(torch.tensor([target.input_ids])).logits
    expected = dense_logprobs(logits, torch.tensor([target.labels])).item()
    assert row["logps"]["target"] == pytest.approx(expected, rel=1e-5)
    assert list(row["lengths"]) == ["target", "rejected", "other"]
    assert row["lengths"]["target"] == target.length
    # The prompt is part of each of the three sequences.
    prompt = len(target.input_ids) - target.length
    assert run.tokens == 3 * prompt + sum(row["lengths"].values())


def test_the_reference_leaves_the_end_of_a_cut_answer_out_like_the_training(
    checkpoint: Make, context: Make, rows_artifact: Make
) -> None:
    cut = {**ROW, "finish": {"target": "length"}}
    sizes = {}
    for rule in ("no_end", "end"):
        made = references(checkpoint("llama"), [cut], context(rule), rows_artifact,
                          cut_answers=rule)  # fmt: skip
        sizes[rule] = made[0]["lengths"]["target"]
    assert sizes == {"no_end": 1, "end": 2}


@pytest.mark.parametrize("lacking", [{"responses": {}}, {"responses": None}])
def test_a_row_without_responses_is_named_by_the_reference(
    lacking: dict[str, Any], checkpoint: Make, context: Make, rows_artifact: Make
) -> None:
    rows = [ROW, {**ROW, "id": "s", **lacking}]
    with pytest.raises(BadData, match='preference row "s" has no responses'):
        references(checkpoint("llama"), rows, context("run"), rows_artifact)


def test_the_reference_model_is_in_its_type_and_has_a_head_that_can_be_read(
    checkpoint: Make, context: Make, rows_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, coarse = (
        references(checkpoint("llama"), [ROW], context(dtype), rows_artifact, dtype=dtype)[0]
        for dtype in ("float32", "bfloat16")
    )
    assert exact["logps"] != coarse["logps"]
    assert exact["logps"]["target"] == pytest.approx(coarse["logps"]["target"], rel=0.05)

    def refuse(model: Any) -> None:
        raise UserError("another head")

    monkeypatch.setattr("harness.models.heads.check_head", refuse)
    with pytest.raises(UserError, match="another head"):
        references(checkpoint("llama"), [ROW], context("refused"), rows_artifact)


def test_a_loss_on_the_whole_batch_is_not_trained_by_several_processes(
    checkpoint: Make, context: Make, rows_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = TrainPreferenceParams(learning_rate=1e-3, loss="sft", settings={}, max_steps=1)
    inputs = {"rows": rows_artifact([ROW]), "model": checkpoint("llama")}
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadData, match='loss "sft" couples the rows of a batch; found 2 processes'):
        train_preference(context("two"), params, **inputs)
    monkeypatch.setenv("WORLD_SIZE", "1")
    run = context("one")
    train_preference(run, params, **inputs)
    assert run.tokens == 2 * len(PROMPT) + len(GOOD) + len(BAD)


def test_sums_stay_on_the_device_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands for any other than the CPU."""
    tables = (torch.zeros(4, device="meta"), torch.ones(4, device="meta"))
    monkeypatch.setattr(preference, "sequence_logprobs", lambda model, batch: tables)
    loss = get_loss("simpo")
    objective = PreferenceObjective(loss, loss.settings(), ("target", "rejected"), 0)
    terms, logged = objective.sums(make_model("llama"), {}, {})
    pairs = [*terms.values(), *logged.values()]
    assert {value.device.type for pair in pairs for value in pair} == {"meta"}


def test_every_dropout_of_a_model_is_off() -> None:
    model = make_model("llama", attention_dropout=0.5)
    assert {layer.self_attn.attention_dropout for layer in model.model.layers} == {0.5}
    model.more = torch.nn.Dropout(0.3)
    disable_dropout(model)
    assert {layer.self_attn.attention_dropout for layer in model.model.layers} == {0.0}
    assert model.more.p == 0.0
    assert not hasattr(model.lm_head, "p")
