"""Tiled sequence log-probabilities compared with full logits and TRL's fused head.

One WRPO micro-batch (6 sequences of 1,024 tokens, 256 of them prompt), vocabulary 128,256, hidden
size 64, forward and backward through a one-layer Llama. Every run is a separate child process; runs
of the variants alternate; medians are printed. On a busy machine, compare CPU seconds with
`--threads 1`. Memory is the growth of the peak resident set (GPU: allocated memory) over model and
batch, gradients included.

    python benchmarks/sequence_logprobs.py
    python benchmarks/sequence_logprobs.py --device cuda --dtype bfloat16 --length 2048

Claim: at most 0.2 GiB beyond the model at the default sizes, and no slower than full logits.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from peak_memory import measured

VARIANTS = ("ours", "dense", "trl")
NAMES = {"ours": "harness (tiles)", "dense": "full logits", "trl": "TRL fused head"}


def main() -> None:
    options = parser().parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.variants}
    for number in range(options.repeats):
        for name in options.variants:
            print(f"run {number + 1} of {options.repeats}: {NAMES[name]}", file=sys.stderr)
            runs[name].append(in_child(name, options))
    report(runs, options)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    made.add_argument("--rows", type=int, default=6, help="sequences, a multiple of 3")
    made.add_argument("--length", type=int, default=1024)
    made.add_argument("--prompt", type=int, default=256)
    made.add_argument("--vocabulary", type=int, default=128_256)
    made.add_argument("--hidden", type=int, default=64)
    made.add_argument("--tile-mib", type=float, default=None)
    made.add_argument("--threads", type=int, default=None)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--passes", type=int, default=1, help="timed passes of each run")
    made.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    made.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    return made


def in_child(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One run in a new process; {"error": ...} if the variant is unavailable."""
    arguments = [sys.executable, __file__, "--child", name]
    for key, value in vars(options).items():
        if key not in ("child", "variants", "repeats") and value is not None:
            arguments += [f"--{key.replace('_', '-')}", str(value)]
    silent = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(arguments, env=silent, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"error": lines[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, CPU seconds and memory (GiB) of one forward and backward pass."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    model, batch = make(options)
    score = scorer(options.child, model, options)
    small = {key: value[:3, :16].clone() for key, value in batch.items()}
    small["labels"][:, 8:] = small["input_ids"][:, 8:]
    one_pass(score, small)
    if options.device == "cuda":
        one_pass(score, batch)  # warm-up: select kernels, fill caches
    loss, taken = measured(
        lambda: one_pass(score, batch),
        options.device,
        passes=options.passes,
        before=lambda: model.zero_grad(set_to_none=True),
    )
    gradient = float(model.get_output_embeddings().weight.grad.double().norm())
    return {
        "seconds": taken["seconds"],
        "cpu": taken["cpu"],
        "gib": taken["bytes"] / 2**30,
        "loss": loss,
        "gradient": gradient,
    }


def make(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=2 * options.hidden,
        num_hidden_layers=1,
        num_attention_heads=max(1, options.hidden // 64),
        num_key_value_heads=max(1, options.hidden // 64),
        max_position_embeddings=options.length,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype))
    ids = torch.randint(0, options.vocabulary, (options.rows, options.length))
    labels = ids.clone()
    labels[:, : options.prompt] = -100
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return model, {key: value.to(options.device) for key, value in batch.items()}


def scorer(name: str, model: Any, options: argparse.Namespace) -> Callable[[Any], Any]:
    """batch -> summed log-probabilities (N,)."""
    from harness.models.logprobs import dense_logprobs, sequence_logprobs

    if name == "ours":
        tile = int(options.tile_mib * 2**20) if options.tile_mib else None
        return lambda batch: sequence_logprobs(model, batch, tile_bytes=tile)[0]
    if name == "dense":

        def dense(batch: Any) -> Any:
            inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
            logits = model(**inputs, use_cache=False).logits
            return dense_logprobs(logits.float(), batch["labels"])

        return dense
    from trl.trainer.utils import add_fused_lm_head  # absent in some versions; reported as error

    add_fused_lm_head(model)
    return lambda batch: model(**batch, fused_lm_head=True).log_probs.float().sum(1)


def one_pass(score: Callable[[Any], Any], batch: Any) -> float:
    """WRPO loss and gradients, with a reference of constant log-probability per token."""
    import torch

    from harness.training.losses import get_loss, loss_settings
    from harness.training.preference import by_row

    counts = (batch["labels"][:, 1:] != -100).sum(1)
    logps, lengths = by_row(score(batch), 3), by_row(counts, 3)
    reference = torch.full_like(logps, -11.8) * lengths
    settings = loss_settings("wrpo", {"beta": 0.01})
    losses, _ = get_loss("wrpo")(logps, reference, lengths, settings=settings, alpha=0.1)
    losses.mean().backward()
    return float(losses.mean())


def report(runs: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    sizes = f"{options.rows} x {options.length} ({options.prompt} prompt)"
    print(
        f"{sizes}, vocabulary {options.vocabulary}, hidden {options.hidden}, {options.dtype}, "
        f"{options.device}, forward + backward, median of {options.repeats}"
    )
    print(f"{'':18}{'seconds':>10}{'CPU s':>9}{'GiB':>9}{'loss':>12}{'|grad head|':>13}")
    medians: dict[str, dict[str, float]] = {}
    for name, found in runs.items():
        good = [run for run in found if "error" not in run]
        if not good:
            print(f"{NAMES[name]:18} not run: {found[0]['error']}")
            continue
        keys = ("seconds", "cpu", "gib", "loss", "gradient")
        middle = {key: statistics.median(run[key] for run in good) for key in keys}
        medians[name] = middle
        print(
            f"{NAMES[name]:18}{middle['seconds']:10.2f}{middle['cpu']:9.2f}"
            f"{middle['gib']:9.3f}{middle['loss']:12.6f}{middle['gradient']:13.6f}"
        )
    for name in ("dense", "trl"):
        if "ours" in medians and name in medians:
            ours, other = medians["ours"], medians[name]
            print(
                f"{NAMES[name]} / harness: time x{other['seconds'] / ours['seconds']:.2f}, "
                f"memory x{other['gib'] / max(ours['gib'], 1e-9):.1f}"
            )


if __name__ == "__main__":
    main()
