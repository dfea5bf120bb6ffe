"""Sampling as released: a rounded-up share per task, cut at the end, filled from the root.

Pruned tasks are computed there and sampled nevertheless: give `draw_released` all tasks.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from harness.core.errors import UserError
from methods.explore_instruct.sampling import CAP, Example, check_sizes


def allocate_released(
    sizes: Sequence[int], n: int, cap: int = CAP
) -> tuple[list[int], list[int], int]:
    """Drawn per task, what remains of them after the cut to n, and the shortfall.

    Drawn are min(int(n min(n_i, cap) / sum min(n_j, cap)) + 1, n_i) examples of each task.

    >>> allocate_released([100, 1, 1], 50)
    ([50, 1, 1], [50, 0, 0], 0)
    """
    check_sizes(sizes, n, cap)
    weights = [min(size, cap) for size in sizes]
    total = sum(weights)
    drawn = [
        min(int(n * weight / total) + 1, size) if total else 0
        for weight, size in zip(weights, sizes, strict=True)
    ]
    kept, left = [], n
    for count in drawn:
        kept.append(min(count, left))
        left -= kept[-1]
    return drawn, kept, left


def draw_released(
    tasks: Mapping[str, Sequence[Example]], n: int, *, seed: int = 42, cap: int = CAP
) -> list[Example]:
    """The sample of tasks in level order, the root first; its examples may occur twice.

    Raises:
        UserError: the root has fewer examples than are missing, where the released code fails.
    """
    generator = random.Random(seed)
    drawn, _, shortfall = allocate_released([len(each) for each in tasks.values()], n, cap)
    found: list[Example] = []
    for examples, count in zip(tasks.values(), drawn, strict=True):
        found += generator.sample(list(examples), count)
    root = list(next(iter(tasks.values()), ()))
    if shortfall > len(root):
        raise UserError(
            f"{len(found)} examples for a sample of {n}, and the root has {len(root)} to fill it: "
            'ask for fewer, or use the allocation "largest_remainder"'
        )
    return found[:n] + generator.sample(root, shortfall)
