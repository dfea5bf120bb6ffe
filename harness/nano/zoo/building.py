"""Build one nano model: train, save in 16 bits, reload as users do, measure."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from harness.core.hashing import folder_digest
from harness.nano.zoo import measure, reading, recall, symbols
from harness.nano.zoo.encoder import filling, train_encoder
from harness.nano.zoo.reward import train_reward
from harness.nano.zoo.sample import load
from harness.nano.zoo.seq2seq import restoring, train_seq2seq
from harness.nano.zoo.spec import ModelSpec
from harness.nano.zoo.train import Progress, pretrain

log = logging.getLogger(__name__)
COPIES = ("encoder.embed_tokens", "decoder.embed_tokens")  # of T5's `shared`


def built(
    specs: Sequence[ModelSpec], out_dir: Path, progress: Progress, jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Build models, `jobs` at a time, and yield the name and manifest entry of each."""
    learners = [spec for spec in specs if spec.hears]
    for wave in ([spec for spec in specs if not spec.hears], learners):
        if jobs == 1:
            yield from (
                (spec.name, build_one(spec, out_dir / spec.name, progress)) for spec in wave
            )
        elif wave:
            yield from _at_once(wave, out_dir, progress, jobs)


def _at_once(
    specs: Sequence[ModelSpec], out_dir: Path, progress: Progress, jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Models in processes of their own, in the order in which they are ready."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(jobs, context) as pool:
        steps = manager.Queue()
        running = {
            pool.submit(_in_process, spec, out_dir / spec.name, steps): spec.name for spec in specs
        }
        while running:
            ready, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for _ in range(steps.qsize()):
                progress(*steps.get())
            for future in ready:
                yield running.pop(future), future.result()


def _in_process(spec: ModelSpec, folder: Path, steps: Any) -> dict[str, Any]:
    return build_one(spec, folder, lambda *step: steps.put(step))


def build_one(spec: ModelSpec, folder: Path, progress: Progress) -> dict[str, Any]:
    """Build `spec` into `folder` and return its manifest entry."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.process_time()
        if spec.kind == "reward":
            heard = speakers(folder.parent, spec.hears)
            model, tokenizer = train_reward(spec, progress, heard)
        elif spec.kind == "encoder":
            model, tokenizer = train_encoder(spec, progress)
        elif spec.kind == "seq2seq":
            model, tokenizer = train_seq2seq(spec, progress)
        else:
            model, tokenizer = pretrain(spec, progress)
        seconds = time.process_time() - started
        save(model, tokenizer, folder)
        loaded, tokenizer = load(folder)
        if spec.kind == "planted":
            measured = recall.bands(loaded, tokenizer, spec.planted)
        elif spec.kind == "reward":
            measured = measure.agreement(loaded, tokenizer, heard)
        else:
            bands = {
                "reader": reading.bands,
                "encoder": filling,
                "seq2seq": restoring,
                "lm": measure.bands,
                "student": measure.bands,
                "symbols": symbols.bands,
            }
            measured = bands[spec.kind](loaded, tokenizer)
            if spec.open_share:
                measured |= measure.knowledge(loaded, tokenizer)
    finally:
        torch.set_num_threads(threads)
    log.info("built %s in %.0f s: %s", spec.name, seconds, measured)
    return {
        "class": type(loaded).__name__,
        "parameters": sum(p.numel() for p in loaded.parameters()),
        "tokenizer": {"kind": spec.tokenizer.kind, "size": len(tokenizer)},
        "strengths": list(spec.strengths),
        "seed": spec.seed,
        "steps": spec.steps + spec.reward_steps,
        "cpu_seconds": round(seconds),
        "digest": folder_digest(folder),
        "bands": measured,
    }


def speakers(out_dir: Path, names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Language models whose samples train a reward model: newly built ones, or else shipped."""
    shipped = Path(__file__).parent.parent / "weights"
    return {
        name: load(folder if (folder := out_dir / name).is_dir() else shipped / name)
        for name in names
    }


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save weights in 16 bits with float32 in the config: half the size, loaded as float32."""
    half = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        for copy in ("lm_head", "cls.predictions.decoder", *COPIES):
            half.pop(f"{copy}.weight", None)
    model.save_pretrained(folder, state_dict=half)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
