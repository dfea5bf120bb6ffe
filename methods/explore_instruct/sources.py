"""Where seed trees come from.

seed:<domain>      one task with four examples: brainstorming, rewriting, math
nano:skills/part   the domain of `harness.nano.skills` with one of its four families
nano:skills/all    the same with all tasks
<folder>           a tree in the released layout, such as an artifact of the search
<file>.json        nested tasks that contain their examples
"""

from __future__ import annotations

import random
from pathlib import Path

from harness.core.errors import unknown
from harness.core.hashing import file_digest, folder_digest, seed_from
from harness.data.sources import Kind, Source, file_identity
from harness.nano import skills
from methods.explore_instruct.files import read_tree
from methods.explore_instruct.tree import Example, TaskTree

SEEDS = Path(__file__).with_name("seeds")
NANO = "nano:skills/"
NANO_FAMILIES = {"part": skills.FAMILIES[:1], "all": skills.FAMILIES}
NANO_EXAMPLES = 2


def seeds() -> list[str]:
    """Domains with a seed tree of this package."""
    return sorted(path.stem for path in SEEDS.glob("*.json"))


def _seed_file(ref: str) -> Path:
    name = ref.partition(":")[2]
    if name not in seeds():
        raise unknown("seed tree", name, seeds())
    return SEEDS / f"{name}.json"


def _nano(ref: str) -> TaskTree:
    name = ref.removeprefix(NANO)
    if name not in NANO_FAMILIES:
        raise unknown("task tree of nano:skills", name, NANO_FAMILIES)
    rng = random.Random(seed_from("seed tree", skills.VERSION, name))

    def examples(task: str) -> list[Example]:
        found = [skills.typical(task, rng).example(rng) for _ in range(NANO_EXAMPLES)]
        return [Example(instruction=asked, output=said) for asked, said in found]

    tree = TaskTree.rooted(skills.ROOT, examples=examples(skills.ROOT))
    for family in NANO_FAMILIES[name]:
        node = tree.add(tree.root, family, "", examples(family))
        for task in skills.below(family):
            tree.add(node.id, task, "", examples(task))
    return tree


def _read(ref: str) -> TaskTree:
    return read_tree(Path(ref).expanduser())


TASK_TREES: Kind[str, TaskTree] = Kind(
    "task trees",
    schemes={
        "seed": Source(
            "seed:<domain>",
            lambda ref, revision: file_digest(_seed_file(ref)),
            lambda ref: read_tree(_seed_file(ref)),
            at_hand=True,
        ),
        "nano": Source(
            "nano:skills/part, nano:skills/all",
            lambda ref, revision: f"{ref}@{skills.VERSION}",
            _nano,
            at_hand=True,
        ),
    },
    file=Source("a .json file of nested tasks", file_identity, _read, at_hand=True),
    folder=Source(
        "a folder in the layout of Explore-Instruct",
        lambda ref, revision: folder_digest(Path(ref).expanduser()),
        _read,
        at_hand=True,
    ),
)
