"""Running chunks of work on a small CPU model in threads, one core each.

Splitting each operation of a tiny model over several cores costs more time than it saves, above all
on a busy machine; running whole chunks in parallel uses the cores well. A chunk runs the same
operations for any number of threads, so results do not depend on that number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from harness.core.machine import cores

SMALL = 20_000_000  # parameters

A = TypeVar("A")
B = TypeVar("B")


def map_chunks(work: Callable[[A], B], chunks: Sequence[A], model: Any) -> Iterator[B]:
    """Apply `work` to each chunk, in threads if the model is small; results are in order."""
    if not is_small(model):
        yield from map(work, chunks)
        return
    workers = max(1, min(len(chunks), cores()))
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, chunks)


@contextmanager
def one_core(model: Any) -> Iterator[None]:
    """Limit torch to one thread, for work on a small model that cannot be split into chunks.

    Results then do not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    if is_small(model):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def is_small(model: Any) -> bool:
    """Whether threads save time: a model with few parameters on the CPU."""
    if next(model.parameters()).device.type != "cpu":
        return False
    return sum(parameter.numel() for parameter in model.parameters()) < SMALL
