"""Rules of an extension: how many sub-tasks a task still needs, and which proposals become tasks.

`growth_released` has those of the released code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from methods.explore_instruct.parsing import Subtask
from methods.explore_instruct.tree import TaskTree

LONGEST = 12  # words of a task's name; longer ones are sentences


@dataclass(frozen=True)
class Growth:
    """Departure: sub-tasks that exist count towards the breadth, which is never exceeded.

    Attributes:
        most: largest number of sub-tasks of any task.
        least_examples: of a new sub-task.
    """

    most: int = 12
    least_examples: int = 1

    def missing(self, present: int, added: int, breadth: int) -> int:
        """Sub-tasks that a task still needs.

        Args:
            present: all of its sub-tasks, of which the search added `added`.
        """
        return min(breadth, self.most) - present

    def problem(self, tree: TaskTree, proposed: Subtask) -> str | None:
        """Why a proposal becomes no task, None if it does."""
        if len(proposed.name.split()) > LONGEST:
            return "no name"
        if len(proposed.examples) < self.least_examples:
            return "no examples"
        known = {folded(node.name) for node in tree.nodes.values()}
        return "repeated name" if folded(proposed.name) in known else None

    def room(self, missing: int, proposals: Sequence[Subtask]) -> int:
        """How many good proposals are taken, from the first."""
        return missing


def folded(name: str) -> str:
    """A name without case, punctuation and runs of blanks.

    >>> folded("  Style-Transfer ")
    'style transfer'
    """
    return re.sub(r"[\W_]+", " ", name).strip().casefold() or name.strip()
