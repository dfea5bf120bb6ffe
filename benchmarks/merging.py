"""VaRM and SCE of checkpoints on disk compared with mergekit's SCE: memory, time, equal values.

A base and three targets with random bfloat16 weights in the shapes of a Llama are written to a
temporary folder, merged by child processes in turn, and deleted. Memory is the growth of the peak
resident set after the interpreter has loaded its libraries. Both compute in float32 and write
bfloat16.

    python benchmarks/merging.py --gb 0.2
    python benchmarks/merging.py

Claim: at most 0.5 GB of memory for models of 1 GB, at most mergekit's time, and equal values.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from peak_memory import measured

VARIANTS = ("varm", "sce", "mergekit", "sce-10", "mergekit-10")
NAMES = {
    "varm": "VaRM",
    "sce": "SCE, all entries",
    "mergekit": "mergekit SCE, all",
    "sce-10": "SCE, tau 0.1",
    "mergekit-10": "mergekit SCE, 0.1",
}


def main() -> None:
    options = parser().parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    root = Path(tempfile.mkdtemp(prefix="merging-", dir=options.folder))
    try:
        size = write_models(root, options)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in options.variants}
        for number in range(options.repeats):
            for name in options.variants:
                print(f"run {number + 1} of {options.repeats}: {NAMES[name]}", file=sys.stderr)
                runs[name].append(in_child(name, root, options))
        report(runs, size, options)
        for ours, theirs in (("sce", "mergekit"), ("sce-10", "mergekit-10")):
            if ours in runs and theirs in runs:
                compare(root / f"out-{ours}", root / f"out-{theirs}", ours)
    finally:
        shutil.rmtree(root)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--gb", type=float, default=1.0, help="approximate size of a model in GB")
    made.add_argument("--targets", type=int, default=3)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--threads", type=int, default=None)
    made.add_argument("--folder", default=None, help="where the models are written")
    made.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    made.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    return made


def write_models(root: Path, options: argparse.Namespace) -> int:
    """Write the models; returns the size of one in bytes."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    hidden, vocabulary = (2048, 32_000) if options.gb >= 0.5 else (512, 32_000)
    inner = 11 * hidden // 4
    layer = {
        **{f"self_attn.{x}_proj": (hidden, hidden) for x in "qkvo"},
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (vocabulary, hidden),
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    in_layer = sum(torch.Size(shape).numel() for shape in layer.values())
    layers = max(1, round((options.gb * 5e8 - 2 * vocabulary * hidden) / in_layer))
    for number in range(layers):
        shapes |= {f"model.layers.{number}.{name}.weight": s for name, s in layer.items()}
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    size = 0
    for model in range(1 + options.targets):
        folder = root / str(model)
        config.save_pretrained(folder)
        tensors = {}
        for place, (name, shape) in enumerate(shapes.items()):
            generator = torch.Generator().manual_seed(place)
            value = torch.randn(shape, generator=generator) * 0.02
            if model:
                generator.manual_seed(1000 * model + place)
                value += torch.randn(shape, generator=generator) * 0.005 * model
            tensors[name] = value.bfloat16()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        size = (folder / "model.safetensors").stat().st_size
    return size


def in_child(name: str, root: Path, options: argparse.Namespace) -> dict[str, float]:
    shutil.rmtree(root / f"out-{name}", ignore_errors=True)
    arguments = [sys.executable, __file__, "--child", name, "--folder", str(root)]
    arguments += ["--targets", str(options.targets)]
    if options.threads:
        arguments += ["--threads", str(options.threads)]
    silent = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(arguments, env=silent, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{NAMES[name]}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Wall and CPU time (s) and memory (GB) of one merge."""
    import torch

    from harness.merging.merge import merge_checkpoints
    from harness.merging.settings import MergeParams, SceSettings, VarmSettings

    if options.threads:
        torch.set_num_threads(options.threads)
    root, name = Path(options.folder), options.child
    base, *targets = [root / str(number) for number in range(1 + options.targets)]
    out, tau = root / f"out-{name}", 0.1 if name.endswith("10") else 1.0
    if name.startswith("mergekit"):
        merge = mergekit_sce(base, targets, out, tau)
    else:
        rule = VarmSettings() if name == "varm" else SceSettings(select_topk=tau)
        merge = partial(merge_checkpoints, base, targets, out, MergeParams(rule=rule))
    taken = measured(merge)[1]
    return {"seconds": taken["seconds"], "cpu": taken["cpu"], "gb": taken["bytes"] / 1e9}


def mergekit_sce(base: Path, targets: list[Path], out: Path, tau: float) -> Callable[[], object]:
    """mergekit's SCE of the same models, ready to run."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    settings = {
        "merge_method": "sce",
        "base_model": str(base),
        "models": [{"model": str(path)} for path in targets],
        "parameters": {"select_topk": tau},
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    quiet = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    return partial(run_merge, MergeConfiguration.model_validate(settings), str(out), quiet)


def report(runs: dict[str, list[dict[str, float]]], size: int, options: argparse.Namespace) -> None:
    print(
        f"base and {options.targets} targets of {size / 1e9:.2f} GB each, bfloat16, "
        f"median of {options.repeats}"
    )
    print(f"{'':20}{'seconds':>10}{'CPU s':>9}{'peak GB':>10}")
    medians: dict[str, dict[str, Any]] = {}
    for name, found in runs.items():
        middle = {key: statistics.median(run[key] for run in found) for key in found[0]}
        medians[name] = middle
        print(f"{NAMES[name]:20}{middle['seconds']:10.2f}{middle['cpu']:9.2f}{middle['gb']:10.3f}")
    for ours, theirs in (("varm", "mergekit"), ("sce", "mergekit"), ("sce-10", "mergekit-10")):
        if ours in medians and theirs in medians:
            time_ratio = medians[theirs]["seconds"] / medians[ours]["seconds"]
            memory = medians[theirs]["gb"] / medians[ours]["gb"]
            print(f"{NAMES[theirs]} / {NAMES[ours]}: time x{time_ratio:.2f}, memory x{memory:.1f}")


def compare(ours: Path, theirs: Path, name: str) -> None:
    """Print the number of entries in which two checkpoints differ, and the largest difference."""
    from safetensors import safe_open

    differ = far = total = 0
    greatest = 0.0
    places = {key: file for file in sorted(theirs.glob("*.safetensors")) for key in keys(file)}
    with safe_open(ours / "model.safetensors", framework="pt") as made:
        for key, place in places.items():
            with safe_open(place, framework="pt") as other:
                gaps = (made.get_tensor(key).float() - other.get_tensor(key).float()).abs()
            differ += int(gaps.count_nonzero())
            far += int((gaps > 1e-3).sum())  # weights of 0.02: more than rounding to bfloat16
            greatest = max(greatest, float(gaps.max()))
            total += gaps.numel()
    print(
        f"{NAMES[name]} against mergekit: {differ} of {total} entries differ "
        f"({differ / total:.1e}), at most by {greatest:.1e}, {far} by more than rounding"
    )


def keys(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as made:
        return list(made.keys())


if __name__ == "__main__":
    main()
