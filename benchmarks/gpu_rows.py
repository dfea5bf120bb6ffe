"""The rows of `gpu.py`: their cases and sizes, and the child process that runs one.

A row has cases (settings), and a case has sides (programs): ours, then its peers. A child process
measures the sides of a row in turn and appends a JSON object per side to its report, so that a
crash loses only what had not finished. Sizes are options of the script that a row reuses.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import shlex
import shutil
import signal
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_measures import (
    ALL_WEIGHTS,
    CHECKPOINTING,
    PLAIN,
    WARM_UP,
    Job,
    Measurement,
    Row,
    Side,
    fusion,
    generation,
    logprobs,
    merge,
    processes,
    reproduce,
    update,
)

from harness.core.records import parse

REPRODUCE = ("accelerate", "datasets", "rapidfuzz", "trl")

# In order of value: a run that is cut off has measured the first. Memory of the dense peers is that
# of runs on a CPU, scaled to the number of logits.
LIST = (
    Row(
        "logprobs",
        "sequence log-probs, forward and backward, 6 x 2,048 tokens, V = 128,256, bf16",
        50,
        logprobs,
        {"": (Side("ours", 5), Side("dense", 24), Side("trl", 48, ("trl",)))},
        full="--dtype bfloat16 --length 2048 --prompt 512 --hidden 2048 --passes 5",
        small="--dtype bfloat16 --rows 3 --length 64 --prompt 16 --vocabulary 1024",
    ),
    Row(
        "update",
        "one WRPO update of a 135 M Llama, 6 x 2,048 tokens, bf16",
        60,
        update,
        {
            PLAIN: (Side("ours", 20, ("accelerate",)), Side("dense", 32)),
            CHECKPOINTING: (Side("ours", 6, ("accelerate",)), Side("dense", 18)),
        },
        full="--size 135M --rows 2 --length 2048 --updates 5",
        small="--size tiny --rows 2 --length 32 --prompt 8 --updates 1",
    ),
    Row(
        "processes",
        "WRPO updates in two processes on one card by gloo, 135 M Llama, 24 x 512 tokens, float32",
        90,
        processes,
        {
            "DDP": (Side("ours", 20, ("accelerate",)), Side("one process", 10)),
            "LoRA": (
                Side("ours", 12, ("accelerate", "peft")),
                Side("one process", 6, ("peft",)),
                Side(ALL_WEIGHTS, 10),
            ),
            "FSDP (fully_shard)": (Side("ours", 16, ("accelerate",)), Side("one process", 10)),
        },
        full="--size 135M --rows 8 --length 512 --updates 3",
        small="--size tiny --rows 4 --length 32 --prompt 8 --updates 1",
    ),
    Row(
        "generation",
        "hf generation, 100 M random Llama, 200 prompts of mixed length, 64 tokens, bf16",
        90,
        generation,
        dict.fromkeys(
            ("batch 16", "batch 64"),
            (Side("ours", 4), Side("generate", 4), Side("lm-eval", 4, ("lm_eval",))),
        ),
        full="--dtype bfloat16 --random 100M --prompts 200 --tokens 64",
        small="--prompts 6 --tokens 4 --repeats 1",
    ),
    Row(
        "fusion",
        "fusion loss, forward and backward, 8 x 2,048 tokens, V = 128,256, 3 teachers, bf16",
        40,
        fusion,
        {"": (Side("ours", 4), Side("dense", 44))},
        full="--dtype bfloat16 --vocab 128256 --batch 8 --hidden 2048 --passes 5",
        small="--dtype bfloat16 --vocab 1024 --batch 2 --length 32 --hidden 64",
    ),
    Row(
        "reproduce",
        "crucible reproduce wrpo --limit 200, nano profile, from an empty store",
        90,
        reproduce,
        {"": (Side("ours", 4, REPRODUCE), Side("cpu", 0))},
        full="--limit 200",
        small=WARM_UP,
    ),
    Row(
        "merging",
        "merging 3 models of 1 GB over their base, on the CPU",
        60,
        merge,
        {
            "SCE": (Side("ours", 0), Side("mergekit", 0, ("mergekit",))),
            "VaRM": (Side("ours", 0),),
        },
        full="--gb 1.0",
        small="--gb 0.02",
        disk=6,
    ),
)
ROWS = {row.name: row for row in LIST}


def main() -> None:
    options = parser().parse_args()
    end_with_parent()
    if options.probe:
        append(options.report, probe())
        return
    row = ROWS[options.row]
    sizes = tuple(shlex.split(row.small if options.small else row.full))
    device = "cpu" if options.small else "cuda"
    for case, sides in row.cases.items():
        unfit = ""  # why ours cannot run: then there is nothing to compare the peers with
        for side in sides:
            job = Job(case, side.name, sizes, device, options.scratch)
            reason = unfit or absent(row, side, job)
            unfit = reason if side is sides[0] else unfit
            made = Measurement(case=case, side=side.name, reason=reason)
            append(options.report, (made if reason else attempt(row, job, side)).model_dump())


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="One row of gpu.py, in a process of its own.")
    made.add_argument("--row", choices=ROWS)
    made.add_argument("--probe", action="store_true", help="report what torch says of the card")
    made.add_argument("--small", action="store_true")
    made.add_argument("--report", type=Path, required=True)
    made.add_argument("--scratch", type=Path)
    return made


def absent(row: Row, side: Side, job: Job) -> str:
    """What this machine lacks for one side at these sizes, or ""."""
    missing = [name for name in side.modules if importlib.util.find_spec(name) is None]
    if missing:
        return f"skipped: {', '.join(missing)} not installed"
    if job.device == "cpu":
        return ""
    free = shutil.disk_usage(job.scratch).free / 1e9
    if free < row.disk:
        return f"skipped: needs {row.disk:g} GB in {job.scratch.parent}, {free:.1f} GB are free"
    import torch

    return too_large(side.gib, torch.cuda.mem_get_info()[0] / 2**30)


def too_large(needed: float, free: float) -> str:
    """
    >>> too_large(28, 23.4)
    'skipped: needs about 28 GiB of GPU memory, 23.4 GiB are free'
    """
    if needed <= free:
        return ""
    return f"skipped: needs about {needed:g} GiB of GPU memory, {free:.1f} GiB are free"


def attempt(row: Row, job: Job, side: Side) -> Measurement:
    """Measure one side; a failure is its reason."""
    try:
        values = {"case": job.case, "side": job.side, **row.measure(job)}
        made = parse(Measurement, values, row.name)
    except Exception as error:
        made = Measurement(case=job.case, side=job.side, reason=why(error, side))
    gc.collect()  # outside the handler, whose traceback holds the tensors
    if job.device == "cuda":
        import torch

        torch.cuda.empty_cache()
    return made


def why(error: Exception, side: Side) -> str:
    """A failure in one line."""
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory (expected to need about {side.gib:g} GiB): {first}"[:300]
    return f"{type(error).__name__}: {first}"[:300]


def probe() -> dict[str, Any]:
    """What torch says of the first visible GPU; `message` is why there is none."""
    import torch

    build = torch.version.cuda or torch.version.hip or ""
    found: dict[str, Any] = {"build": build, "message": ""}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        free, total = torch.cuda.mem_get_info()
        facts = torch.cuda.get_device_properties(0)
        uuid = str(getattr(facts, "uuid", ""))
        return {**found, "name": facts.name, "uuid": uuid, "free": free, "total": total}
    said = [str(warning.message) for warning in caught]
    if build:
        try:
            torch.cuda.init()
        except Exception as error:
            said.append(str(error))
    return {**found, "message": " ".join(said)}


def append(report: Path, value: Mapping[str, Any]) -> None:
    """Add one line in one write: a reader sees whole lines, or one without its end."""
    with report.open("ab", buffering=0) as stream:
        stream.write(json.dumps(value).encode() + b"\n")


def end_with_parent() -> None:
    """Let Linux kill this process when `gpu.py` is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    main()
