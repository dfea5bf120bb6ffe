"""Settings of a run, read back from what the optimiser and the model did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from harness.engine.integrity import list_files
from harness.training.objective import Batch, Counts, Objective, Sums
from harness.training.runs import COMPLETE, _updates, newest_checkpoint
from harness.training.settings import RunSettings
from harness.training.trainer import train
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
SLOPE = 0.5
RATE = 0.01


@dataclass
class Slope(Objective):
    """The gradient of each parameter is `SLOPE`, whatever the rows; the model runs all the same."""

    rows: list[list[int]] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)

    def prepare(self, model: nn.Module) -> None:
        """Any model will do."""

    def collate(self, examples: Sequence[int]) -> Batch:
        return {"number": torch.tensor(examples)}

    def counts(self, batch: Batch) -> Counts:
        return {"slope": torch.tensor(len(batch["number"]))}

    def sums(self, model: Any, batch: Batch, scheduled: Mapping[str, float]) -> tuple[Sums, Sums]:
        # Not the whole model again: a second autocast inside of its own would never end.
        hidden = model.model(input_ids=torch.tensor([[7, 8, 9]])).last_hidden_state
        self.rows.append(batch["number"].tolist())
        self.noise.append(torch.rand(()).item())
        count = torch.tensor(len(batch["number"]))
        total = sum(p.sum() for p in model.parameters()) + 0 * hidden.float().sum()
        return {"slope": (SLOPE * total * count, count)}, {}


@dataclass
class Update:
    """What the optimiser had before an update."""

    rates: set[float]
    decays: dict[str, float]  # by name of the parameter
    norm: float
    dtypes: set[torch.dtype]  # of weights, gradients and moments


@dataclass
class Run:
    """A training of a tiny model with what was seen of it."""

    context: Any
    model: Any
    objective: Slope
    updates: list[Update]
    passes: int = 0  # forward passes of a layer
    dtypes: set[torch.dtype] = field(default_factory=set)  # of what a matrix gives

    @property
    def rates(self) -> list[float]:
        assert all(len(update.rates) == 1 for update in self.updates)
        return [update.rates.copy().pop() for update in self.updates]


def seen(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> Update:
    groups = optimizer.param_groups
    weights = [p for group in groups for p in group["params"]]
    gradients = [p.grad for p in weights]
    moments = [s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    return Update(
        rates={float(group["lr"]) for group in groups},
        decays={names[id(p)]: g["weight_decay"] for g in groups for p in g["params"]},
        norm=float(torch.stack([gradient.norm() for gradient in gradients]).norm()),
        dtypes={tensor.dtype for tensor in [*weights, *gradients, *moments]},
    )


@pytest.fixture
def run(context: Make) -> Iterator[Make]:
    """`run(rows, **settings)`: a training with everything else at its default."""
    handles: list[Any] = []

    def one(rows: int = 20, **changes: Any) -> Run:
        model = make_model("llama")
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        made = Run(context(f"run-{len(handles)}"), model, Slope(), [])

        def before(optimizer: torch.optim.Optimizer, args: Any, options: Any) -> None:
            made.updates.append(seen(optimizer, names))

        def passed(module: nn.Module, args: Any) -> None:
            made.passes += 1

        def multiplied(module: nn.Module, args: Any, found: torch.Tensor) -> None:
            made.dtypes.add(found.dtype)

        model.model.layers[0].mlp.register_forward_pre_hook(passed)
        model.model.layers[0].mlp.down_proj.register_forward_hook(multiplied)
        handles.append(register_optimizer_step_pre_hook(before))
        settings = RunSettings(**{"learning_rate": RATE, **changes})
        train(model, make_tokenizer(), range(rows), made.objective, settings, made.context)
        handles[-1].remove()
        return made

    yield one
    for handle in handles:
        handle.remove()


def size_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# Eight updates, two of them with a rising rate; then a share of the six that remain.
RATES = {
    "cosine": [0, 0.5] + [(1 + math.cos(math.pi * n / 6)) / 2 for n in range(6)],
    "linear": [0, 0.5] + [1 - n / 6 for n in range(6)],
    "constant_with_warmup": [0, 0.5] + [1] * 6,
    "constant": [1] * 8,
}


@pytest.mark.parametrize("scheduler", RATES)
def test_the_learning_rate_of_each_update_is_that_of_the_scheduler(
    scheduler: str, run: Make
) -> None:
    made = run(scheduler=scheduler, warmup_ratio=0.25, max_steps=8)
    assert made.rates == pytest.approx([RATE * share for share in RATES[scheduler]])


def test_a_run_with_a_learning_rate_alone_takes_the_documented_defaults(run: Make) -> None:
    """One epoch in batches of 8; cosine after a tenth; norm 1; no decay; float32."""
    made = run(rows=20)
    assert [len(rows) for rows in made.objective.rows] == [8, 8, 4]
    assert sorted(row for rows in made.objective.rows for row in rows) == list(range(20))
    assert made.rates == pytest.approx([0, RATE, RATE / 2])  # ceil(0.1 * 3) = 1 of warm-up
    for update in made.updates:
        assert update.norm == pytest.approx(1.0, rel=1e-4)
        assert set(update.decays.values()) == {0.0}
        assert update.dtypes == {torch.float32}
    assert made.dtypes == {torch.float32}
    assert made.passes == 3
    assert not list(made.context.scratch.glob("checkpoint-*"))
    assert made.context.reports == [(n, 3, "updates") for n in (1, 2, 3)]


def test_epochs_steps_and_accumulation_give_the_updates_and_their_rows(run: Make) -> None:
    twice = run(rows=20, epochs=2)
    assert [len(rows) for rows in twice.objective.rows] == [8, 8, 4] * 2
    assert len(twice.updates) == 6
    part = run(rows=20, epochs=1.5)
    assert len(part.updates) == 5  # ceil(1.5 * 3)
    fixed = run(rows=20, epochs=3, max_steps=2)
    assert len(fixed.updates) == 2
    assert fixed.rates == pytest.approx([0, RATE])  # the schedule ends with the run
    windows = run(rows=20, per_device_batch_size=2, accumulation_steps=4)
    assert [len(rows) for rows in windows.objective.rows] == [2] * 10
    assert len(windows.updates) == 3


@pytest.mark.parametrize(
    ("rows", "epochs", "most", "processes", "expected"),
    [(20, 1.0, -1, 1, 3), (20, 1.5, -1, 1, 5), (16, 1.0, -1, 1, 2), (20, 9.0, 2, 1, 2),
     (20, 1.0, -1, 2, 2)],
)  # fmt: skip
def test_the_updates_of_a_run_are_known_before_it_begins(
    rows: int, epochs: float, most: int, processes: int, expected: int
) -> None:
    """Windows of 8 rows per process; the last one of an epoch may be short."""
    arguments = SimpleNamespace(
        train_batch_size=4, gradient_accumulation_steps=2, world_size=processes,
        num_train_epochs=epochs, max_steps=most,
    )  # fmt: skip
    assert _updates(SimpleNamespace(args=arguments, train_dataset=range(rows))) == expected


@pytest.mark.parametrize(("limit", "expected"), [(0.0, None), (0.25, 0.25), (1e6, None)])
def test_gradients_above_the_limit_are_scaled_to_it(
    limit: float, expected: float | None, run: Make
) -> None:
    made = run(max_grad_norm=limit, max_steps=1)
    whole = SLOPE * math.sqrt(size_of(made.model))
    assert made.updates[0].norm == pytest.approx(expected or whole, rel=1e-4)


def test_an_update_is_that_of_adamw_with_decay_of_matrices_alone(run: Make) -> None:
    start = dict(make_model("llama").named_parameters())
    made = run(scheduler="constant", weight_decay=0.3, max_steps=1)
    decays = made.updates[0].decays
    norms = {name for name in start if "norm" in name}
    assert norms
    assert {name for name, decay in decays.items() if decay == 0} == norms
    for name, value in made.model.named_parameters():
        decay = 0.0 if name in norms else 0.3
        # The first update of Adam is the rate against the sign of the gradient.
        expected = start[name].detach() * (1 - RATE * decay) - RATE
        torch.testing.assert_close(value.detach(), expected, rtol=1e-5, atol=1e-6, msg=name)


def test_bfloat16_is_the_type_of_arithmetic_and_never_of_what_is_updated(run: Make) -> None:
    made = run(dtype="bfloat16", max_steps=2)
    assert made.dtypes == {torch.bfloat16}
    assert [update.dtypes for update in made.updates] == [{torch.float32}] * 2
    assert not torch.is_autocast_enabled("cpu")


def test_gradient_checkpointing_runs_each_layer_a_second_time(run: Make) -> None:
    plain = run(max_steps=2, accumulation_steps=2, per_device_batch_size=4)
    again = run(max_steps=2, accumulation_steps=2, per_device_batch_size=4,
                gradient_checkpointing=True)  # fmt: skip
    assert (plain.passes, again.passes) == (4, 8)
    assert again.model.config.use_cache  # for who generates with the checkpoint


def test_the_seed_decides_the_order_of_rows_and_the_noise_of_the_run(run: Make) -> None:
    runs = [run(rows=12, seed=seed) for seed in (7, 7, 8)]
    orders = [made.objective.rows for made in runs]
    noises = [made.objective.noise for made in runs]
    assert orders[0] == orders[1]
    assert noises[0] == noises[1]
    assert orders[2] != orders[0]
    assert noises[2] != noises[0]
    usual, said = run(rows=12).objective, run(rows=12, seed=42).objective
    assert (usual.rows, usual.noise) == (said.rows, said.noise)


def test_the_last_two_checkpoints_are_kept_to_resume_from(run: Make) -> None:
    made = run(save_steps=2, max_steps=8)
    scratch = made.context.scratch
    assert sorted(path.name for path in scratch.glob("checkpoint-*")) == [
        "checkpoint-6",
        "checkpoint-8",
    ]
    assert newest_checkpoint(scratch) == scratch / "checkpoint-8"


def test_the_newest_checkpoint_has_the_largest_number_and_is_whole(context: Make) -> None:
    scratch = context("run").scratch
    assert newest_checkpoint(scratch) is None
    for number in (9, 10, 11, 100):
        folder = scratch / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        if number < 100:  # the last one was not finished
            list_files(folder, folder / COMPLETE)
    assert newest_checkpoint(scratch) == scratch / "checkpoint-11"
    (scratch / "checkpoint-11" / "model.safetensors").write_bytes(b"damaged")
    assert newest_checkpoint(scratch) == scratch / "checkpoint-10"
