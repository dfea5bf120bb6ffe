"""Greedy generation by the transformers backend compared with lm-eval's at equal batch sizes.

200 conversations on the nano world with one to three questions (about 20 to 150 tokens), answers of
at most 64 tokens. lm-eval receives the rendered text of the same prompts and the same stop token;
both use the same model object. Prints medians of alternating runs and the number of equal answers.
`plain` (transformers' own `generate`) is a peer in `gpu.py` alone.

    python benchmarks/hf_generation.py
    python benchmarks/hf_generation.py --model nano:source_c --batch 8 32
    python benchmarks/hf_generation.py --device cuda --random 100M --dtype bfloat16

With --random, both generate from a random Llama of that size, which rarely ends an answer itself.

Claim: equal answers, and twice the throughput of lm-eval's `HFLM.generate_until` in batches of 64.
In small batches of a tiny model the gain depends on how much the answers differ in length: finished
rows are replaced by the next prompts, whereas lm-eval waits for the longest.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Hidden size, layers, heads.
SIZES = {"10M": (256, 8, 4), "100M": (768, 12, 12), "1B": (2048, 16, 32)}


def main() -> None:
    options = parser().parse_args()
    import torch

    torch.set_num_threads(options.threads)
    model, tokenizer = load(options)
    messages = conversations(options.prompts)
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{options.random or options.model}: {parameters / 1e6:.1f} M parameters, "
        f"{options.dtype}, {options.device}, {torch.get_num_threads()} threads, "
        f"{options.prompts} prompts, {options.tokens} tokens at most, median of {options.repeats}"
    )
    print(f"{'batch':>6}{'ours s':>10}{'lm-eval s':>12}{'speed-up':>10}{'CPU':>8}{'equal':>12}")
    for batch in options.batch:
        report(batch, model, tokenizer, messages, options)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--model", default="nano:target")
    made.add_argument("--random", choices=SIZES, help="a random Llama instead of a model")
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    made.add_argument("--batch", type=int, nargs="+", default=(16, 64))
    made.add_argument("--prompts", type=int, default=200)
    made.add_argument("--tokens", type=int, default=64)
    made.add_argument("--threads", type=int, default=1, help="torch threads; more slow lm-eval")
    made.add_argument("--repeats", type=int, default=3)
    return made


def load(options: argparse.Namespace) -> tuple[Any, Any]:
    from harness.models.checkpoints import load_causal_lm

    model, tokenizer = load_causal_lm(options.model, options.device, options.dtype)
    if not options.random:
        return model, tokenizer
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers, heads = SIZES[options.random]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2048,
        initializer_range=0.1,  # wide, so that greedy choices are not near ties
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    made = LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype))
    return made.eval(), tokenizer


def conversations(count: int) -> list[list[dict[str, str]]]:
    """Conversations of mixed length: zero to two answered questions, then the open one."""
    from harness.nano import world

    items = world.items("reward", 3 * count)
    found = []
    for number in range(count):
        talk: list[dict[str, str]] = []
        for item in items[3 * number : 3 * number + number % 3]:
            talk.append({"role": "user", "content": item.turns[0]})
            talk.append({"role": "assistant", "content": world.reference_answer(item)})
        asked = items[3 * number + 2].turns[0]
        found.append([*talk, {"role": "user", "content": asked}])
    return found


def ours(
    batch: int, model: Any, tokenizer: Any, messages: list[Any], tokens: int
) -> Callable[[], list[str]]:
    from harness.backends.base import Request, Sampling, messages_of
    from harness.backends.hf import HFBackend

    backend = HFBackend(model, tokenizer, max_rows=batch)
    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    requests = [
        Request(id=str(number), messages=messages_of(talk), sampling=sampling)
        for number, talk in enumerate(messages)
    ]

    def run() -> list[str]:
        answers = {response.id: response for response in backend.generate(requests)}
        return [answers[str(number)].completions[0].text for number in range(len(messages))]

    return run


def theirs(
    batch: int, model: Any, tokenizer: Any, messages: list[Any], tokens: int
) -> Callable[[], list[str]]:
    import copy
    import logging

    from harness.models import chat

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    language_model = HFLM(
        pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch, max_length=2048
    )
    end = tokenizer.decode([chat.end_of_turn_id(tokenizer)])
    options = {"until": [end], "max_gen_toks": tokens, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (chat.render(tokenizer, talk), dict(options)), 0)
        for talk in messages
    ]
    return lambda: list(language_model.generate_until(requests, disable_tqdm=True))


def plain(
    batch: int, model: Any, tokenizer: Any, messages: list[Any], tokens: int
) -> Callable[[], list[str]]:
    """transformers' `generate` on one padded batch after another, in the order given."""
    from harness.models import chat

    texts = [chat.render(tokenizer, talk) for talk in messages]
    end = chat.end_of_turn_id(tokenizer)
    padding = {"padding": True, "padding_side": "left", "add_special_tokens": False}
    settings = {"do_sample": False, "max_new_tokens": tokens, "eos_token_id": end}

    def run() -> list[str]:
        answers: list[str] = []
        for start in range(0, len(texts), batch):
            inputs = tokenizer(texts[start : start + batch], return_tensors="pt", **padding)
            ids, mask = (inputs[key].to(model.device) for key in ("input_ids", "attention_mask"))
            found = model.generate(
                ids, attention_mask=mask, pad_token_id=tokenizer.pad_token_id, **settings
            )
            answers += tokenizer.batch_decode(found[:, ids.shape[1] :], skip_special_tokens=True)
        return answers

    return run


def report(
    batch: int, model: Any, tokenizer: Any, messages: list[Any], options: argparse.Namespace
) -> None:
    runs = {
        name: make(batch, model, tokenizer, messages, options.tokens)
        for name, make in (("ours", ours), ("theirs", theirs))
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    answers: dict[str, list[str]] = {}
    for run in runs.values():
        if options.device == "cuda":
            run()  # warm-up: select kernels, fill caches
    for _ in range(options.repeats):
        for name, run in runs.items():
            start, used = time.perf_counter(), cpu_seconds()
            answers[name] = run()
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - used)
    fast, slow = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    work = statistics.median(cpu["theirs"]) / statistics.median(cpu["ours"])
    equal = sum(a == b for a, b in zip(answers["ours"], answers["theirs"]))
    print(
        f"{batch:6}{fast:10.2f}{slow:12.2f}{slow / fast:9.2f}x{work:7.2f}x"
        f"{f'{equal} of {len(messages)}':>12}"
    )


def cpu_seconds() -> float:
    """CPU time of all threads of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
