"""LoRA adapters: as peft by hand, merged exactly, the base as reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.core.records import parse
from harness.engine.operations import Artifact, Row
from harness.engine.registry import load_operation
from harness.models.checkpoints import load_causal_lm
from harness.models.references import resolve
from harness.models.tokenize import TokenSequence, tokenize_row
from harness.training.adapters import (
    ADAPTERS,
    Adapters,
    adapt,
    without_adapters,
)
from harness.training.settings import RunSettings
from harness.training.trainer import train
from tests.harness.training.adapter_runs import (
    LIMITS,
    OBJECTIVES,
    RUN,
    Make,
    by_adapters,
    by_hand,
    log_of,
    logits,
    settings,
    weights,
)
from tests.harness.training.advantage_objective import Advantage, make_examples
from tests.tiny_models import make_model, make_tokenizer


@pytest.mark.parametrize("kind", ["llama", "tied", "neox"])
def test_an_update_is_that_of_peft_by_hand(kind: str, context: Make) -> None:
    """Losses, adapters and merged weights of two updates by AdamW."""
    run, examples = context("run"), make_examples(8)
    train(make_model(kind), make_tokenizer(), examples, Advantage(0.4), settings(), run)
    hand, objective = by_hand(make_model(kind)), Advantage(0.4)
    trained = [p for p in hand.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    order = torch.utils.data.RandomSampler(range(8), generator=torch.Generator().manual_seed(42))
    places = [*order][:8]
    for step in range(2):
        batch = objective.collate([examples[n] for n in places[4 * step : 4 * step + 4]])
        terms, _ = objective.sums(hand.train(), batch, {})
        loss = sum(total / count for total, count in terms.values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert log_of(run)[step]["loss"] == pytest.approx(loss.item(), rel=1e-4)
    found = by_adapters(make_model(kind), run.directory / ADAPTERS)
    torch.testing.assert_close(logits(found), logits(hand), rtol=1e-4, atol=1e-5)
    merged = AutoModelForCausalLM.from_pretrained(run.directory).state_dict()
    expected = hand.merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    for name, value in merged.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


BETA = 0.1


def dpo_by_hand(model: Any, examples: list[tuple[TokenSequence, ...]]) -> torch.Tensor:
    """The mean of -log sigmoid(beta (log-ratio of the preferred answer - that of the other))."""

    def logp(sequence: TokenSequence) -> torch.Tensor:
        ids, labels = torch.tensor([sequence.input_ids]), torch.tensor(sequence.labels)[1:]
        scores = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        answer = labels != -100
        return scores[answer].gather(1, labels[answer, None]).sum()

    losses = []
    for preferred, other in examples:
        with model.disable_adapter(), torch.no_grad():
            reference = logp(preferred) - logp(other)
        ratio = logp(preferred) - logp(other) - reference
        losses.append(-torch.nn.functional.logsigmoid(BETA * ratio))
    return torch.stack(losses).mean()


def test_two_dpo_updates_of_a_nano_model_are_those_of_peft_by_hand(
    train_on: Make, preference_rows: list[Row]
) -> None:
    path = Path(resolve("nano:target").location)
    given = {"loss": "dpo", "settings": {"beta": BETA}, **LIMITS}
    run = train_on("train_preference", "run", {"model": Artifact("nano", path)}, **given)
    hand, tokenizer = (
        loader.from_pretrained(path) for loader in (AutoModelForCausalLM, AutoTokenizer)
    )
    hand = by_hand(hand).train()
    table = [
        tokenize_row(tokenizer, row, list(row["responses"]), **LIMITS) for row in preference_rows
    ]
    optimizer = torch.optim.AdamW(
        (p for p in hand.parameters() if p.requires_grad), lr=1e-2, weight_decay=0.0
    )
    order = torch.utils.data.RandomSampler(table, generator=torch.Generator().manual_seed(42))
    places = [*order]
    for step in range(2):
        rows = [table[place] for place in places[4 * step : 4 * step + 4]]
        loss = dpo_by_hand(hand, [(row["target"], row["rejected"]) for row in rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert log_of(run)[step]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert log_of(run)[0]["loss"] == pytest.approx(0.693147, rel=1e-5)
    assert log_of(run)[1]["loss"] < 0.693
    merged = weights(run)
    for name, value in hand.merge_and_unload().state_dict().items():
        if name in merged:
            torch.testing.assert_close(merged[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("operation", OBJECTIVES)
def test_every_objective_trains_adapters_that_the_checkpoint_has_merged(
    operation: str, dtype: str, train_on: Make, checkpoint: Make
) -> None:
    run = train_on(operation, "run", dtype=dtype, **OBJECTIVES[operation])
    base = AutoModelForCausalLM.from_pretrained(checkpoint("llama").path, dtype=dtype).float()
    before = logits(base)
    held = weights(run, f"{ADAPTERS}/adapter_model.safetensors")
    assert {value.dtype for value in held.values()} == {torch.float32}
    assert any(value.abs().max() > 0 for name, value in held.items() if "lora_B" in name)
    assert {path.name for path in (run.directory / ADAPTERS).iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
    found = by_adapters(base, run.directory / ADAPTERS)
    merged, tokenizer = load_causal_lm(run.directory)
    if dtype == "float32":
        torch.testing.assert_close(logits(merged), logits(found), rtol=1e-5, atol=1e-5)
        assert (logits(merged) - before).abs().max() > 1e-4
    expected = found.merge_and_unload().state_dict()
    assert weights(run).keys() == expected.keys()
    for name, value in weights(run).items():  # the sum, rounded once
        close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 2**-7, "atol": 0}
        torch.testing.assert_close(value, expected[name].to(getattr(torch, dtype)), **close)
    assert tokenizer.chat_template


def test_a_merged_checkpoint_is_the_start_of_a_next_training(train_on: Make) -> None:
    first = train_on("train_sft", "first")
    second = train_on(
        "train_preference",
        "second",
        {"model": Artifact("first", first.directory)},
        **OBJECTIVES["train_preference"],
        lora=None,
    )
    assert not (second.directory / ADAPTERS).exists()
    assert weights(second).keys() == weights(first).keys()


def test_the_reference_is_the_base_without_a_second_copy(
    train_on: Make, rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    """Rows of `reference_logps` give the same updates as the base that the adapters leave."""
    operation = load_operation("reference_logps")
    params = parse(operation.params, LIMITS, "test")
    given = {**RUN, "loss": "dpo", "settings": {"beta": 0.5}, **LIMITS, "max_steps": 3}
    live = train_on("train_preference", "live", **given)
    rows = Artifact("rows", context("live").directory.parents[1] / "rows")
    made = operation.function(
        context("reference"), params, [rows.rows()], rows=rows, model=checkpoint("llama")
    )
    stored = rows_artifact([row for batch in made for row in batch], "reference")
    told = train_on("train_preference", "told", {"reference": stored}, **given)
    assert log_of(live)[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    for one, two in zip(log_of(live), log_of(told), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["rewards/target"] == pytest.approx(two["rewards/target"], abs=1e-4)
    assert log_of(live)[-1]["loss"] < 0.69
    for name, value in weights(live).items():
        torch.testing.assert_close(value, weights(told)[name], rtol=1e-4, atol=1e-5)


def test_the_base_stays_what_it_was_while_adapters_are_trained() -> None:
    model = make_model("llama")
    before = logits(model).clone()
    adapted = adapt(model, settings())
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value += 1.0
    assert (logits(adapted) - before).abs().max() > 1e-2
    with without_adapters(adapted):
        assert torch.equal(logits(adapted), before)
    assert (logits(adapted) - before).abs().max() > 1e-2
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    found = Adapters(adapted)
    assert found.numbers() == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert torch.equal(logits(found.plain()), logits(adapted))


def test_adapters_start_the_same_for_a_seed_whatever_was_drawn_before() -> None:
    first = adapt(make_model("llama"), settings()).state_dict()
    torch.rand(3)
    state = torch.get_rng_state()
    again = adapt(make_model("llama"), settings())
    model = make_model("llama")
    assert all(torch.equal(value, first[name]) for name, value in again.state_dict().items())
    other = adapt(model, settings(seed=7)).state_dict()
    assert any(not torch.equal(value, first[name]) for name, value in other.items())
    torch.set_rng_state(state)


def test_numbers_are_narrowed_and_rotary_frequencies_are_not() -> None:
    adapted = adapt(make_model("llama"), settings(dtype="bfloat16"))
    kinds = {p.dtype for name, p in adapted.named_parameters() if "lora_" not in name}
    assert kinds == {torch.bfloat16}
    before, after = dict(make_model("llama").named_buffers()), dict(adapted.named_buffers())
    assert len(before) == len(after) > 0
    for one, two in zip(before.values(), after.values(), strict=True):
        assert torch.equal(one, two)
        assert one.dtype == two.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_weights_are_no_wider_than_the_checkpoint(dtype: torch.dtype) -> None:
    """A GPU that held the base in 16 bits need not hold it in 32 at the end."""
    adapted = adapt(make_model("llama"), settings(dtype=str(dtype).removeprefix("torch.")))
    found = Adapters(adapted)
    found.merge(dtype)
    assert {value.dtype for value in found.plain().parameters()} == {dtype}


def test_without_the_table_nothing_is_adapted() -> None:
    model = make_model("llama")
    assert adapt(model, RunSettings(learning_rate=1e-3)) is model


def test_accumulated_batches_are_one_batch(train_on: Make) -> None:
    whole = train_on("train_sft", "whole", per_device_batch_size=8, max_steps=3)
    halves = train_on("train_sft", "halves", accumulation_steps=2, max_steps=3)
    for one, two in zip(log_of(whole), log_of(halves), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(halves)[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operation", ["train_sft", "train_preference"])
def test_checkpointing_of_activations_changes_nothing(operation: str, train_on: Make) -> None:
    """The reference of DPO is a second forward pass, with adapters off, before the backward one."""
    given = OBJECTIVES[operation]
    if operation == "train_preference":
        given = {"loss": "dpo", "settings": {"beta": 0.5}, **LIMITS}
    plain = train_on(operation, "plain", **given)
    again = train_on(operation, "again", **given, gradient_checkpointing=True)
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(again)[name], rtol=1e-5, atol=1e-6)
