"""One ADPA step by chunks of positions compared with full logits; lists built and read in batches.

One pair of answers of 1,024 tokens (256 of them prompt), vocabulary 128,256, forward and backward
through a one-layer student, with one-layer teachers. Variants:

    live     teacher and reference are run beside the student
    hidden   their last hidden states are read from a cache, their heads are at hand
    lists    50 ids with log-ratios and one bucket, from a cache
    dense    live teachers, with the logits of all positions of student, teacher and reference

Every run is a separate child process; runs of the variants alternate; medians are printed. Memory
is the growth of the peak resident set (GPU: allocated memory) over models and batch, gradients
included. The second table times lists: log-ratios from gathered log-probabilities, and rows read
from a cache into a batch, against the lists of Python objects of the released code.

    python benchmarks/adpa_step.py
    python benchmarks/adpa_step.py --device cuda --dtype bfloat16 --length 2048 --hidden 2048 \
        --teacher-hidden 4096

Claims: at most 0.25 GiB beyond the models at the default sizes, and no slower than full logits;
loss and gradient of live and cached teachers equal within 2^-8 (lists: within their bound); at most
1 microsecond per position to build and to read a list of 50.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peak_memory import measured

VARIANTS = ("live", "hidden", "lists", "dense")
K = 50


def main() -> None:
    options = parser().parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.variants}
    for number in range(options.repeats):
        for name in options.variants:
            print(f"run {number + 1} of {options.repeats}: {name}", file=sys.stderr)
            runs[name].append(in_child(name, options))
    report(runs, options)
    if not options.no_lists:
        report_lists(options)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    made.add_argument("--pairs", type=int, default=1)
    made.add_argument("--length", type=int, default=1024)
    made.add_argument("--prompt", type=int, default=256)
    made.add_argument("--vocabulary", type=int, default=128_256)
    made.add_argument("--hidden", type=int, default=64)
    made.add_argument("--teacher-hidden", type=int, default=128)
    made.add_argument("--threads", type=int, default=None)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--passes", type=int, default=1, help="timed passes of each run")
    made.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    made.add_argument("--no-lists", action="store_true", help="only the step")
    made.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    return made


def in_child(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One run in a new process; {"error": ...} if it fails."""
    arguments = [sys.executable, __file__, "--child", name]
    for key, value in vars(options).items():
        if key not in ("child", "variants", "repeats", "no_lists") and value is not None:
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
    student, teachers, batch = make(options)
    step, batch = stepper(options.child, student, teachers, batch, options)
    step(of_few(batch, options))  # warm-up on eight positions per answer
    if options.device == "cuda":
        step(batch)  # select kernels, fill caches
    loss, taken = measured(
        lambda: step(batch),
        options.device,
        passes=options.passes,
        before=lambda: student.zero_grad(set_to_none=True),
    )
    gradient = student.get_output_embeddings().weight.grad.double()
    return {
        "seconds": taken["seconds"],
        "cpu": taken["cpu"],
        "gib": taken["bytes"] / 2**30,
        "loss": loss,
        "gradient": float(gradient.norm()),
    }


