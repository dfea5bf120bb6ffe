"""Time and peak memory of a section of a benchmark's process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def measured(
    work: Callable[[], Any],
    device: str = "cpu",
    *,
    passes: int = 1,
    before: Callable[[], Any] = lambda: None,
) -> tuple[Any, dict[str, float]]:
    """The last result of `work`; median seconds and CPU seconds of the passes; bytes at the peak.

    Args:
        before: called before each pass, outside the measurement.
    """
    seconds, cpu, peaks = [], [], []
    result = None
    for _ in range(passes):
        before()
        result = None  # would otherwise count as memory in use before the pass
        in_use = start_memory(device)
        start, cpu_start = time.perf_counter(), time.process_time()
        result = work()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
        peaks.append(peak_memory(device) - in_use)
    medians = {"seconds": statistics.median(seconds), "cpu": statistics.median(cpu)}
    return result, {**medians, "bytes": max(peaks)}


def synchronize(device: str) -> None:
    """Wait until a GPU has finished all work that was queued."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def start_memory(device: str = "cpu") -> int:
    """Reset the peak and return the memory in use now, in bytes."""
    if device == "cuda":
        import torch

        synchronize(device)
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak resident set
    return _status("VmRSS")


def peak_memory(device: str = "cpu") -> int:
    """Peak memory since `start_memory`: resident set (GPU: allocated memory), in bytes."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}; this benchmark needs Linux")
