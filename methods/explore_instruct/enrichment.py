"""Enrichment: an explorer writes examples until every task has enough of them.

Tasks of one depth are asked together, after those above them, whose examples their prompts show.
Each round sends up to `batch` calls per task, and no more than its missing examples need. Replies
are taken in the order of calls; what exceeds the number of examples is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.backends.conversing import Turn
from methods.explore_instruct.explorer import Call
from methods.explore_instruct.extension import Asks, demonstrations
from methods.explore_instruct.parsing import Reader
from methods.explore_instruct.prompts import Wording
from methods.explore_instruct.settings import Enrichment
from methods.explore_instruct.tree import Example, Node, TaskTree


@dataclass
class _State:
    """A task during enrichment.

    Attributes:
        seen: instruction and input of its examples.
        idle, closed: see `methods.explore_instruct.extension`.
    """

    seen: set[tuple[str, str]]
    calls: int = 0
    idle: int = 0
    closed: str = ""
    rejected: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    cut: int = 0


@dataclass
class Enriching:
    """An enrichment in progress; `run` changes the tree and returns one log entry per task."""

    tree: TaskTree
    settings: Enrichment
    wording: Wording
    reader: Reader
    seed: int

    def run(
        self, explorer: Asks, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[dict[str, Any]]:
        """Enrich all tasks that are not pruned, level by level.

        Args:
            progress: (examples so far, examples wanted).
        """
        log = []
        for level in self.tree.levels():
            nodes = [node for node in level if not node.pruned]
            before = {node.id: len(node.examples) for node in nodes}
            states = self._enrich(nodes, explorer, progress)
            log += [_entry(node, before[node.id], states[node.id]) for node in nodes]
        return log

    def _enrich(
        self, nodes: Sequence[Node], explorer: Asks, progress: Callable[[int, int], None]
    ) -> dict[str, _State]:
        states = {
            node.id: _State({(one.instruction, one.input) for one in node.examples})
            for node in nodes
        }
        kept = self.tree.kept()
        while True:
            calls = {node.id: self._calls(node, states[node.id]) for node in nodes}
            asked = [call for node in nodes for call in calls[node.id]]
            if not asked:
                return states
            turns = iter(explorer.ask(asked))
            for node in nodes:
                for _ in calls[node.id]:
                    self._take(node, states[node.id], next(turns))
            done = sum(min(len(node.examples), self.settings.examples) for node in kept)
            progress(done, len(kept) * self.settings.examples)

    def _calls(self, node: Node, state: _State) -> list[Call]:
        how = self.settings
        missing = how.examples - len(node.examples)
        if missing <= 0:
            state.closed = "complete"
        elif state.calls >= how.budget:
            state.closed = "out of calls"
        elif state.idle >= how.patience:
            state.closed = "nothing new"
        if state.closed:
            return []
        number = min(how.batch, -(-missing // how.per_call), how.budget - state.calls)
        return [self._call(node, state.calls + n + 1) for n in range(number)]

    def _call(self, node: Node, number: int) -> Call:
        name = f"enrich/{node.id}#{number}"
        shown = demonstrations(self.tree, node.id, self.settings.demonstrations, self.seed, name)
        parent = self.tree[node.id if node.parent is None else node.parent]
        prompt = self.wording.enrich(
            parent.name,
            shown,
            node.name,
            node.reason,
            [peer.name for peer in self.tree.peers(node.id)],
            [peer.name for peer in self.tree.peers(parent.id)],
            self.settings.per_call,
        )
        return Call(name, prompt)

    def _take(self, node: Node, state: _State, turn: Turn) -> None:
        state.calls += 1
        read = self.reader.examples(turn.text, turn.finish)
        new = self._new(read.examples, state)
        room = max(0, self.settings.examples - len(node.examples))
        node.examples += new[:room]
        state.rejected += read.rejected
        if len(new) > room:
            state.rejected["more than needed"] += len(new) - room
        state.idle = 0 if new else state.idle + 1
        state.cut += turn.finish == "length"
        if turn.error is not None:
            state.failures[turn.error] += 1
        else:
            state.forms[read.form or "unreadable"] += 1

    def _new(self, examples: Sequence[Example], state: _State) -> list[Example]:
        if not self.settings.unique:
            return list(examples)
        found = []
        for one in examples:
            if (one.instruction, one.input) in state.seen:
                state.rejected["repeated"] += 1
                continue
            state.seen.add((one.instruction, one.input))
            found.append(one)
        return found


def _entry(node: Node, before: int, state: _State) -> dict[str, Any]:
    return {
        "task": node.id,
        "calls": state.calls,
        "before": before,
        "examples": len(node.examples),
        "rejected": dict(sorted((+state.rejected).items())),
        "forms": dict(sorted(state.forms.items())),
        "cut": state.cut,
        "failures": dict(sorted(state.failures.items())),
        "closed": state.closed,
    }
