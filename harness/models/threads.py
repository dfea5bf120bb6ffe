"""Running chunks of work on a small CPU model in threads, one core each.

Splitting each operation of a tiny model over cores costs more than it gains, and far more on a
machine that is busy; whole chunks side by side use the cores well. A chunk runs the same
operations however many threads there are, so the numbers do not depend on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

SMALL = 20_000_000  # parameters

A = TypeVar("A")
B = TypeVar("B")


def map_chunks(work: Callable[[A], B], chunks: Sequence[A], model: Any) -> Iterator[B]:
    """Apply `work` to each chunk, results in order, in threads where the model is small."""
    if not is_small(model):
        yield from map(work, chunks)
        return
    workers = max(1, min(len(chunks), _cores()))
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, chunks)


@contextmanager
def one_core(model: Any) -> Iterator[None]:
    """One torch thread inside, for work on a small model that cannot be cut into chunks.

    Also keeps the numbers independent of how many cores a machine has.
    """
    threads = torch.get_num_threads()
    if is_small(model):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def is_small(model: Any) -> bool:
    """Whether threads pay: a model on the CPU with few parameters."""
    if next(model.parameters()).device.type != "cpu":
        return False
    return sum(parameter.numel() for parameter in model.parameters()) < SMALL


def _cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
