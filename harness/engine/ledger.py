"""The ledger of one stage: seconds, tokens, requests, money, peak memory; and its provenance."""

from __future__ import annotations

import platform
import subprocess
import time
from functools import cache
from pathlib import Path

from harness.core.records import Record


class Entry(Record):
    """Resources spent by one attempt at a stage. None is unmeasured or unpriced, never zero.

    Attributes:
        cached: number of answers from stored responses, which no other count includes.
    """

    seconds: float
    tokens_in: int
    tokens_out: int
    requests: int
    peak_memory_mib: float | None
    gpu_seconds: float | None = None
    cached: int = 0
    cost_usd: float | None = None


class Ledger:
    """Counters of a running stage; `entry()` gives the totals."""

    def __init__(self) -> None:
        self.tokens_in = 0
        self.tokens_out = 0
        self.requests = 0
        self.cached = 0
        self.cost_usd: float | None = None
        self._start = time.monotonic()
        self._resettable = _reset_peak_memory()
        self._elsewhere: tuple[float | None, float | None] | None = None

    def count(
        self,
        *,
        tokens_in: int = 0,
        tokens_out: int = 0,
        requests: int = 0,
        cached: int = 0,
        cost_usd: float | None = None,
    ) -> None:
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.requests += requests
        self.cached += cached
        if cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd

    def used_elsewhere(self, peak_memory_mib: float | None, gpu_seconds: float | None) -> None:
        """Peak memory of a process, and GPU time of all, where others did the work."""
        self._elsewhere = peak_memory_mib, gpu_seconds

    def entry(self, device: str) -> Entry:
        seconds = time.monotonic() - self._start
        memory = peak_memory_mib() if self._resettable else None
        gpu_seconds = round(seconds, 3) if device.startswith("cuda") else None
        if self._elsewhere is not None:
            memory, gpu_seconds = self._elsewhere
        return Entry(
            seconds=round(seconds, 3),
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            requests=self.requests,
            peak_memory_mib=memory,
            gpu_seconds=gpu_seconds,
            cached=self.cached,
            cost_usd=self.cost_usd,
        )


def peak_memory_mib() -> float | None:
    """Peak resident memory of this process since the last reset, from the kernel."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    return None


def _reset_peak_memory() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def provenance() -> dict[str, str | None]:
    """Host, platform and code revision of a stage; never a secret."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "revision": _git_revision(),
    }


@cache  # of the code that this process has loaded
def _git_revision() -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
