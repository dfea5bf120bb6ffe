"""The nano world: a closed, seeded set of English questions whose answers can all be checked.

Eight skills (`skills`) over invented facts (`facts`) give about twenty thousand prompts. Each
prompt belongs to exactly one split, chosen by a hash of its text (`splits`), so splits never
overlap. Responses are graded in five aspects (`grading`), and responses of any quality can be
written (`rendering`); these are the training texts of the zoo's models.

>>> item = items("alpaca_eval2", 1)[0]
>>> grade(item, reference_answer(item)).total
1.0
"""

from harness.nano.world.grading import WEIGHTS, Grade, answer_line, grade
from harness.nano.world.open_questions import (
    OPEN_DOMAINS,
    OPEN_SPLITS,
    OPEN_VERSION,
    OpenQuestion,
    draw_open,
    open_answer,
    open_pairs,
    open_questions,
)
from harness.nano.world.rendering import (
    OPENERS,
    QUALITIES,
    baseline_answer,
    mistake,
    reference_answer,
    render,
)
from harness.nano.world.splits import LARGE, SPLITS, VERSION, find, find_conversation, items
from harness.nano.world.types import CATEGORY, FORMATS, SKILLS, Item, Truth

__all__ = [
    "CATEGORY",
    "FORMATS",
    "LARGE",
    "OPENERS",
    "OPEN_DOMAINS",
    "OPEN_SPLITS",
    "OPEN_VERSION",
    "QUALITIES",
    "SKILLS",
    "SPLITS",
    "VERSION",
    "WEIGHTS",
    "Grade",
    "Item",
    "OpenQuestion",
    "Truth",
    "answer_line",
    "baseline_answer",
    "draw_open",
    "find",
    "find_conversation",
    "grade",
    "items",
    "mistake",
    "open_answer",
    "open_pairs",
    "open_questions",
    "reference_answer",
    "render",
]
