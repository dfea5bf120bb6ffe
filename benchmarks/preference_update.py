"""WRPO updates of a random Llama: this project's trainer compared with a dense loop.

Both train the same 135 M model (the shape of SmolLM-135M) on the same rows of three responses, in
bfloat16 arithmetic with float32 weights and AdamW. The dense loop is plain PyTorch: whole logits,
their float32 log-softmax, backward, clipping, step. Prints median seconds and tokens per second of
an update after the first, and the peak memory of the run over what was in use before (weights,
gradients and optimiser state included).

    python benchmarks/preference_update.py --variant ours
    python benchmarks/preference_update.py --variant dense --device cuda --checkpointing

Claim: less memory than the dense loop. Tokens per second on a GPU: not measured yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from peak_memory import measured, synchronize

VARIANTS = ("ours", "dense")
# Hidden size, inner size, layers, heads, key-value heads, vocabulary.
SIZES = {"135M": (576, 1536, 30, 9, 3, 49_152), "tiny": (64, 128, 2, 2, 1, 512)}
LEARNING_RATE = 1e-5


def main() -> None:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="update-") as folder:
        print(json.dumps(measure(options, Path(folder))))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--variant", required=True, choices=VARIANTS)
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--size", default="135M", choices=SIZES)
    made.add_argument("--rows", type=int, default=2, help="prompts, of three responses each")
    made.add_argument("--length", type=int, default=2048)
    made.add_argument("--prompt", type=int, default=512)
    made.add_argument("--updates", type=int, default=5, help="timed updates, after a first")
    made.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    return made


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Median seconds of an update, tokens per second, GiB at the peak, loss of the last update."""
    # A folder of its own: a stage whose folder has trained weights does not train again.
    folder = Path(tempfile.mkdtemp(prefix="update-", dir=folder))
    model, objective, examples = task(options)
    run = ours if options.variant == "ours" else dense
    (ends, loss), taken = measured(
        lambda: run(model, objective, examples, options, folder), options.device
    )
    seconds = statistics.median(end - start for start, end in pairwise(ends))
    tokens = 3 * options.rows * options.length
    return {
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "gib": taken["bytes"] / 2**30,
        "loss": loss,
    }


def task(options: argparse.Namespace) -> tuple[Any, Any, list[Any]]:
    """Model on the CPU, objective, and the rows of one update, which every update repeats."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.models.tokenize import IGNORE, TokenSequence
    from harness.training.losses import get_loss, loss_settings
    from harness.training.preference import PreferenceExample, PreferenceObjective

    hidden, inner, layers, heads, shared, vocabulary = SIZES[options.size]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=options.length,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    examples = []
    for _ in range(options.rows):
        prompt = torch.randint(0, vocabulary, (options.prompt,)).tolist()
        sequences = []
        for _ in range(3):
            answer = torch.randint(0, vocabulary, (options.length - options.prompt,)).tolist()
            labels = [IGNORE] * options.prompt + answer
            sequences.append(TokenSequence(prompt + answer, labels))
        reference = tuple(-torch.tensor(vocabulary).log().item() * s.length for s in sequences)
        examples.append(PreferenceExample(tuple(sequences), reference))
    loss = get_loss("wrpo")
    settings = loss_settings("wrpo", {"beta": 0.01})
    return model, PreferenceObjective(loss, settings, loss.responses, 0), examples


class TimedContext:
    """Context of a stage without an engine; `ends` are the times at which updates ended."""

    def __init__(self, folder: Path, device: str) -> None:
        from harness.engine.calls import Services

        self.directory = self.scratch = folder
        self.device = device
        self.services = Services()
        self.ends: list[float] = []

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        synchronize(self.device)
        self.ends.append(time.perf_counter())

    def count(self, **_: Any) -> None: ...

    def note(self, text: str) -> None: ...


def ours(
    model: Any, objective: Any, examples: list[Any], options: argparse.Namespace, folder: Path
) -> tuple[list[float], float]:
    from harness.engine.io import read_json
    from harness.models.checkpoints import load_tokenizer
    from harness.training import runs
    from harness.training.settings import RunSettings
    from harness.training.trainer import train

    params = RunSettings(
        learning_rate=LEARNING_RATE,
        max_steps=1 + options.updates,
        per_device_batch_size=options.rows,
        warmup_ratio=0.0,
        scheduler="constant",
        dtype="bfloat16",
        gradient_checkpointing=options.checkpointing,
    )
    context = TimedContext(folder, options.device)
    with runs.quiet():
        train(model, load_tokenizer("nano:target"), examples, objective, params, context)
    log = read_json(folder / "training_log.json")["log"]
    return context.ends, log[-1]["loss"]


def dense(
    model: Any, objective: Any, examples: list[Any], options: argparse.Namespace, folder: Path
) -> tuple[list[float], float]:
    import torch

    from harness.models.logprobs import dense_logprobs
    from harness.training.preference import by_row

    objective.prepare(model)
    model.to(options.device).train()
    if options.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, weight_decay=0.0, fused=options.device == "cuda"
    )
    context, value = TimedContext(folder, options.device), 0.0
    total = 1 + options.updates
    for step in range(total):
        batch = {k: v.to(options.device) for k, v in objective.collate(examples).items()}
        labels = batch["labels"]
        with torch.autocast(options.device, torch.bfloat16):
            inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
            logits = model(**inputs, use_cache=False).logits
        logps = by_row(dense_logprobs(logits.float(), labels), 3)
        lengths = by_row((labels[:, 1:] != -100).sum(1), 3)
        weights = objective.scheduled(step, total)
        losses, _ = objective.loss(
            logps, batch["reference"], lengths, settings=objective.settings, **weights
        )
        del logits, logps
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = float(losses.detach().mean())
        context.progress(step + 1, total)
    return context.ends, value


if __name__ == "__main__":
    main()
