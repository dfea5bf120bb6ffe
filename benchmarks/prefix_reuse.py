"""Dialogues about shared texts in the transformers backend, with and without prefix caching.

Dialogues of 10 turns advance together, five per text of about 240 tokens: every turn sends the
text, the earlier turns and a new question, decoded greedily, at most 8 tokens. The model is a
random Llama with 1,024 positions and the tokenizer of nano:target. Runs are separate processes and
alternate. Prints medians, tokens processed by the model (padding included), peak memory of the
process, and the number of equal replies.

    python benchmarks/prefix_reuse.py
    python benchmarks/prefix_reuse.py --size 100M --dialogues 40
    python benchmarks/prefix_reuse.py --size 100M --dialogues 320 --device cuda --dtype bfloat16

Claim: equal replies in less than a third of the time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import time
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SIZES = {"1M": (128, 4, 4), "10M": (256, 8, 4), "100M": (768, 12, 12)}  # width, layers, heads
TEXT_TOKENS = 240
ABOUT_ONE_TEXT = 5


def main() -> None:
    options = parser().parse_args()
    print(
        f"{options.size} parameters, {options.dtype}, {options.device}, {options.dialogues} "
        f"dialogues of {options.turns} turns, median of {options.repeats}"
    )
    runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for _ in range(options.repeats):
        for keep, found in runs.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found.append(pool.apply(measure, (options, keep)))
    print(f"{'':>10}{'seconds':>10}{'M tokens':>10}{'peak MB':>10}")
    medians = {}
    for keep, found in runs.items():
        medians[keep] = statistics.median(run["seconds"] for run in found)
        peak = statistics.median(run["peak_mb"] for run in found)
        name = "kept" if keep else "not kept"
        print(f"{name:>10}{medians[keep]:10.2f}{found[0]['tokens'] / 1e6:10.2f}{peak:10.0f}")
    pairs = list(zip(runs[False][0]["replies"], runs[True][0]["replies"]))
    equal = sum(a == b for a, b in pairs)
    print(f"{medians[False] / medians[True]:.2f}x; equal replies: {equal} of {len(pairs)}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--size", default="1M", choices=SIZES)
    made.add_argument("--dialogues", type=int, default=100)
    made.add_argument("--turns", type=int, default=10)
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    made.add_argument("--threads", type=int, default=1, help="torch threads")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--max-rows", type=int, default=320)
    return made


def measure(options: argparse.Namespace, keep: bool) -> dict[str, Any]:
    import torch

    from harness.backends.hf import HFBackend

    torch.set_num_threads(options.threads)
    model, tokenizer = load(options)
    tokens = 0

    def count(module: Any, args: Any, given: dict[str, Any]) -> None:
        nonlocal tokens
        tokens += given["input_ids"].numel()

    model.register_forward_pre_hook(count, with_kwargs=True)
    backend = HFBackend(model, tokenizer, max_rows=options.max_rows)
    talks = openings(tokenizer, options.dialogues)
    start = time.perf_counter()
    if keep:
        with backend.keeping_prefixes():
            replies = converse(backend, talks, options.turns)
    else:
        replies = converse(backend, talks, options.turns)
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if options.device == "cuda":
        peak_mb = torch.cuda.max_memory_allocated() / 2**20
    return {"seconds": seconds, "tokens": tokens, "peak_mb": peak_mb, "replies": replies}


def load(options: argparse.Namespace) -> tuple[Any, Any]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.models.checkpoints import load_tokenizer

    tokenizer = load_tokenizer("nano:target")
    hidden, layers, heads = SIZES[options.size]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        initializer_range=0.1,  # wide, so that greedy choices are not near ties
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype))
    return model.eval(), tokenizer


def openings(tokenizer: Any, count: int) -> list[list[dict[str, str]]]:
    """System messages with a text, shared by `ABOUT_ONE_TEXT` consecutive dialogues."""
    from harness.nano import world

    words = " ".join(item.turns[0] for item in world.items("reward", 400)).split()
    ids = tokenizer(" ".join(words * 3), add_special_tokens=False)["input_ids"]
    texts = []
    for number in range(-(-count // ABOUT_ONE_TEXT)):
        first = number * 97 % (len(ids) - TEXT_TOKENS)
        texts.append(f"Author {number}. " + tokenizer.decode(ids[first : first + TEXT_TOKENS]))
    return [[{"role": "system", "content": texts[n // ABOUT_ONE_TEXT]}] for n in range(count)]


def converse(backend: Any, talks: list[list[dict[str, str]]], turns: int) -> list[str]:
    """All replies, turn by turn, as `harness.backends.conversing` does for a local model."""
    from harness.backends.base import Request, Sampling, messages_of
    from harness.nano import world

    questions = world.items("reward", 2000)
    replies = []
    for turn in range(turns):
        for number, talk in enumerate(talks):
            asked = questions[(number % ABOUT_ONE_TEXT * turns + turn) % len(questions)].turns[0]
            talk.append({"role": "user", "content": f"{asked} Answer from 1 to 5."})
        sampling = Sampling(max_tokens=8)
        requests = [
            Request(id=str(number), messages=messages_of(talk), sampling=sampling)
            for number, talk in enumerate(talks)
        ]
        answers = {response.id: response for response in backend.generate(requests)}
        for number, talk in enumerate(talks):
            assert answers[str(number)].error is None, answers[str(number)].error
            text = answers[str(number)].completions[0].text
            talk.append({"role": "assistant", "content": text})
            replies.append(text)
    return replies


if __name__ == "__main__":
    main()
