"""Peak memory of a section of a benchmark's process, in bytes."""

from __future__ import annotations

from pathlib import Path


def start_memory(device: str = "cpu") -> int:
    """Reset the peak and return the memory in use now."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak resident set
    return _status("VmRSS")


def peak_memory(device: str = "cpu") -> int:
    """Peak memory since `start_memory`: resident set (GPU: allocated memory)."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}; this benchmark needs Linux")
