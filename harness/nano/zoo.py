"""The zoo: tiny real models with different strengths, architectures and tokenizers.

Shipped under `weights/<name>/` in the layout of `save_pretrained`, in 16-bit floats that load as
float32, so that `AutoModelForCausalLM.from_pretrained(zoo.path("target"))` works offline. What each
model is stands in `zoo_models.py`; how well each does is measured at build time and stands in
`weights/manifest.json`. `build` makes them again from their seeds.

Importing this module imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import unknown
from harness.hashing import folder_digest
from harness.nano.zoo_models import SPECS

__all__ = ["build", "digest", "manifest", "names", "path"]

Progress = Callable[[str, int, int], None]
WEIGHTS = Path(__file__).parent / "weights"


def names() -> list[str]:
    """The shipped models, language models first."""
    return list(SPECS)


def path(name: str) -> Path:
    """The folder of a shipped model.

    Raises:
        UnknownName: for a name that the zoo does not have.
    """
    if name not in SPECS:
        raise unknown("nano model", name, SPECS, "crucible models")
    return WEIGHTS / name


@lru_cache(maxsize=1)
def manifest() -> dict[str, dict[str, Any]]:
    """name -> class, parameters, tokenizer, seed, steps, digest and measured bands."""
    loaded: dict[str, dict[str, Any]] = json.loads((WEIGHTS / "manifest.json").read_text())
    return loaded


def digest(name: str) -> str:
    """Content digest of a shipped model's files."""
    return folder_digest(path(name))


def build(chosen: Iterable[str], out_dir: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Train models from their seeds into `out_dir`, measure them, and update its manifest.

    `progress(name, steps done, steps in all)` is called after every training step. Training runs
    on one thread: results then do not depend on how many cores a machine has.
    """
    from harness.nano.zoo_build import build_one

    out_dir.mkdir(parents=True, exist_ok=True)
    listing = out_dir / "manifest.json"
    entries: dict[str, dict[str, Any]] = {}
    for name in list(chosen):
        path(name)  # refuse unknown names before training anything
    for name in list(chosen):
        entry = build_one(SPECS[name], out_dir / name, progress)
        entries = json.loads(listing.read_text()) if listing.is_file() else {}
        entries[name] = entry
        listing.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")
    return entries
