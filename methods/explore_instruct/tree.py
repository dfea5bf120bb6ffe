"""The task tree: tasks of a domain, each with a reason, sub-tasks and examples.

    tree = TaskTree.rooted("Rewriting")
    node = tree.add(tree.root, "Tone adjustment", "Readers need different tones.", examples)
    tree.levels()          # nodes in level order: root, its sub-tasks, theirs
    tree.peers(node.id)    # the other sub-tasks of its parent

Ids are unique and never empty (`methods.explore_instruct.names`); names need not be unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from harness.core.errors import BadData
from harness.core.records import Record
from methods.explore_instruct.names import task_id


class Example(Record):
    """One instruction with its input ("" for none) and output."""

    instruction: str
    input: str = ""
    output: str


@dataclass
class Node:
    """A task.

    Attributes:
        id: identifier, and name of its file.
        pruned: listed by pruning; filters and samples leave the node out.
        children: ids, in order of addition.
    """

    id: str
    name: str
    reason: str = ""
    parent: str | None = None
    children: list[str] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    pruned: bool = False


@dataclass
class TaskTree:
    """Nodes by id; `root` is the id of the first one."""

    root: str
    nodes: dict[str, Node]

    @classmethod
    def rooted(cls, name: str, reason: str = "", examples: Iterable[Example] = ()) -> TaskTree:
        """A tree of one task."""
        id = task_id(name, ())
        return cls(id, {id: Node(id, name, reason, examples=list(examples))})

    def __getitem__(self, id: str) -> Node:
        return self.nodes[id]

    def __len__(self) -> int:
        return len(self.nodes)

    def add(self, parent: str, name: str, reason: str, examples: Iterable[Example]) -> Node:
        """Add a sub-task with a new id."""
        return self.attach(parent, Node(task_id(name, self.nodes), name, reason), examples)

    def attach(self, parent: str, node: Node, examples: Iterable[Example] = ()) -> Node:
        """Add a node that has an id.

        Raises:
            BadData: the id exists.
        """
        if node.id in self.nodes:
            raise BadData(f'the task tree has two nodes with the id "{node.id}"')
        added = replace(node, parent=parent, children=[], examples=[*node.examples, *examples])
        self.nodes[added.id] = added
        self.nodes[parent].children.append(added.id)
        return added

    def depth(self, id: str) -> int:
        """Number of steps to the root."""
        parent = self.nodes[id].parent
        return 0 if parent is None else 1 + self.depth(parent)

    def children(self, id: str) -> list[Node]:
        return [self.nodes[child] for child in self.nodes[id].children]

    def peers(self, id: str) -> list[Node]:
        """The other sub-tasks of the parent."""
        parent = self.nodes[id].parent
        return [] if parent is None else [node for node in self.children(parent) if node.id != id]

    def levels(self) -> Iterator[list[Node]]:
        """The nodes of each depth, from the root; the concatenation is the level order."""
        level = [self.nodes[self.root]]
        while level:
            yield level
            level = [child for node in level for child in self.children(node.id)]

    def in_levels(self) -> list[Node]:
        """All nodes in level order."""
        return [node for level in self.levels() for node in level]

    def before(self, id: str | None = None) -> Iterator[Node]:
        """The nodes below `id` (default: the root), each before its sub-tasks."""
        node = self.nodes[self.root if id is None else id]
        yield node
        for child in node.children:
            yield from self.before(child)

    def kept(self) -> list[Node]:
        """Nodes in level order without pruned ones."""
        return [node for node in self.in_levels() if not node.pruned]

    def demonstrations(self, id: str) -> list[Example]:
        """Examples to show in a prompt about sub-tasks of a node's parent: the parent's own.

        The root shows its own; a parent without examples lends those of the nearest task above it,
        else the node's own.
        """
        parent = self.nodes[id].parent
        while parent is not None:
            if self.nodes[parent].examples:
                return self.nodes[parent].examples
            parent = self.nodes[parent].parent
        return self.nodes[id].examples
