"""Data of the nano world under the scheme `nano:`, for each kind of data.

nano:<split>                            prompts, and documents with their correct answers
nano:planted/train                      instructions, see `harness.nano.planted`
nano:planted/test[/<model>]             questions about other facts, see there
nano:plain, verbose, concise            baseline answers
nano:reference                          reference answers of prompts graded beside one
nano:essays, nano:posts (also /train)   authors, see `harness.nano.authors`
nano:facts, attributes, notes, labelled question sets, see `harness.nano.knowledge`
crucible_nano_<task>                    questions for lm-eval, see `harness.nano.questions`
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import unknown
from harness.core.hashing import digest
from harness.data.answers import Find, ImportAnswersParams, turns_of
from harness.data.authors import ImportAuthorsParams
from harness.data.prompts import ImportPromptsParams
from harness.data.question_rows import QuestionSet
from harness.data.question_sets import ImportQuestionSetParams
from harness.data.sources import Source
from harness.distillation.corpus import DocumentsParams
from harness.engine.operations import Row
from harness.nano import authors, knowledge, planted, questions, world

SCHEME = "nano:"
PLANTED = "nano:planted/"
REFERENCE = "reference"


def _items(ref: str) -> Sequence[world.Item]:
    split = ref.removeprefix(SCHEME)
    if split not in world.SPLITS:
        raise unknown("nano split", split, world.SPLITS)
    return world.items(split)


def _prompts(params: ImportPromptsParams) -> list[Row]:
    """Prompt rows; `answer` only if it is carried, so that other artifacts stay as they were."""
    answers = "answer" in params.carry.values()
    return [
        {
            "id": item.id,
            "messages": [{"role": "user", "content": item.turns[0]}],
            "turns": list(item.turns),
            "skill": item.skill,
            "difficulty": item.difficulty,
            "category": item.category,
            **({"answer": item.truths[0].main} if answers else {}),
            **({} if item.cluster is None else {"cluster": item.cluster}),
        }
        for item in _items(params.ref)
    ]


def _documents(params: DocumentsParams) -> list[Row]:
    if params.ref.startswith(PLANTED):
        return planted.instructions(params.ref.removeprefix(PLANTED))
    return [
        {
            "id": item.id,
            "messages": [{"role": "user", "content": item.turns[0]}],
            "response": world.reference_answer(item),
            "domain": item.skill,
        }
        for item in _items(params.ref)
    ]


def _answers(params: ImportAnswersParams) -> Find:
    flavour = params.source.removeprefix(SCHEME)

    def find(row: Row) -> list[str]:
        turns = turns_of(row)
        found = world.find_conversation(turns)
        if found is None:
            return []
        item = found[0]
        if flavour != REFERENCE:
            return [world.baseline_answer(item, turn, flavour) for turn in range(len(turns))]
        if not item.reference_guided:
            return []
        return [world.reference_answer(item, turn) for turn in range(len(turns))]

    return find


def _authors(ref: str) -> list[Row]:
    return authors.rows(ref.removeprefix(SCHEME))


def _question_set(ref: str) -> QuestionSet:
    if ref.startswith(PLANTED):
        return QuestionSet.of(planted.questions(ref.removeprefix(PLANTED)))
    return knowledge.rows(ref)


def _at_version(ref: str, revision: str | None) -> str:
    if ref.startswith(PLANTED):
        name = ref.removeprefix(PLANTED)
        return f"{ref}@{digest(planted.instructions(name))[:16]}"
    return f"{ref}@{world.VERSION}"


SOURCES = {
    "prompts": Source("nano:<split>", _at_version, _prompts, at_hand=True),
    "documents": Source("nano:<split>", _at_version, _documents, at_hand=True),
    "answers": Source(
        "nano:<flavour>",
        lambda ref, revision: f"world@{world.VERSION}",
        _answers,
        at_hand=True,
    ),
    "authors": Source[ImportAuthorsParams, list[Row]](
        "nano:essays, nano:posts",
        lambda ref, revision: f"{ref}@{digest(_authors(ref))}",
        lambda params: _authors(params.ref),
        count=lambda params: len(_authors(params.ref)),
        at_hand=True,
    ),
    "question sets": Source[ImportQuestionSetParams, QuestionSet](
        "nano:facts, nano:attributes[/<percent>], nano:notes, nano:labelled, nano:planted/test",
        lambda ref, revision: f"{ref}@{world.VERSION}.{digest(_question_set(ref).rows)[:8]}",
        lambda params: _question_set(params.ref),
        count=lambda params: len(_question_set(params.ref).rows),
        at_hand=True,
    ),
    "questions": Source(
        ", ".join(questions.TASKS),
        lambda ref, revision: str(world.VERSION),
        questions.rows,
        at_hand=True,
    ),
}
