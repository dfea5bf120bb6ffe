"""Extension of a task tree by an explorer, step by step, with a log of every decision.

    step      a task is asked for sub-tasks: one call, or a batch of calls at once
    decision  what was proposed, what became a task, what was dropped and why
    closing   a task is closed when it is complete, full, out of calls, or gives nothing new

Tasks that the policy chooses together are asked together; decisions are made in their order.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.backends.conversing import Turn
from harness.core.hashing import seed_from
from methods.explore_instruct.explorer import Call
from methods.explore_instruct.growth import Growth
from methods.explore_instruct.growth_released import GrowthReleased
from methods.explore_instruct.parsing import Reader, Subtask
from methods.explore_instruct.policy import POLICIES, Move
from methods.explore_instruct.prompts import Wording
from methods.explore_instruct.settings import Extension
from methods.explore_instruct.tree import Example, Node, TaskTree


class Asks(Protocol):
    """What answers calls, in their order; see `methods.explore_instruct.explorer.Explorer`."""

    def ask(self, calls: Sequence[Call]) -> list[Turn]: ...


@dataclass
class _State:
    """A task during the search.

    Attributes:
        idle: calls in a row without a new sub-task.
        closed: why nothing more is asked.
    """

    calls: int = 0
    steps: int = 0
    added: int = 0
    idle: int = 0
    closed: str = ""


@dataclass
class Extending:
    """A search in progress; `run` changes the tree and returns the log.

    Args:
        seed: of the choice of demonstrations.
    """

    tree: TaskTree
    settings: Extension
    wording: Wording
    reader: Reader
    seed: int
    states: dict[str, _State] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        how = self.settings
        kind = GrowthReleased if how.released else Growth
        self.growth = kind(how.max_children, how.least_examples)
        self.policy = POLICIES[how.policy]

    def run(self, explorer: Asks) -> list[dict[str, Any]]:
        """Extend until no task is open."""
        while chosen := self.policy.choose(self.tree, self._open()):
            calls = {id: self._calls(id) for id in chosen}
            turns = iter(explorer.ask([call for id in chosen for call in calls[id]]))
            for id in chosen:
                self._decide(id, [next(turns) for _ in calls[id]])
        return self.log

    def _open(self) -> set[str]:
        found = set()
        for node in self.tree.before():
            depth = self.tree.depth(node.id)
            if depth >= self.settings.depth:
                continue
            state = self.states.setdefault(node.id, _State())
            state.closed = state.closed or self._closing(node, state)
            if not state.closed:
                found.add(node.id)
        return found

    def _closing(self, node: Node, state: _State) -> str:
        if self._missing(node) <= 0:
            return "complete"
        if len(node.children) >= self.settings.max_children:
            return "full"
        if state.calls >= self.settings.max_calls:
            return "out of calls"
        return "nothing new" if state.idle >= self.settings.patience else ""

    def _missing(self, node: Node) -> int:
        breadth = self.settings.breadth[self.tree.depth(node.id)]
        return self.growth.missing(len(node.children), self.states[node.id].added, breadth)

    def _number(self, node: Node) -> int:
        wanted = self.policy.number(self._missing(node), self.settings.per_call)
        return min(wanted, self.settings.max_children - len(node.children))

    def _calls(self, id: str) -> list[Call]:
        node, state, how = self.tree[id], self.states[id], self.settings
        existing = [child.name for child in self.tree.children(id)]
        found = []
        for number in range(min(how.batch, how.max_calls - state.calls)):
            name = f"extend/{id}#{state.calls + number + 1}"
            shown = demonstrations(self.tree, id, how.demonstrations, self.seed, name)
            prompt = self.wording.extend(
                node.name,
                shown,
                existing,
                [peer.name for peer in self.tree.peers(id)],
                self._number(node),
                total=how.max_children,
                examples=how.examples,
            )
            found.append(Call(name, prompt))
        return found

    def _decide(self, id: str, turns: Sequence[Turn]) -> None:
        node, state = self.tree[id], self.states[id]
        move: Move = "backtracking" if state.steps else "lookahead"
        asked, missing = self._number(node), self._missing(node)
        read = [self.reader.subtasks(turn.text, turn.finish) for turn in turns]
        proposals = [one for reply in read for one in reply.subtasks]
        kept, dropped = self._added(id, proposals, self.growth.room(missing, proposals))
        state.steps += 1
        state.calls += len(turns)
        state.added += len(kept)
        state.idle = 0 if kept else state.idle + len(turns)
        state.closed = self._closing(node, state)
        rejected = sum((reply.rejected for reply in read), Counter[str]())
        self.log.append(
            {
                "step": len(self.log) + 1,
                "move": move,
                "task": id,
                "depth": self.tree.depth(id),
                "calls": len(turns),
                "asked_for": asked,
                "missing": missing,
                "kept": kept,
                "dropped": dropped,
                "rejected_examples": dict(sorted(rejected.items())),
                "forms": [reply.form for reply in read],
                "cut": sum(turn.finish == "length" for turn in turns),
                "failures": [turn.error for turn in turns if turn.error is not None],
                "closed": state.closed or None,
            }
        )

    def _added(
        self, id: str, proposals: Sequence[Subtask], room: int
    ) -> tuple[list[str], list[list[str]]]:
        """Ids of the new tasks, and [name, reason] of the dropped proposals."""
        kept: list[str] = []
        dropped: list[list[str]] = []
        for one in proposals:
            problem = self.growth.problem(self.tree, one)
            if problem is None and len(kept) >= room:
                problem = "more than asked for"
            if problem is not None:
                dropped.append([one.name[:200], problem])
                continue
            kept.append(self.tree.add(id, one.name, one.reason, one.examples).id)
        return kept, dropped


def demonstrations(tree: TaskTree, id: str, n: int, seed: int, call: str) -> list[Example]:
    """Random examples to show in a call, all different; fewer if there are fewer."""
    pool = tree.demonstrations(id)
    rng = random.Random(seed_from("demonstrations", seed, call))
    return rng.sample(pool, min(n, len(pool)))
