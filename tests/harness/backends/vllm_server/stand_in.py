"""A package `vllm` that stands in for the real one, and what its servers write down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.backends.base import Request, Sampling, messages_of

FAKE = Path(__file__).parent / "fake_vllm"
MODEL = "nano:target"
GREEDY = Sampling(max_tokens=6)
SAMPLED = Sampling(temperature=0.9, top_p=0.95, max_tokens=6, n=3, seed=7)

Mood = Callable[..., None]


def ask(id: str, text: str = "Name three colours", sampling: Sampling = GREEDY) -> Request:
    messages = messages_of([{"role": "user", "content": text}])
    return Request(id=id, messages=messages, sampling=sampling)


def starts(record: Path) -> list[dict[str, Any]]:
    """What each server was started with."""
    return [entry for entry in entries(record) if "argv" in entry]


def bodies(record: Path) -> list[dict[str, Any]]:
    """What the servers were asked, their first sign of life aside."""
    asked = [entry["body"] for entry in entries(record) if "body" in entry]
    return [body for body in asked if body["prompt"] != [0]]


def entries(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def option(start: dict[str, Any], name: str) -> str:
    return start["argv"][start["argv"].index(name) + 1]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_for(fact: Callable[[], Any], what: str, limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.02)
