"""Several checkpoints trained together: saved apart, with learning rates of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from harness.core.errors import BadData
from harness.training.objective import Batch, Counts, Objective, Sums
from harness.training.parts import Parts
from harness.training.saving import Saver
from harness.training.settings import RunSettings
from harness.training.trainer import train
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[[str], Any]
SETTINGS = RunSettings(
    learning_rate=1e-3, per_device_batch_size=2, max_steps=4, warmup_ratio=0.0, scheduler="constant"
)


class Both(Objective):
    """Next-token loss of two models on the same ids."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = rates

    def prepare(self, model: nn.Module) -> None: ...

    def rates(self) -> Mapping[str, float]:
        return self._rates

    def collate(self, examples: Sequence[list[int]]) -> Batch:
        return {"ids": torch.tensor(list(examples))}

    def counts(self, batch: Batch) -> Counts:
        return {"lm": torch.tensor(len(batch["ids"]))}

    def sums(self, model: Any, batch: Batch, scheduled: Mapping[str, float]) -> tuple[Sums, Sums]:
        ids = batch["ids"]
        loss = sum(part(input_ids=ids, labels=ids).loss for part in model.models.values())
        count = torch.tensor(float(len(ids)))
        return {"lm": (loss * count, count)}, {}


def parts() -> Parts:
    return Parts({"first": make_model("llama"), "second": make_model("llama")})


def tokenizers() -> dict[str, Any]:
    return {"first": make_tokenizer(), "second": make_tokenizer()}


def run(context: Any, rates: Mapping[str, float] | None = None, **changes: Any) -> Parts:
    made = parts()
    rows = [[6, 7, 8, 9], [9, 8, 7, 6]] * 4
    params = SETTINGS.model_copy(update=changes)
    train(made, tokenizers(), rows, Both(rates or {}), params, context)
    return made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_part_is_a_checkpoint_of_its_own(dtype: str, context: Make) -> None:
    stage = context("one")
    made = run(stage, dtype=dtype)
    for name in ("first", "second"):
        loaded = AutoModelForCausalLM.from_pretrained(stage.directory / name, dtype="auto")
        assert str(loaded.dtype) == f"torch.{dtype}"
        for key, value in loaded.state_dict().items():
            torch.testing.assert_close(value, made[name].state_dict()[key].to(value.dtype))
        assert (stage.directory / name / "tokenizer.json").is_file()
    assert (stage.directory / "training_log.json").is_file()
    assert not (stage.directory / "model.safetensors").exists()


def test_parts_have_learning_rates_of_their_own(context: Make) -> None:
    start, equal = parts(), run(context("one"))
    slow = run(context("two"), {"models.second.": 1e-5})

    def moved(made: Parts, name: str) -> float:
        pairs = zip(made[name].parameters(), start[name].parameters(), strict=True)
        return max(float((new - old).detach().abs().max()) for new, old in pairs)

    assert moved(slow, "first") == pytest.approx(moved(equal, "first"), rel=1e-3)
    assert moved(slow, "second") == pytest.approx(moved(equal, "second") / 100, rel=0.3)


def test_a_killed_training_of_parts_resumes_to_the_same_weights(context: Make) -> None:
    whole = run(context("one"))
    stage = context("two")

    def stop(done: int, total: int, unit: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt

    stage.progress = stop
    with pytest.raises(KeyboardInterrupt):
        run(stage, {"models.second.": 1e-3}, save_steps=2)
    stage.progress = lambda *args, **options: None
    resumed = run(stage, {"models.second.": 1e-3}, save_steps=2)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_part_that_cannot_be_saved_is_refused_before_the_first_update(context: Make) -> None:
    broken = tokenizers()

    def fail(*args: Any, **options: Any) -> None:
        raise ValueError("no")

    broken["second"].save_pretrained = fail
    with pytest.raises(BadData, match="could not be saved after training, so nothing was trained"):
        Saver(parts(), broken, SETTINGS, context("one")).check(updates=4)


def test_parts_have_no_forward_pass() -> None:
    with pytest.raises(TypeError, match="call one of them"):
        parts()(input_ids=torch.tensor([[1]]))
