"""The fusion loss on sparse teachers compared with the same loss on dense targets.

One batch of 2,048 tokens, vocabulary 32,000, three teachers with 10 entries per token, CLM + fusion
loss (MinCE), forward and backward through the output head to the hidden states. The dense version
computes logits, their float32 log-softmax and one dense target per teacher (bfloat16, as in
FuseLLM's released code), and selects one per row. Every run is a separate child process; runs
alternate; medians are printed. Memory is the growth of the peak resident set (GPU: allocated
memory) over head, hidden states, batch and the gradients that both versions produce.

    python benchmarks/fusion_loss.py
    python benchmarks/fusion_loss.py --device cuda --dtype bfloat16 --vocab 128256 --batch 8

Claim: at most a tenth of the dense version's additional memory, and at most its time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from peak_memory import measured

VARIANTS = {"ours": "sparse, in tiles", "dense": "dense targets"}


def main() -> None:
    options = parser().parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for number in range(options.repeats):
        for name in VARIANTS:
            print(f"run {number + 1} of {options.repeats}: {VARIANTS[name]}", file=sys.stderr)
            runs[name].append(in_child(name, options))
    print(
        f"{options.batch} x {options.length} tokens, vocabulary {options.vocab}, hidden "
        f"{options.hidden}, {options.teachers} teachers of {options.k}, {options.dtype}, "
        f"{options.device}, median of {options.repeats}"
    )
    print(f"{'':18}{'seconds':>10}{'CPU s':>9}{'MiB':>10}{'loss':>12}{'|grad head|':>13}")
    middle = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    for name, m in middle.items():
        print(
            f"{VARIANTS[name]:18}{m['seconds']:10.3f}{m['cpu']:9.2f}{m['mib']:10.1f}"
            f"{m['loss']:12.6f}{m['gradient']:13.6f}"
        )
    ours, dense = middle["ours"], middle["dense"]
    print(
        f"sparse / dense: time x{ours['seconds'] / dense['seconds']:.2f}, "
        f"memory x{ours['mib'] / dense['mib']:.3f}"
    )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    made.add_argument("--batch", type=int, default=1)
    made.add_argument("--length", type=int, default=2048)
    made.add_argument("--vocab", type=int, default=32_000)
    made.add_argument("--hidden", type=int, default=256)
    made.add_argument("--teachers", type=int, default=3)
    made.add_argument("--k", type=int, default=10)
    made.add_argument("--threads", type=int, default=None)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--passes", type=int, default=1, help="timed passes of each run")
    made.add_argument("--child", choices=tuple(VARIANTS), help=argparse.SUPPRESS)
    return made


def in_child(name: str, options: argparse.Namespace) -> dict[str, float]:
    arguments = [sys.executable, __file__, "--child", name]
    for key, value in vars(options).items():
        if key not in ("child", "repeats") and value is not None:
            arguments += [f"--{key}", str(value)]
    silent = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(arguments, env=silent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{VARIANTS[name]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> dict[str, float]:
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    model, batch = make(options)
    loss_of = ours if options.child == "ours" else dense
    hidden = model.hidden
    model.hidden = torch.nn.Parameter(hidden[:, :16].detach().clone())
    small = {k: v if k == "teacher_ce" else v[:, :16] for k, v in batch.items()}
    one_pass(loss_of, model, small)
    model.hidden = hidden
    if options.device == "cuda":
        one_pass(loss_of, model, batch)  # warm-up: select kernels, fill caches
    loss, taken = measured(
        lambda: one_pass(loss_of, model, batch),
        options.device,
        passes=options.passes,
        before=lambda: model.zero_grad(set_to_none=True),
    )
    left = sum(value.grad.nbytes for value in model.parameters())
    return {
        "seconds": taken["seconds"],
        "cpu": taken["cpu"],
        "mib": (taken["bytes"] - left) / 2**20,
        "loss": loss,
        "gradient": float(model.get_output_embeddings().weight.grad.double().norm()),
    }


def one_pass(loss_of: Callable[[Any, Any], Any], model: Any, batch: Any) -> float:
    loss = loss_of(model, batch)
    loss.backward()
    return float(loss.detach())


def ours(model: Any, batch: Any) -> Any:
    from harness.distillation.fusion_loss import fusion_sums
    from harness.distillation.settings import FusionSettings

    return fusion_sums(model, batch, FusionSettings(positions="all")).loss


def dense(model: Any, batch: Any) -> Any:
    """FuseLLM (arXiv 2401.10491), sections 3.4 to 3.6, with targets over the full vocabulary."""
    import torch

    logits = model.head(model.hidden)
    logps = logits.float().log_softmax(-1)
    probs = batch["teacher_logps"].softmax(-1).bfloat16()
    targets = [
        torch.zeros_like(logits, dtype=torch.bfloat16).scatter_(
            -1, batch["teacher_ids"][:, :, n], probs[:, :, n]
        )
        for n in range(probs.shape[2])
    ]
    best = (-batch["teacher_ce"]).exp().argmax(-1)
    target = torch.stack([targets[int(n)][row] for row, n in enumerate(best)])
    mask = batch["attention_mask"]
    fusion = -(target * logps).sum(-1).mul(mask).sum() / mask.sum()
    nll = -logps[:, :-1].gather(-1, batch["labels"][:, 1:, None]).mean()
    return 0.9 * nll + 0.1 * fusion


def make(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    import torch
    from transformers import LlamaConfig

    class Body(torch.nn.Module):
        def forward(self, **_: Any) -> Any:
            return SimpleNamespace(last_hidden_state=model.hidden)

    class HiddenAndHead(torch.nn.Module):
        """A language model whose body returns fixed hidden states."""

        def __init__(self) -> None:
            super().__init__()
            self.config = LlamaConfig()
            self.base_model = Body()
            states = torch.randn(options.batch, options.length, options.hidden)
            self.hidden = torch.nn.Parameter(states)
            self.head = torch.nn.Linear(options.hidden, options.vocab, bias=False)

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.head

    torch.manual_seed(0)
    model = HiddenAndHead().to(options.device, getattr(torch, options.dtype))
    shape = (options.batch, options.length)
    ids = torch.randint(0, options.vocab, shape)
    top = torch.randint(0, options.vocab // options.k, (*shape, options.teachers, options.k))
    top = top * options.k + torch.arange(options.k)  # no id occurs twice in a row
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": ids,
        "teacher_ids": top,
        "teacher_logps": torch.randn(top.shape).log_softmax(-1),
        "teacher_ce": torch.rand(options.batch, options.teachers) * 3,
    }
    return model, {name: value.to(options.device) for name, value in batch.items()}


if __name__ == "__main__":
    main()
