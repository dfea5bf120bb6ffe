"""How many examples each task contributes to a sample, and the sample.

The share of a task is proportional to min(n_i, cap), n_i its number of examples (released code,
generate_instruction.py; cap 500). Departure: seats are allotted by largest remainder, so that they
sum to the requested number, and none is drawn twice; `sampling_released` has the released rule,
which takes the cut from the last tasks and repeats examples of the root.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from harness.core.errors import BadRecord

Example = TypeVar("Example")
CAP = 500


def allocate(sizes: Sequence[int], n: int, cap: int = CAP) -> list[int]:
    """Number of examples of each task, summing to min(n, sum of sizes).

    Quotas are n w_i / sum w with w_i = min(n_i, cap); a task whose quota exceeds its size gives all
    it has, and the others share the rest. Equal remainders go to the earlier task.

    >>> allocate([100, 1, 1], 50), allocate([3, 3, 3], 100), allocate([500, 500, 500], 100)
    ([49, 1, 0], [3, 3, 3], [34, 33, 33])

    Raises:
        BadRecord: a negative size or number, or a cap below 1.
    """
    check_sizes(sizes, n, cap)
    weights = [min(size, cap) for size in sizes]
    given = [0] * len(sizes)
    open_ = [i for i, size in enumerate(sizes) if size]
    left = min(n, sum(sizes))
    while open_:
        total = sum(weights[i] for i in open_)
        full = [i for i in open_ if left * weights[i] >= sizes[i] * total]
        if not full:
            break
        for i in full:
            given[i] = sizes[i]
        left -= sum(sizes[i] for i in full)
        open_ = [i for i in open_ if i not in set(full)]
    if open_:
        total = sum(weights[i] for i in open_)
        for i in open_:
            given[i] = left * weights[i] // total
        seats = left - sum(given[i] for i in open_)
        for i in sorted(open_, key=lambda i: (-(left * weights[i] % total), i))[:seats]:
            given[i] += 1
    return given


def check_sizes(sizes: Sequence[int], n: int, cap: int) -> None:
    """Refuse numbers that no allocation has; see `allocate`."""
    if n < 0 or cap < 1 or any(size < 0 for size in sizes):
        raise BadRecord(
            f"cannot sample {n} examples with cap {cap} from tasks of {list(sizes)[:8]}; expected "
            "numbers of at least 0 and a cap of at least 1"
        )


def draw(
    tasks: Mapping[str, Sequence[Example]], n: int, *, seed: int = 42, cap: int = CAP
) -> list[Example]:
    """A sample without replacement: tasks in the given order, examples in the order of each task.

    Which examples of a task are drawn depends on the seed, its id and its number of examples only.
    Leave pruned tasks out of `tasks`; fewer than n examples are returned if there are no more.
    """
    counts = allocate([len(examples) for examples in tasks.values()], n, cap)
    found: list[Example] = []
    for (id, examples), count in zip(tasks.items(), counts, strict=True):
        chosen = random.Random(f"{seed}/{id}").sample(range(len(examples)), count)
        found += [examples[place] for place in sorted(chosen)]
    return found
