from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backends import vllm_machine
from harness.engine.calls import Services
from tests.harness.backends.vllm_server.stand_in import FAKE, Mood


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record.jsonl"


@pytest.fixture
def mood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: Path) -> Mood:
    """Puts the stand-in on the child's path; `mood(crash="...")` makes it misbehave."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv(vllm_machine.VARIABLE, sys.executable)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OPENAI_API_KEY", "not for vllm")
    monkeypatch.setattr(vllm_machine, "_gpu_count", lambda: 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for logs that stay: of scripts, and of tests
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def set_mood(**traits: Any) -> None:
        monkeypatch.setenv("FAKE_VLLM", json.dumps({"record": str(record), **traits}))

    set_mood()
    return set_mood


@pytest.fixture
def services(mood: Mood) -> Iterator[Services]:
    with Services() as opened:
        yield opened
