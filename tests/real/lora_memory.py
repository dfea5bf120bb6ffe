"""One training of SmolLM2 in a process of its own: `python lora_memory.py MODEL ROWS REFERENCE`.

Prints the peak of the process's memory in GiB with libraries and the loaded model alone, and over
two DPO updates and saving.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from pathlib import Path

from harness.engine.operations import Artifact
from harness.engine.registry import load_operation
from harness.training.runs import open_model
from tests.tiny_models import FakeContext


def peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise OSError("/proc/self/status has no VmHWM; this needs Linux")


def main() -> None:
    made = argparse.ArgumentParser()
    for name in ("model", "rows", "reference"):
        made.add_argument(name, type=Path)
    made.add_argument("--params", type=json.loads)
    options = made.parse_args()
    operation = load_operation("train_preference")
    open_model(options.model)
    loaded = peak()
    gc.collect()  # the model that was loaded for this figure
    inputs = {name: Artifact(name, getattr(options, name)) for name in ("model", "rows")}
    if "lora" not in options.params:  # adapters are switched off for the reference
        inputs["reference"] = Artifact("reference", options.reference)
    with tempfile.TemporaryDirectory() as folder:
        context = FakeContext(Path(folder) / "out", Path(folder) / "scratch")
        context.directory.mkdir()
        context.scratch.mkdir()
        operation.function(context, operation.params.model_validate(options.params), **inputs)
    sys.stdout.write(json.dumps({"loaded": loaded, "peak": peak()}))


if __name__ == "__main__":
    main()
