"""Tests on a real checkpoint and real tokenizers; they run where they are asked for.

tox run -e real                                   builds the folder once and runs these tests
CRUCIBLE_REAL=/folder pytest tests/real -m real   uses a folder that has them
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.engine.calls import Services
from harness.engine.operations import Artifact, Row
from harness.engine.registry import load_operation
from tests.tiny_models import FakeContext

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


FIGURES: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for line in FIGURES:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figure() -> Callable[[str], None]:
    """`figure("rows: 3")`: a line at the end of the tests' output."""
    return FIGURES.append


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """Folder with smollm2 (a model), tok_llama2, tok_mistral and tok_llama3 (tokenizers)."""
    folder = Path(os.environ.get("CRUCIBLE_REAL") or ROOT / ".tox" / "real-checkpoints")
    if not (folder / "smollm2" / "config.json").is_file():
        pytest.skip(f"no real checkpoints in {folder} (tox run -e real; or set CRUCIBLE_REAL)")
    return folder


@pytest.fixture(scope="session")
def other(real_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of SmolLM2 with noise in its weights."""
    folder, made = real_folder / "smollm2", tmp_path_factory.mktemp("models") / "other"
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.03 * weight.std() * torch.randn_like(weight)
    model.save_pretrained(made)
    AutoTokenizer.from_pretrained(folder).save_pretrained(made)
    return made


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    torch.set_num_threads(2)  # tests/conftest.py asks for one, which suits tiny models


class RealContext(FakeContext):
    """With what an engine needs."""

    services = Services()

    def count(self, **numbers: Any) -> None: ...


@pytest.fixture(scope="session")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Row]], Artifact]:
    """`rows_of(rows)`: an artifact that holds them."""

    def write(rows: list[Row]) -> Artifact:
        folder = tmp_path_factory.mktemp("rows")
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text(text, encoding="utf-8")
        return Artifact(folder.name, folder)

    return write


@pytest.fixture(scope="session")
def operate(
    tmp_path_factory: pytest.TempPathFactory, rows_of: Callable[[list[Row]], Artifact]
) -> Callable[..., Artifact]:
    """`operate("sample", {"n": 2}, prompts=artifact, model=artifact)`: what an operation makes."""

    def run(name: str, params: dict[str, Any], **inputs: Any) -> Artifact:
        operation = load_operation(name)
        settings = operation.params.model_validate(params)
        folder = tmp_path_factory.mktemp(name)
        context = RealContext(folder / "out", folder / "scratch")
        context.directory.mkdir()
        context.scratch.mkdir()
        if operation.rows is None:
            operation.function(context, settings, **inputs)
            return Artifact(folder.name, context.directory)
        rows = inputs[operation.rows].rows()
        batches = iter([rows])
        return rows_of(
            [r for b in operation.function(context, settings, batches, **inputs) for r in b]
        )

    return run
