"""Extension as released: existing sub-tasks do not count, and everything that is proposed is kept.

So a batch overshoots both the number of new sub-tasks and the limit of 12, names repeat, and a
sub-task may have no examples. A search is bounded by its budget of calls here; the released program
asks a task with 12 sub-tasks for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from methods.explore_instruct.growth import Growth
from methods.explore_instruct.parsing import Subtask
from methods.explore_instruct.tree import TaskTree


@dataclass(frozen=True)
class GrowthReleased(Growth):
    """The released rules."""

    def missing(self, present: int, added: int, breadth: int) -> int:
        return breadth - added

    def problem(self, tree: TaskTree, proposed: Subtask) -> str | None:
        return None if proposed.name.strip() else "no name"

    def room(self, missing: int, proposals: Sequence[Subtask]) -> int:
        return len(proposals)
