"""Building one nano model: train, save in 16 bits, load back as users will, measure."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch

from harness.hashing import folder_digest
from harness.nano import zoo_measure
from harness.nano.zoo_models import ModelSpec
from harness.nano.zoo_reward import train_reward
from harness.nano.zoo_train import Progress, pretrain

log = logging.getLogger(__name__)


def build_one(spec: ModelSpec, folder: Path, progress: Progress) -> dict[str, Any]:
    """Build `spec` into `folder` and return its manifest entry."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.process_time()
        make = train_reward if spec.kind == "reward" else pretrain
        model, tokenizer = make(spec, progress)
        seconds = time.process_time() - started
        save(model, tokenizer, folder)
        loaded, tokenizer = load(folder)
        measured = (
            zoo_measure.agreement(loaded, tokenizer)
            if spec.kind == "reward"
            else zoo_measure.bands(loaded, tokenizer)
        )
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


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save in 16 bits with a config that says float32: half the size, loaded at full width."""
    half = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    half.pop("lm_head.weight", None)  # tied to the input embedding
    model.save_pretrained(folder, state_dict=half)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)


def load(folder: Path) -> tuple[Any, Any]:
    """(model in float32, tokenizer) from a saved folder."""
    import transformers as hf

    config = hf.AutoConfig.from_pretrained(folder)
    scores = "SequenceClassification" in config.architectures[0]
    auto = hf.AutoModelForSequenceClassification if scores else hf.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), hf.AutoTokenizer.from_pretrained(folder)