def of_few(batch: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The batch with eight scored tokens per answer, and their rows of a cache."""
    small = {key: value.clone() for key, value in batch.items()}
    small["labels"][:, options.prompt + 8 :] = -100
    for key, value in batch.items():
        if "/" in key:
            small[key] = value.unflatten(0, (options.pairs, -1))[:, :8].flatten(0, 1)
    return small


def make(options: argparse.Namespace) -> tuple[Any, list[Any], dict[str, Any]]:
    """Student, [teacher, reference] and a batch of pairs: chosen rows, then answers."""
    import torch

    student = model_of(options, options.hidden, 0)
    reference = model_of(options, options.teacher_hidden, 1).requires_grad_(False)
    teacher = model_of(options, options.teacher_hidden, 1).requires_grad_(False)
    with torch.no_grad():  # a teacher near its reference, as after DPO
        for parameter in teacher.parameters():
            parameter += 0.1 * parameter.std() * torch.randn_like(parameter)
    torch.manual_seed(2)
    ids = torch.randint(0, options.vocabulary, (2 * options.pairs, options.length))
    labels = ids.clone()
    labels[:, : options.prompt] = -100
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return student, [teacher, reference], {k: v.to(options.device) for k, v in batch.items()}


def model_of(options: argparse.Namespace, hidden: int, seed: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=1,
        num_attention_heads=max(1, hidden // 64),
        num_key_value_heads=max(1, hidden // 64),
        max_position_embeddings=options.length,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype)).eval()


def stepper(
    name: str, student: Any, teachers: list[Any], batch: dict[str, Any], options: Any
) -> tuple[Callable[[Any], float], dict[str, Any]]:
    """(batch -> loss, with gradients), and the batch with the rows of a cache."""
    from harness.distillation.advantage.objective import PairObjective, Teachers
    from harness.distillation.advantage.settings import PairLoss
    from harness.models.heads import output_head

    settings = PairLoss(gamma=1.6)
    if name == "dense":
        return dense_step(student, teachers, settings), batch
    given = Teachers(*teachers)
    if name != "live":
        given = Teachers(heads=tuple(output_head(teacher) for teacher in teachers))
        batch = {**batch, **cached(name, teachers, batch, options)}
    objective = PairObjective(settings, given, 0, options.vocabulary)

    def step(batch: Any) -> float:
        terms, _ = objective.sums(student, batch, {})
        loss = sum(total / count for total, count in terms.values())
        loss.backward()
        return float(loss.detach())

    return step, batch


def cached(name: str, teachers: list[Any], batch: Any, options: Any) -> dict[str, Any]:
    """What a cache has for the answers, as a training batch contains it."""
    import torch

    from harness.distillation.advantage.objective import live_distribution
    from harness.distillation.advantage.produce import ListSettings, list_rows, state_rows
    from harness.distillation.advantage.targets import Ratio

    half = options.pairs
    rows = {key: value[half:] for key, value in batch.items()}
    kept = rows["labels"][:, 1:] != -100
    both = [live_distribution(t, rows, kept, options.vocabulary) for t in teachers]
    with torch.no_grad():
        found = state_rows(*both) if name == "hidden" else list_rows(Ratio(*both), ListSettings(K))
    found = {c: value.long() if c == "ids" else value for c, value in found.items()}
    return {f"response/{column}": value.to(options.device) for column, value in found.items()}


def dense_step(student: Any, teachers: list[Any], settings: Any) -> Callable[[Any], float]:
    import torch

    from harness.distillation.advantage.losses import adpa_loss, advantages, log_probs

    def step(batch: Any) -> float:
        given = {key: batch[key] for key in ("input_ids", "attention_mask")}
        logits = student(**given, use_cache=False).logits[:, :-1]
        half = len(logits) // 2
        answers = {key: value[half:] for key, value in given.items()}
        with torch.no_grad():
            q, r = (log_probs(t(**answers, use_cache=False).logits[:, :-1]) for t in teachers)
            advantage = advantages(q, r, beta=settings.beta)
            del q, r
        labels = batch["labels"][:, 1:]
        loss, _ = adpa_loss(
            logits[:half].float(), logits[half:].float(), labels[:half], labels[half:],
            advantage=advantage, settings=settings,
        )  # fmt: skip
        loss.backward()
        return float(loss.detach())

    return step


def report(runs: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    print(
        f"{options.pairs} pair(s) of {options.length} tokens ({options.prompt} prompt), vocabulary "
        f"{options.vocabulary}, hidden {options.hidden}, teachers {options.teacher_hidden}, "
        f"{options.dtype}, {options.device}, forward + backward, median of {options.repeats}"
    )
    print(f"{'':10}{'seconds':>10}{'CPU s':>9}{'GiB':>9}{'loss':>14}{'|grad head|':>14}")
    for name, found in runs.items():
        good = [run for run in found if "error" not in run]
        if not good:
            print(f"{name:10} not run: {found[0]['error']}")
            continue
        keys = ("seconds", "cpu", "gib", "loss", "gradient")
        middle = {key: statistics.median(run[key] for run in good) for key in keys}
        print(
            f"{name:10}{middle['seconds']:10.2f}{middle['cpu']:9.2f}"
            f"{middle['gib']:9.3f}{middle['loss']:14.7f}{middle['gradient']:14.7f}"
        )


def report_lists(
    options: argparse.Namespace, positions: int = 4096, vocabulary: int = 8000
) -> None:
    """Microseconds per position to build and to read lists, in batches and as released."""
    import torch

    from harness.distillation.advantage.advantage_released import compressed, released_margins
    from harness.distillation.advantage.losses import listed_advantages, log_probs
    from harness.distillation.caches import Cache, CachedAnswer, CacheManifest, CacheWriter
    from harness.distillation.shards import token_check

    torch.manual_seed(0)
    logits = [torch.randn(positions, vocabulary) * 3 for _ in range(2)]
    q, r = (log_probs(each) for each in logits)
    values, ids = q.topk(K, dim=-1)
    other = r.gather(-1, ids)
    tails = [torch.full((positions,), -3.0), torch.full((positions,), -2.5)]
    built = timed(lambda: listed_advantages(values, other, tails[0], tails[1]), positions)
    few = 256
    lists = [compressed(each[:few], K) for each in logits]
    released = timed(lambda: released_margins(*lists), few)
    kept, tail = listed_advantages(values, other, *tails)
    size = 256
    answers = {
        str(n): CachedAnswer(
            {
                "ids": ids[n * size : (n + 1) * size].to(torch.uint32),
                "values": kept[n * size : (n + 1) * size].half(),
                "tail": tail[n * size : (n + 1) * size].half(),
            },
            token_check(range(size)),
        )
        for n in range(positions // size)
    }
    manifest = CacheManifest(
        columns={"ids": K, "values": K, "tail": 0}, vocabulary=1 << 17, tokenizer="t", answers="a",
        models={"teacher": "m"},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        writer = CacheWriter(Path(folder), manifest)
        writer.write(0, answers)
        writer.finish(1, {})
        cache = Cache(Path(folder))
        first = cache["0"]  # opens and checks the shard, once
        assert first.columns["ids"].shape == (size, K)

        def read() -> Any:
            rows = [cache.answer(name, range(size)).columns for name in answers]
            return {c: torch.cat([row[c] for row in rows]) for c in manifest.columns}

        loaded = timed(read, positions)
        each = cache.bytes_per_token
    print(
        f"lists of {K}, microseconds per position: building {built:.3f} in batch, {released:.1f} "
        f"as released; reading {loaded:.3f} into a batch; {each:.0f} bytes per position"
    )


def timed(work: Callable[[], Any], positions: int) -> float:
    """Microseconds per position, the best of five."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken) / positions * 1e6


if __name__ == "__main__":
    main()
