"""Tests on a real checkpoint and real tokenizers; they run where they are asked for.

tox run -e real                                   builds the folder once and runs these tests
CRUCIBLE_REAL=/folder pytest tests/real -m real   uses a folder that has them
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All tests of this folder are marked `real`, and skipped unless `-m` names that mark."""
    asked = "real" in config.option.markexpr.split()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.real)
            if not asked:
                item.add_marker(pytest.mark.skip(reason="real checkpoints: tox run -e real"))


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """Folder with smollm2 (a model), tok_llama2, tok_mistral and tok_llama3 (tokenizers)."""
    folder = Path(os.environ.get("CRUCIBLE_REAL") or ROOT / ".tox" / "real-checkpoints")
    if not (folder / "smollm2" / "config.json").is_file():
        pytest.skip(f"no real checkpoints in {folder} (tox run -e real; or set CRUCIBLE_REAL)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    torch.set_num_threads(2)  # tests/conftest.py asks for one, which suits tiny models
