"""What the rows of `gpu.py` measure: records, and one function per row that runs its script."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.core.records import Record

Outcome = dict[str, float | str]

PLAIN, CHECKPOINTING = "without gradient checkpointing", "with gradient checkpointing"
ALL_WEIGHTS = "all weights"
NANO_SYSTEMS = ", ".join(f'{{name="{name}", method="{name}"}}' for name in ("target", "wrpo"))
WARM_UP = (
    "--limit 6 --suite mt_bench --set sampling.n=2 --set target_sampling.n=2 --set "
    "sampling.max_tokens=16 --set target_sampling.max_tokens=16 --set "
    f"'systems=[{NANO_SYSTEMS}]'"
)


class Measurement(Record):
    """One side of one case.

    Attributes:
        gib: peak memory over what was in use before: of the GPU, or on a CPU the resident set.
        outcome: values that must agree between the sides: numbers, or texts.
        reason: why there is no figure.
    """

    case: str
    side: str
    seconds: float | None = None
    tokens: int | None = None
    gib: float | None = None
    outcome: Outcome = {}
    reason: str = ""


@dataclass(frozen=True)
class Side:
    """One of the compared programs.

    Attributes:
        gib: GPU memory needed at full size, estimated from the sizes of its tensors.
        modules: what it needs beside torch, transformers, numpy and the light core.
    """

    name: str
    gib: float
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One measurement to make."""

    case: str
    side: str
    sizes: tuple[str, ...]
    device: str
    scratch: Path

    def options(self, parser: argparse.ArgumentParser, *more: str) -> Namespace:
        """The sizes as options of a script."""
        return parser.parse_args([*self.sizes, *more])


Values = Mapping[str, Any]  # fields of a Measurement


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        weight: share of the time, in seconds of the default 480.
        full, small: sizes, as options of the script that is measured.
        disk: GB of temporary files at full size.
    """

    name: str
    title: str
    weight: float
    measure: Callable[[Job], Values]
    cases: Mapping[str, tuple[Side, ...]]
    full: str
    small: str
    disk: float = 0.0


def logprobs(job: Job) -> Values:
    import sequence_logprobs as script

    options = job.options(script.parser(), "--device", job.device, "--child", job.side)
    found = script.measure(options)
    outcome = {key: found[key] for key in ("loss", "gradient")}
    tokens = options.rows * options.length
    return {"seconds": found["seconds"], "gib": found["gib"], "tokens": tokens, "outcome": outcome}


def fusion(job: Job) -> Values:
    import fusion_loss as script

    options = job.options(script.parser(), "--device", job.device, "--child", job.side)
    found = script.measure(options)
    outcome = {key: found[key] for key in ("loss", "gradient")}
    tokens, gib = options.batch * options.length, found["mib"] / 1024
    return {"seconds": found["seconds"], "gib": gib, "tokens": tokens, "outcome": outcome}


def update(job: Job) -> Values:
    import preference_update as script

    more = ["--checkpointing"] if job.case == CHECKPOINTING else []
    given = ("--device", job.device, "--variant", job.side, *more)
    found = script.measure(job.options(script.parser(), *given), job.scratch)
    values = {key: found[key] for key in ("seconds", "tokens", "gib")}
    return {**values, "outcome": {"loss": found["loss"]}}


def generation(job: Job) -> Values:
    import hf_generation as script
    from peak_memory import measured

    model, tokenizer, messages, options = _generation(job.sizes, job.device)
    make = {"ours": script.ours, "generate": script.plain, "lm-eval": script.theirs}[job.side]
    batch = int(job.case.split()[-1])
    run = make(batch, model, tokenizer, messages, options.tokens)
    make(batch, model, tokenizer, messages[:batch], 2)()  # warm-up: select kernels, fill caches
    answers, taken = measured(run, job.device, passes=options.repeats)
    outcome = {str(n): sha256(a.encode()).hexdigest()[:12] for n, a in enumerate(answers)}
    lengths = [len(tokenizer(answer, add_special_tokens=False).input_ids) for answer in answers]
    return {
        "seconds": taken["seconds"],
        "tokens": sum(lengths),
        "gib": taken["bytes"] / 2**30,
        "outcome": outcome,
    }


@cache
def _generation(sizes: tuple[str, ...], device: str) -> tuple[Any, Any, list[Any], Namespace]:
    import hf_generation as script

    options = script.parser().parse_args([*sizes, "--device", device])
    return *script.load(options), script.conversations(options.prompts), options


def reproduce(job: Job) -> Values:
    """`crucible reproduce wrpo` into a new store; the peer is the same command on the CPU."""
    from peak_memory import measured

    from harness.cli import app
    from harness.engine.io import read_json
    from harness.models.checkpoints import forget_models

    device = job.device if job.side == "ours" else "cpu"
    os.environ["CRUCIBLE_DEVICE"] = device
    board = job.scratch / f"board-{job.side}"

    def run(name: str, sizes: Sequence[str]) -> None:
        places = ["--store", str(job.scratch / f"{name}-{job.side}"), "--out", str(board)]
        app(["reproduce", "wrpo", *sizes, *places], standalone_mode=False)

    if job.device == "cuda":  # warm-up: imports, kernels
        run("warm-up", shlex.split(WARM_UP))
    forget_models()
    _, taken = measured(lambda: run("store", job.sizes), device)
    claims = read_json(board / "board.json")["claims"]
    return {
        "seconds": taken["seconds"],
        "gib": taken["bytes"] / 2**30 if device == job.device else None,
        "outcome": {claim["claim"]["id"]: claim["verdict"] for claim in claims},
    }


def processes(job: Job) -> Values:
    """Two processes share the device; peers are one process, and one that trains all weights."""
    import training_processes as script

    kind = job.case.partition(" ")[0].lower()
    given = ["--kind", "ddp" if job.side == ALL_WEIGHTS else kind, "--device", job.device]
    given += ["--processes", "2" if job.side == "ours" else "1"]
    found = script.measure(job.options(script.parser(), *given), job.scratch)
    values = {key: found[key] for key in ("seconds", "tokens", "gib")}
    same = {} if job.side == ALL_WEIGHTS else {key: found[key] for key in ("loss", "gradient")}
    return {**values, "outcome": same}


def merge(job: Job) -> Values:
    """Merging runs on the CPU: memory is the resident set."""
    import merging as script

    models = _models(job.sizes, job.scratch)
    name = "mergekit" if job.side == "mergekit" else job.case.lower()
    options = job.options(script.parser(), "--child", name, "--folder", str(models))
    found = script.measure(options)
    shutil.rmtree(models / f"out-{name}")
    return {"seconds": found["seconds"], "gib": found["gb"] * 1e9 / 2**30}


@cache
def _models(sizes: tuple[str, ...], scratch: Path) -> Path:
    import merging as script

    folder = scratch / "models"
    script.write_models(folder, script.parser().parse_args(sizes))
    return folder
