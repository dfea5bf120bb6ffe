"""Where a search goes next: lookahead into a task, and backtracking to a task above.

A task is open while sub-tasks may be added to it. A policy chooses among open tasks:

    breadth_first   all open tasks of the lowest depth that has any; they are asked at once
                    (released code)
    depth_first     the first open task without an open task below it: lookahead into the task that
                    was added last comes first, then backtracking to its parent for further
                    sub-tasks (paper, section 3.1)

A step on a task is a lookahead if it is its first one, and backtracking otherwise: a further
request about a task that has sub-tasks by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from methods.explore_instruct.tree import TaskTree

PolicyName = Literal["breadth_first", "depth_first"]
Move = Literal["lookahead", "backtracking"]


@dataclass(frozen=True)
class Policy:
    """A search order.

    Attributes:
        choose: (tree, ids of open tasks) -> tasks to extend now; [] ends the search.
        number: (missing sub-tasks, M) -> sub-tasks to ask for in one call.
    """

    choose: Callable[[TaskTree, Collection[str]], list[str]]
    number: Callable[[int, int], int]


def _level(tree: TaskTree, open: Collection[str]) -> list[str]:
    for level in tree.levels():
        found = [node.id for node in level if node.id in open]
        if found:
            return found
    return []


def _deepest(tree: TaskTree, open: Collection[str]) -> list[str]:
    def first(id: str) -> str | None:
        below = (first(child) for child in tree[id].children)
        found = next((one for one in below if one is not None), None)
        return found or (id if id in open else None)

    chosen = first(tree.root)
    return [] if chosen is None else [chosen]


POLICIES: dict[PolicyName, Policy] = {
    "breadth_first": Policy(_level, max),
    "depth_first": Policy(_deepest, lambda missing, m: m),
}
