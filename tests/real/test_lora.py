"""Adapters on SmolLM2-135M-Instruct: DPO is that of peft by hand, and takes less memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import logsigmoid
from transformers import AutoTokenizer

from harness.engine.operations import Artifact
from tests.real.test_equality import (
    COLUMNS,
    LENGTHS,
    ONE_UPDATE,
    PAIRS,
    QUESTIONS,
    Figure,
    Operate,
    RowsOf,
    plain_logps,
    plain_model,
)

ROOT = Path(__file__).resolve().parents[2]
RANK, ALPHA, BETA, RATE = 16, 32, 0.5, 1e-4
TWO_UPDATES: dict[str, Any] = {
    **ONE_UPDATE,
    **LENGTHS,
    "learning_rate": RATE,
    "max_steps": 2,
    "loss": "dpo",
    "settings": {"beta": BETA},
}
LORA = {"rank": RANK, "alpha": ALPHA}
PREFERRED, OTHER = COLUMNS.index("target"), COLUMNS.index("rejected")


@pytest.fixture(scope="module")
def folder(real_folder: Path) -> Path:
    return real_folder / "smollm2"


def by_hand(folder: Path) -> tuple[Any, list[float]]:
    """The base with adapters after two updates, and the losses."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = plain_model(folder)
    with torch.no_grad():
        frozen = plain_logps(model, tokenizer, PAIRS)
    torch.manual_seed(42)
    adapted = get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    )
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    losses = []
    for _ in range(2):
        ratios = plain_logps(adapted, tokenizer, PAIRS) - frozen
        loss = -logsigmoid(BETA * (ratios[:, PREFERRED] - ratios[:, OTHER])).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return adapted, losses


def largest_gap(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    return max((one[name] - two[name]).abs().max().item() for name in one)


def share_apart(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    far = sum(int(((one[name] - two[name]).abs() > 1e-5).sum()) for name in one)
    return far / sum(value.numel() for value in one.values())


def test_two_updates_of_dpo_are_those_of_peft_by_hand(
    folder: Path, operate: Operate, rows_of: RowsOf, figure: Figure
) -> None:
    given = {**TWO_UPDATES, "lora": LORA}
    made = operate("train_preference", given, rows=rows_of(PAIRS), model=Artifact("m", folder)).path
    log = json.loads((made / "training_log.json").read_text())["log"]
    hand, losses = by_hand(folder)
    assert [entry["loss"] for entry in log] == pytest.approx(losses, rel=1e-5)
    assert losses[1] < losses[0]
    merged = plain_model(made)
    found, expected = merged.state_dict(), hand.merge_and_unload().state_dict()
    gap, apart = largest_gap(found, expected), share_apart(found, expected)
    # Adam's first steps are the sign of the gradient: where that is almost 0, rounding decides.
    assert gap < RATE
    assert apart < 1e-4
    moved = share_apart(found, plain_model(folder).state_dict())
    assert moved > 0.01

    loaded = PeftModel.from_pretrained(plain_model(folder), made / "adapter")
    again = largest_gap(found, loaded.merge_and_unload().state_dict())
    assert again < 1e-5
    figure(
        f"two updates of DPO with LoRA: losses {losses}; {apart:.1e} of the weights are more than "
        f"1e-5 apart, at most {gap:.1e} ({moved:.3f} moved so far); merged again: {again:.1e}"
    )


def peaks(arguments: list[str], params: dict[str, Any]) -> dict[str, float]:
    script = Path(__file__).with_name("lora_memory.py")
    command = [sys.executable, str(script), *arguments, "--params", json.dumps(params)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_take_less_memory_than_all_weights(
    dtype: str, folder: Path, operate: Operate, rows_of: RowsOf, figure: Figure
) -> None:
    """Two pairs of 128 tokens."""
    answers = {"source": "a b " * 100, "target": "one two " * 100, "rejected": "no " * 200}
    rows = rows_of(
        [
            {"id": str(n), "messages": [{"role": "user", "content": text}], "responses": answers}
            for n, text in enumerate(QUESTIONS[:2])
        ]
    )
    limits = {"max_length": 128, "max_prompt_length": 64}
    reference = operate("reference_logps", limits, rows=rows, model=Artifact("m", folder))
    inputs = [str(folder), str(rows.path), str(reference.path)]
    given = {**TWO_UPDATES, **limits, "dtype": dtype}
    whole, adapted = peaks(inputs, given), peaks(inputs, {**given, "lora": LORA})
    assert adapted["peak"] < 0.9 * whole["peak"]
    figure(
        f"peak memory in {dtype}: all weights {whole['peak']:.2f} GiB, adapters "
        f"{adapted['peak']:.2f} GiB; with the loaded model {adapted['loaded']:.2f} GiB"
    )
