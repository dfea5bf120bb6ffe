"""Questions of the nano world for lm-eval: two multiple-choice tasks and one with free answers.

    crucible_nano_facts    96 prompts on people, animals and towns; six choices, chance 1 in 6
    crucible_nano_skills  164 prompts on numbers, lists and words; four choices, chance 1 in 4
    crucible_nano_answers all 260 prompts, answered freely; chance 0
    crucible_nano_open    900 open questions and unseen answers; four choices, one right

The prompts of the first three are from the evaluation splits, on which no shipped model was
trained. A choice is the answer line alone, with the correct value or another one: only a model that
knows the value, or computes it without writing, can tell the choices apart.
"""

from __future__ import annotations

import random

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.engine.operations import Row
from harness.nano import world
from harness.nano.world import Item

SPLITS = ("alpaca_eval2", "arena_hard")
FACTS = ("persona", "fact", "place")
CHOICES = {"crucible_nano_facts": 6, "crucible_nano_skills": 4}
OPEN = "crucible_nano_open"
TASKS = (*CHOICES, "crucible_nano_answers", OPEN)
_OPEN_CHOICES, _OPEN_QUESTIONS = 4, 900


def version(task: str) -> str:
    """Version of a task's questions."""
    return f"{world.VERSION}.{world.OPEN_VERSION}" if task == OPEN else str(world.VERSION)


def rows(task: str) -> list[Row]:
    """Documents of a nano task, always the same.

    Raises:
        UnknownName: there is no such task.
    """
    if task not in TASKS:
        raise unknown("task of the nano world", task, TASKS)
    if task == OPEN:
        return [_opened(*pair) for pair in world.open_pairs("unseen")[:_OPEN_QUESTIONS]]
    items = [item for split in SPLITS for item in world.items(split)]
    if task == "crucible_nano_answers":
        return [{**_asked(item), "answer": item.truths[0].main} for item in items]
    wanted = [item for item in items if (item.skill in FACTS) == (task == "crucible_nano_facts")]
    return [_chosen(item, CHOICES[task]) for item in wanted]


def _asked(item: Item) -> Row:
    return {"id": item.id, "skill": item.skill, "question": item.turns[0]}


def _opened(question: world.OpenQuestion, answer: str) -> Row:
    """A right answer among wrong ones of its kind."""
    rng = random.Random(seed_from("choices", question.text, answer))
    wrong = [value for value in question.pool if value not in question.right]
    values = [answer, *rng.sample(wrong, _OPEN_CHOICES - 1)]
    rng.shuffle(values)
    return {
        "id": f"open/{question.text}/{answer}",
        "skill": question.domain,
        "question": question.text,
        "choices": [world.open_answer(value) for value in values],
        "gold": values.index(answer),
    }


def _chosen(item: Item, count: int) -> Row:
    truth = item.truths[0]
    rng = random.Random(seed_from("choices", item.id))
    values = [truth.main]
    while len(values) < count:
        # A short word has few misspellings; misspellings of misspellings serve as well.
        value = world.mistake(rng.choice(values), rng)
        if value not in values:
            values.append(value)
    rng.shuffle(values)
    texts = [world.answer_line(value, truth.second, item.format) for value in values]
    return {**_asked(item), "choices": texts, "gold": values.index(truth.main)}
