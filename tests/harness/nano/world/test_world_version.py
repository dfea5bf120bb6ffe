"""The world's version follows its content."""

from __future__ import annotations

from harness.core.hashing import digest
from harness.nano import world

# (version, digest): change the content, raise world.VERSION, and record both here.
RECORDED = (1, "0fb33ac42289453aaefd09177df211fa")


def test_the_content_of_this_version() -> None:
    content = []
    for split in world.SPLITS:
        for item in world.items(split, 40):
            turns = range(len(item.turns))
            content.append([item.id, item.turns, [world.reference_answer(item, t) for t in turns]])
            content += [world.baseline_answer(item, 0, f) for f in ("plain", "verbose", "concise")]
    assert (world.VERSION, digest(content)) == RECORDED
