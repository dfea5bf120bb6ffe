"""Training in several processes, with adapters and with divided weights, against one process.

WRPO updates of a random Llama in float32 arithmetic, the rows of an update divided over processes
that communicate by gloo, because nccl refuses two processes on one GPU:

    ddp     each process has the whole model
    lora    the same, training adapters (rank 16)
    fsdp    torch's `fully_shard`: weights, gradients and moments divided layer by layer

accelerate divides nothing on a CPU, so `fsdp` divides the model itself, on any device. Prints
median seconds of an update after the first, peak memory of the first process, and loss and
gradient norm of the last update, which the number of processes must not change.

    python benchmarks/training_processes.py --kind fsdp --processes 2
    python benchmarks/training_processes.py --kind lora --processes 1 --device cuda

Claim: equal losses and gradients. Speed and memory on a GPU: not measured yet.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

from peak_memory import measured
from preference_update import LEARNING_RATE, SIZES, TimedContext, task

KINDS = ("ddp", "lora", "fsdp")
RESULT = "result.json"


def main() -> None:
    options = parser().parse_args()
    if options.rank is not None:
        found = rank(options)
        if options.rank == 0:
            (options.folder / RESULT).write_text(json.dumps(found))
        return
    with tempfile.TemporaryDirectory(prefix="processes-") as folder:
        print(json.dumps(measure(options, Path(folder))))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--kind", default="ddp", choices=KINDS)
    made.add_argument("--processes", type=int, default=2)
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--size", default="135M", choices=SIZES)
    made.add_argument("--rows", type=int, default=8, help="prompts of an update, 3 responses each")
    made.add_argument("--batch", type=int, default=2, help="prompts of a forward pass")
    made.add_argument("--length", type=int, default=512)
    made.add_argument("--prompt", type=int, default=128)
    made.add_argument("--updates", type=int, default=3, help="timed updates, after a first")
    made.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """What the first of the processes measured.

    Raises:
        RuntimeError: a process failed; with the last line of its output.
    """
    from harness.engine.children import free_ports

    folder = Path(tempfile.mkdtemp(prefix="ranks-", dir=folder))
    if options.processes == 1:
        return rank(argparse.Namespace(**{**vars(options), "rank": 0, "folder": folder}))
    given = [f"--{key}={value}" for key, value in vars(options).items() if value is not None]
    port = str(free_ports(1)[0])
    started = []
    for number in range(options.processes):
        env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        # LOCAL_RANK 0 for all: they share one GPU.
        env |= {"RANK": str(number), "LOCAL_RANK": "0", "WORLD_SIZE": str(options.processes)}
        env |= {"OMP_NUM_THREADS": "1"} if options.device == "cpu" else {}
        log = folder / f"rank-{number}.log"
        command = [sys.executable, __file__, *given, f"--rank={number}", f"--folder={folder}"]
        with log.open("wb") as stream:
            started.append((subprocess.Popen(command, env=env, stdout=stream, stderr=stream), log))
    try:
        for process, log in started:
            if process.wait():
                lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
                raise RuntimeError(f"{log.stem}: {lines[-1]}")
    finally:
        for process, _ in started:
            process.kill()
            process.wait()
    found: dict[str, float] = json.loads((folder / RESULT).read_text())
    return found


def rank(options: argparse.Namespace) -> dict[str, float]:
    model, objective, examples = task(options)
    folder = options.folder / f"rank-{options.rank}"
    folder.mkdir()
    context = TimedContext(folder, options.device)
    context.scratch = options.folder / "scratch"
    context.scratch.mkdir(exist_ok=True)
    with divided() if options.kind == "fsdp" and options.processes > 1 else nullcontext():
        _, taken = measured(
            lambda: run(model, objective, examples, context, options), options.device
        )
    if options.rank:
        return {}
    (*_, last) = json.loads((folder / "training_log.json").read_text())["log"]
    return {
        "seconds": statistics.median(end - start for start, end in pairwise(context.ends)),
        "tokens": 3 * options.rows * options.length,
        "gib": taken["bytes"] / 2**30,
        "loss": last["loss"],
        "gradient": last["grad_norm"],
    }


def run(
    model: Any, objective: Any, examples: list[Any], context: Any, options: argparse.Namespace
) -> None:
    from harness.models.checkpoints import load_tokenizer
    from harness.training import runs
    from harness.training.settings import LaunchSettings, LoraSettings, RunSettings
    from harness.training.trainer import train

    several = options.processes > 1
    params = RunSettings(
        learning_rate=LEARNING_RATE,
        max_steps=1 + options.updates,
        per_device_batch_size=options.batch,
        accumulation_steps=options.rows // options.batch,
        warmup_ratio=0.0,
        scheduler="constant",
        lora=LoraSettings() if options.kind == "lora" else None,
        launch=LaunchSettings(processes=options.processes) if several else None,
    )
    more = {"ddp_backend": "gloo"} if several else {}
    with runs.quiet():
        tokenizer = load_tokenizer("nano:target")
        train(model, tokenizer, examples, objective, params, context, **more)


@contextmanager
def divided() -> Iterator[None]:
    """Trainers divide their model by `fully_shard` instead of wrapping it."""
    from accelerate import Accelerator
    from torch.distributed.fsdp import fully_shard

    from harness.training.trainer import ObjectiveTrainer

    plain = ObjectiveTrainer.create_optimizer

    def create(self: Any, *args: Any, **more: Any) -> Any:
        for layer in self.model.model.layers:
            fully_shard(layer)
        fully_shard(self.model)
        return plain(self, *args, **more)

    with (
        mock.patch.object(ObjectiveTrainer, "create_optimizer", create),
        mock.patch.object(Accelerator, "prepare_model", lambda self, model, **_: model),
    ):
        yield


if __name__ == "__main__":
    main()
