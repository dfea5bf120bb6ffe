"""One step of MK-TOD's losses with shared encoder states against separate encoder passes.

A batch of four turns with seven records and a negative one: likelihood of the reply from all
records, and from each. A T5 of 7 M parameters with new weights, forward and backward. Variants:

    shared     all views are encoded once; the joint and the single decoders share the states
    separate   the encoder runs for the joint decoder and again for the single ones

Every run is a separate child process; runs of the variants alternate; medians are printed. Memory
is the growth of the peak resident set over model and batch, gradients included.

    python benchmarks/mktod_step.py

Claims: one call of the encoder; equal losses; less time than separate passes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from peak_memory import measured

VARIANTS = ("shared", "separate")
VOCABULARY = 8_000


def main() -> None:
    options = parser().parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for _ in range(options.repeats):
        for name in VARIANTS:
            runs[name].append(in_child(name, options))
    report(runs)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--turns", type=int, default=4)
    made.add_argument("--records", type=int, default=8)
    made.add_argument("--context", type=int, default=160)
    made.add_argument("--record", type=int, default=40)
    made.add_argument("--reply", type=int, default=24)
    made.add_argument("--hidden", type=int, default=240)
    made.add_argument("--layers", type=int, default=4)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--passes", type=int, default=1)
    made.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    return made


def in_child(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One run in a new process."""
    arguments = [sys.executable, __file__, "--child", name]
    for key, value in vars(options).items():
        if key not in ("child", "repeats"):
            arguments += [f"--{key}", str(value)]
    done = subprocess.run(arguments, env=dict(os.environ), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, memory (GiB), loss and number of encoder calls of one step."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    from methods.mktod.losses import marginal_loss
    from methods.mktod.network import Generator, TurnViews, stacked

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=options.hidden, d_kv=options.hidden // 6,
        d_ff=2 * options.hidden, num_layers=options.layers, num_heads=6, dropout_rate=0.0,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    generator = Generator(model, "fid", copying=False, end=1)
    calls: list[int] = []
    model.get_encoder().register_forward_pre_hook(lambda *_: calls.append(1))

    def ids(length: int) -> list[int]:
        found: list[int] = torch.randint(2, VOCABULARY, (length,)).tolist()
        return found

    turns = [
        TurnViews(ids(options.context), [ids(options.record) for _ in range(options.records)])
        for _ in range(options.turns)
    ]
    labels = stacked([ids(options.reply) for _ in turns])
    scores = torch.randn(options.turns, options.records)
    repeated = labels.repeat_interleave(options.records, dim=0)

    def step() -> float:
        memories = generator.memories(turns, singles=True, bare=False)
        singles = memories.singles
        if options.child == "separate":
            singles = generator.memories(turns, singles=True, bare=False).singles
        assert singles is not None
        nll = -generator.token_log_probs(memories.joint, labels).sum()
        each = generator.token_log_probs(singles, repeated).sum(-1).reshape(scores.shape)
        loss = nll + marginal_loss(scores, each, 0.05, memories.present).sum()
        loss.backward()
        return float(loss.detach())

    loss, taken = measured(
        step, "cpu", passes=options.passes, before=lambda: model.zero_grad(set_to_none=True)
    )
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "seconds": taken["seconds"],
        "gib": taken["bytes"] / 2**30,
        "loss": loss,
        "calls": len(calls) / options.passes,
        "parameters": parameters,
    }


def report(runs: dict[str, list[dict[str, Any]]]) -> None:
    median = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    for name, found in median.items():
        print(
            f"{name:9s} {found['seconds']:6.2f} s  {found['gib']:5.2f} GiB  "
            f"{found['calls']:.0f} encoder call(s)  loss {found['loss']:.4f}  "
            f"({found['parameters'] / 1e6:.0f} M parameters)"
        )
    shared, separate = (median[name] for name in VARIANTS)
    equal = abs(shared["loss"] - separate["loss"]) <= 1e-5 * abs(separate["loss"])
    met = equal and shared["calls"] == 1 and shared["seconds"] < separate["seconds"]
    print(
        f"separate / shared: time {separate['seconds'] / shared['seconds']:.2f}, memory "
        f"{separate['gib'] / max(shared['gib'], 1e-9):.2f}; losses equal: {equal}: "
        f"{'met' if met else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
