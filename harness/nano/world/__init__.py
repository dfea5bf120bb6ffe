"""The nano world: a closed, seeded, English mini universe whose every answer can be checked."""

from harness.nano.world.grading import WEIGHTS, Grade, answer_line, grade
from harness.nano.world.rendering import (
    OPENERS,
    QUALITIES,
    baseline_answer,
    mistake,
    reference_answer,
    render,
)
from harness.nano.world.splits import SPLITS, VERSION, find, find_conversation, items
from harness.nano.world.types import CATEGORY, FORMATS, SKILLS, Item, Truth

__all__ = [
    "CATEGORY",
    "FORMATS",
    "OPENERS",
    "QUALITIES",
    "SKILLS",
    "SPLITS",
    "VERSION",
    "WEIGHTS",
    "Grade",
    "Item",
    "Truth",
    "answer_line",
    "baseline_answer",
    "find",
    "find_conversation",
    "grade",
    "items",
    "mistake",
    "reference_answer",
    "render",
]
