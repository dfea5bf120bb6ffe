"""A nano model with larger attention heads that computes the same function.

vLLM's attention kernels for CPUs know head sizes 32, 64, 80, ... only; the nano models have 24.
Rows of zeros added to the projections change nothing as long as

* queries are scaled by sqrt(new / old), because scores are divided by sqrt(head size), and
* the rotary base is raised to the power new / old, because pair i turns by base^(-2 i / size).

Pair i of a head of size d is made of its elements i and i + d/2.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def widen(source: Path, target: Path, head_size: int = 32) -> Path:
    """Write the widened copy of a Llama-like checkpoint without biases; returns its folder."""
    shutil.copytree(source, target)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    old = config["head_dim"]
    power = head_size / old
    config["head_dim"] = head_size
    config["rope_parameters"]["rope_theta"] **= power
    weights = load_file(source / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            scale = power**0.5 if "q_proj" in name else 1.0
            weights[name] = _spread(weight * scale, old, head_size)
        elif name.endswith("o_proj.weight"):
            weights[name] = _spread(weight.T, old, head_size).T.contiguous()
    (target / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def _spread(rows: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """(heads * old, width) -> (heads * new, width): both halves of a head at their new places."""
    heads, width = rows.shape[0] // old, rows.shape[1]
    made = rows.new_zeros(heads, 2, new // 2, width)
    made[:, :, : old // 2] = rows.reshape(heads, 2, old // 2, width)
    return made.reshape(heads * new, width)
