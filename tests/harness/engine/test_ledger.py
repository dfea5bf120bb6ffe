"""The ledger of a stage: what is added, what stays unknown, and where the code came from."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.engine import ledger
from harness.engine.ledger import Entry, Ledger, peak_memory_mib, provenance


def test_counts_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 103.4567])
    monkeypatch.setattr(ledger.time, "monotonic", lambda: next(clock))
    book = Ledger()
    book.count(tokens_in=1, tokens_out=20, requests=300, cached=4000, cost_usd=0.5)
    book.count()
    book.count(tokens_in=2, tokens_out=30, requests=400, cached=5000, cost_usd=0.25)
    found = book.entry("cuda:1")
    assert found == Entry(
        seconds=3.457, tokens_in=3, tokens_out=50, requests=700, gpu_seconds=3.457, cached=9000,
        cost_usd=0.75, peak_memory_mib=found.peak_memory_mib,
    )  # fmt: skip


def test_seconds_of_all_gpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.5, 102.5])
    monkeypatch.setattr(ledger.time, "monotonic", lambda: next(clock))
    book = Ledger()
    book.count(gpus=8)
    book.count(tokens_in=1)
    assert (book.entry("cuda").seconds, book.gpus) == (2.5, 8)
    assert book.entry("cuda").gpu_seconds == 20.0


def test_what_was_not_measured_is_none_and_not_zero() -> None:
    found = Ledger().entry("cpu")
    assert (found.tokens_in, found.tokens_out, found.requests, found.cached) == (0, 0, 0, 0)
    assert (found.cost_usd, found.gpu_seconds) == (None, None)
    free = Ledger()
    free.count(cost_usd=0.0)
    assert free.entry("cpu").cost_usd == 0.0


def test_peak_memory_is_that_since_the_ledger_was_opened() -> None:
    book = Ledger()
    if not ledger._reset_peak_memory():
        assert book.entry("cpu").peak_memory_mib is None
        return
    before = book.entry("cpu").peak_memory_mib
    np.ones(10_000_000)  # 76 MiB, freed at once
    peak = book.entry("cpu").peak_memory_mib
    assert before is not None
    assert peak is not None
    assert peak > before + 60
    kib = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert kib is not None
    assert peak == pytest.approx(int(kib[1]) / 1024, abs=0.06)
    after = Ledger().entry("cpu").peak_memory_mib
    assert after is not None
    assert after < peak - 60


def test_a_kernel_that_does_not_tell_leaves_memory_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "write_text", refused)
    assert Ledger().entry("cpu").peak_memory_mib is None
    monkeypatch.setattr(Path, "read_text", refused)
    assert peak_memory_mib() is None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root of a checkout that the module lies in."""
    monkeypatch.setattr(ledger, "__file__", str(tmp_path / "harness" / "engine" / "ledger.py"))
    ledger._git_revision.cache_clear()
    yield tmp_path
    ledger._git_revision.cache_clear()


def test_provenance_names_machine_and_revision(place: Path) -> None:
    def git(*words: str) -> str:
        options = ["-c", "user.name=a", "-c", "user.email=a@b", "-C", str(place)]
        done = subprocess.run(["git", *options, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    assert provenance() == {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "revision": git("rev-parse", "HEAD"),
    }


def test_code_outside_of_a_checkout_has_no_revision(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance()["revision"] is None
    ledger._git_revision.cache_clear()
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(place.parent)}
    subprocess.run(["git", "init", "-q", str(place)], check=True, env=environment)
    assert provenance()["revision"] is None  # no commit yet
    asked: dict[str, Any] = {}

    def slow(command: list[str], **options: Any) -> None:
        asked.update(options)
        raise subprocess.TimeoutExpired(command, 5)

    ledger._git_revision.cache_clear()
    monkeypatch.setattr(subprocess, "run", slow)
    assert provenance()["revision"] is None
    assert asked["timeout"] == 5
