"""Every training of the repository on a few rows of unequal lengths, in one process or in several.

Nine rows in updates of eight: the last update of an epoch has one row, so that one of two processes
has none.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from harness.core.records import parse
from harness.engine.operations import Artifact
from harness.engine.registry import load_operation
from harness.training import weight_files
from harness.training.launch import over_processes
from harness.training.settings import RunSettings

ROWS = 9
RUN: dict[str, Any] = {
    "learning_rate": 1e-3,
    "per_device_batch_size": 2,
    "accumulation_steps": 4,
}
LIMITS = {"max_length": 64, "max_prompt_length": 32}
PAIRS = {**LIMITS, "anchor": "target", "response": "rejected"}
ADVANTAGE = {"loss": {"gamma": 0.5}, "uniform": True, "epochs": 2, **PAIRS}
HELD_OUT = {"validation": {"points": 2, "share": 0.34}}
# name -> operation, parameters, inputs that it takes besides rows and model
TRAININGS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "sft": ("train_sft", {"validation": {"points": 1, "share": 0.1}}, ()),
    "packed": ("train_sft", {"packing": True, "max_length": 12}, ()),
    "dpo": ("train_preference", {"loss": "dpo", "epochs": 2, **LIMITS}, ("reference",)),
    "simpo": ("train_preference", {"loss": "simpo", **LIMITS}, ()),
    "wrpo": ("train_preference", {"loss": "wrpo", **LIMITS}, ("reference",)),
    "lora": ("train_preference", {"loss": "dpo", "lora": {"rank": 2}, **LIMITS}, ()),
    "language-model": ("train_fusion", {"packing": "none"}, ()),
    "distillation": ("train_on_pairs", {"loss": {"kl_response": 1.0}, **PAIRS}, ("teacher",)),
    "advantage": ("train_on_pairs", {**ADVANTAGE, **HELD_OUT}, ("teacher",)),
    "reviser": ("train_reviser", LIMITS, ()),
}  # fmt: skip
OBJECTIVES = ("fusion", "mktod", "mktod-retriever")
PLACES = (0, 1, 2, 3, 0, 1, 2, 3, 1)
SHARDED = ("train_preference", {"loss": "simpo", **LIMITS})
KILLED = ("train_sft", {"save_steps": 1, "epochs": 3})


def operation(name: str) -> tuple[Any, type[Any]]:
    """The operation's function, as ranks call it, and its record."""
    found = load_operation(name)
    return found.function.__wrapped__, found.params  # type: ignore[attr-defined]


def part(context: Any, name: str) -> Any:
    made = replace(context, directory=context.directory / name, scratch=context.scratch / name)
    made.directory.mkdir(parents=True, exist_ok=True)
    made.scratch.mkdir(parents=True, exist_ok=True)
    return made


def run(context: Any, params: RunSettings, kind: str, changes: Any, **inputs: Artifact) -> None:
    function, record = operation(kind)
    launch = None if params.launch is None else params.launch.model_dump()
    if kind == "train_fusion":
        inputs["corpus"] = inputs.pop("rows")
    function(context, parse(record, {**RUN, **changes, "launch": launch}, "test"), **inputs)


@over_processes
def every_training(
    context: Any, params: RunSettings, *, rows: Artifact, model: Artifact, **others: Artifact
) -> None:
    for name, (kind, changes, wanted) in TRAININGS.items():
        given = {key: others[key] for key in wanted}
        run(part(context, name), params, kind, changes, rows=rows, model=model, **given)
    for name in OBJECTIVES:
        train_objective(part(context, name), params, name)
    if params.launch is not None:
        with divided(), small_files():
            run(part(context, "divided"), params, *SHARDED, rows=rows, model=others["tied"])
        dying = part(context, "killed")
        dying.progress = dies_at(3, dying.progress)
        run(dying, params, *KILLED, rows=rows, model=model)


def train_objective(context: Any, params: RunSettings, name: str) -> None:
    """Trainings whose rows no small artifact holds."""
    from harness.distillation.fusion_objective import FusionObjective
    from harness.distillation.settings import FusionSettings
    from harness.training.trainer import train
    from methods.mktod.reading import QueryReader
    from methods.mktod.retriever import DistantSupervision
    from methods.mktod.settings import RetrieverParams
    from tests.harness.distillation.test_fusion_training import examples
    from tests.methods.mktod_world import RECORDS, TURNS, encoder
    from tests.methods.test_mktod_training import made
    from tests.tiny_models import make_model, make_tokenizer

    how = parse(RunSettings, {**RUN, "launch": params.launch}, "test")
    if name == "fusion":
        nine = [*examples(), examples()[3]]
        objective = FusionObjective(FusionSettings(lm_weight=0.6, positions="all"), "none", 0)
        train(make_model("llama"), make_tokenizer(), nine, objective, how, context)
    elif name == "mktod":
        mine, parts, words = made(mml_start=0.0, max_steps=None)
        train(parts, words, PLACES, mine, how, context)
    else:
        network, pieces = encoder()
        reader = QueryReader(pieces, 16)
        records = [reader.record(record) for record in RECORDS]
        turns = [(reader.context(TURNS[place]["context"]), place) for place in PLACES]
        among_all = DistantSupervision(records, RetrieverParams(negatives="base"), 0)
        train(network, pieces, turns, among_all, how, context)


def small_files() -> Any:
    """Weights in files of at most 10 kB, the embedding alone in a larger one."""
    return mock.patch.object(weight_files, "FILE_BYTES", 10_000)


def dies_at(update: int, report: Any) -> Any:
    """A report of progress, at which the second of two ranks is killed."""

    def progress(done: int, total: int, unit: str) -> None:
        report(done, total, unit)
        if done == update and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


@contextmanager
def divided() -> Iterator[None]:
    """Weights divided by torch's `fully_shard`, where accelerate has nothing for a CPU."""
    from accelerate import Accelerator
    from torch.distributed.fsdp import fully_shard

    from harness.training.trainer import ObjectiveTrainer

    plain = ObjectiveTrainer.create_optimizer

    def create(self: Any, *args: Any, **options: Any) -> Any:
        for layer in self.model.model.layers:
            fully_shard(layer)
        fully_shard(self.model)
        return plain(self, *args, **options)

    with (
        mock.patch.object(ObjectiveTrainer, "create_optimizer", create),
        mock.patch.object(Accelerator, "prepare_model", lambda self, model, **_: model),
    ):
        yield
