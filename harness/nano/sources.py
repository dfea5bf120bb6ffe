"""Data of the nano world under the scheme `nano:`, for each kind of data.

nano:<split>                            prompts, correct answers as documents, preferences, pairs
nano:<benchmark>/large                  the same for a larger set of a benchmark's prompts
nano:open/train, /unseen, /all          documents: open questions with a right answer each
nano:texts/train, /unseen, /all         documents: open questions and correct answers in turn
nano:<split>/unordered                  the same pairs; a coin decides which answer is chosen
nano:planted/train                      instructions, see `harness.nano.planted`
nano:planted/test[/<model>]             questions about other facts, see there
nano:plain, verbose, concise            baseline answers
nano:reference                          reference answers of prompts graded beside one
nano:essays, nano:posts                 authors; also /train, /large, see `harness.nano.authors`
nano:facts, attributes, notes, labelled question sets, see `harness.nano.knowledge`
nano:dialogues, nano:distinct_dialogues (also /train, /valid, /large), see `harness.nano.dialogues`
nano:symbols/<split>                    prompts of the world of symbols, see `harness.nano.symbols`
nano:symbols/costly, free, even         rated answers to its prompts
nano:skills/test                        questions of a domain, see `harness.nano.skills`
nano:skills/curated                     instruction data on a part of it
crucible_nano_<task>                    questions for lm-eval, see `harness.nano.questions`
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from functools import cache, partial

from harness.core.errors import unknown
from harness.core.hashing import digest, seed_from
from harness.data.answers import Find, ImportAnswersParams, turns_of
from harness.data.authors import ImportAuthorsParams
from harness.data.dialogues import DialogueSet, ImportDialoguesParams
from harness.data.pairs import ImportPairsParams
from harness.data.preferences import ImportPreferencesParams, Items
from harness.data.prompts import ImportPromptsParams
from harness.data.question_rows import QuestionSet
from harness.data.question_sets import ImportQuestionSetParams
from harness.data.rated import ImportRatedParams
from harness.data.sources import Source
from harness.data.truths import Grader, Knows, Sign, Verity
from harness.distillation.corpus import DocumentsParams
from harness.engine.operations import Row
from harness.nano import (
    authors,
    dialogues,
    knowledge,
    planted,
    questions,
    skills,
    symbols,
    world,
)

SCHEME = "nano:"
PLANTED = "nano:planted/"
KNOWN = "known_"  # base models with planted facts
SKILLS = f"{SCHEME}{skills.PREFIX}"
OPEN = f"{SCHEME}open/"
TEXTS = f"{SCHEME}texts/"
REFERENCE = "reference"
UNORDERED = "/unordered"
# Frequencies of qualities of written answers: two of each prompt make a pair, a third one is a
# neutral example of the same mixture, which prefers nothing.
WRITTEN = {
    "excellent": 30, "good": 10, "sloppy": 10, "plain": 12, "padded": 12, "wrong": 12,
    "evasive": 14,
}  # fmt: skip


def _items(ref: str) -> Sequence[world.Item]:
    return world.items(ref.removeprefix(SCHEME))


def _of_symbols(ref: str) -> str:
    """Name of a set of the world of symbols; "" for other sets."""
    name = ref.removeprefix(SCHEME)
    return name.removeprefix(symbols.PREFIX) if name.startswith(symbols.PREFIX) else ""


def _prompts(params: ImportPromptsParams) -> list[Row]:
    """Prompt rows; `answer` and `answer_line` (both parts of it) only if they are carried, so that
    other artifacts stay as they were."""
    if split := _of_symbols(params.ref):
        return symbols.prompts_of(split)
    if params.ref.startswith(SKILLS):
        return skills.prompts_of(params.ref.removeprefix(SKILLS))
    answers = "answer" in params.carry.values()
    lines = "answer_line" in params.carry.values()
    return [
        {
            "id": item.id,
            "messages": [{"role": "user", "content": item.turns[0]}],
            "turns": list(item.turns),
            "skill": item.skill,
            "difficulty": item.difficulty,
            "category": item.category,
            **({"answer": item.truths[0].main} if answers else {}),
            **({"answer_line": _line(item)} if lines else {}),
            **({} if item.cluster is None else {"cluster": item.cluster}),
        }
        for item in _items(params.ref)
    ]


def _line(item: world.Item) -> str:
    """Both parts of the answer, as a prompt that asks for brackets wants them."""
    line = f"{item.truths[0].main}, {item.truths[0].second}"
    return f"[{line}]" if item.format == "brackets" else line


def _preferences(params: ImportPreferencesParams) -> Items:
    """Quadruples: an excellent answer of a source, a good and a bad one of the target."""
    for item in _items(params.ref):
        rng = random.Random(seed_from("preferences", 0, item.id))
        bad = rng.choice(("wrong", "evasive", "padded"))
        texts = {
            "source": world.reference_answer(item),
            "target": world.render(item, 0, "good", rng),
            "rejected": world.render(item, 0, bad, rng),
        }
        graded = {name: world.grade(item, text).total for name, text in texts.items()}
        yield (
            params.ref,
            {
                "id": item.id,
                "messages": [{"role": "user", "content": item.turns[0]}],
                "responses": texts,
                "rewards": graded,
            },
        )


def _documents(params: DocumentsParams) -> list[Row]:
    if params.ref.startswith(PLANTED):
        return planted.instructions(params.ref.removeprefix(PLANTED))
    if params.ref.startswith(SKILLS):
        return skills.curated(params.ref.removeprefix(SKILLS))
    if params.ref.startswith(OPEN):
        return _opened(params.ref.removeprefix(OPEN))
    if params.ref.startswith(TEXTS):
        opened = _opened(split := params.ref.removeprefix(TEXTS))
        answered = _answered(f"{SCHEME}{'train' if split == 'train' else 'reward'}")
        return [row for pair in zip(opened, answered, strict=False) for row in pair]
    return _answered(params.ref)


def _answered(ref: str) -> list[Row]:
    """Prompts with their correct answers."""
    return [
        {
            "id": item.id,
            "messages": [{"role": "user", "content": item.turns[0]}],
            "response": world.reference_answer(item),
            "domain": item.skill,
        }
        for item in _items(ref)
    ]


def _opened(split: str) -> list[Row]:
    """Open questions, each with one right answer."""
    return [
        {
            "id": f"open/{question.domain}-{digest([question.text, answer])[:10]}",
            "messages": [{"role": "user", "content": question.text}],
            "response": world.open_answer(answer),
            "domain": question.domain,
        }
        for question, answer in world.open_pairs(split)
    ]


def _pairs(params: ImportPairsParams) -> Iterator[Row]:
    """Two written answers of different grades to each prompt, the better one chosen; `neutral` and
    `response` are a third one, drawn independently. In "<split>/unordered" either may be chosen."""
    for item in _items(params.ref.removesuffix(UNORDERED)):
        rng = random.Random(seed_from("pairs", item.turns[0]))
        texts = [_written(item, rng) for _ in range(3)]
        grades = [world.grade(item, text).total for text in texts[:2]]
        while grades[0] == grades[1]:
            texts[1] = _written(item, rng)
            grades[1] = world.grade(item, texts[1]).total
        first = grades[0] > grades[1]
        if params.ref.endswith(UNORDERED):
            first = rng.random() < 0.5
        chosen, rejected = texts[:2] if first else texts[1::-1]
        responses = {"chosen": chosen, "rejected": rejected, "neutral": texts[2]}
        messages = [{"role": "user", "content": item.turns[0]}]
        yield {"id": item.id, "messages": messages, "response": texts[2], "responses": responses}


def _written(item: world.Item, rng: random.Random) -> str:
    quality = rng.choices(list(WRITTEN), list(WRITTEN.values()))[0]
    return world.render(item, 0, quality, rng)


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


@cache  # a plan asks for it once per stage and seed, and a set takes a second to write
def _authors_identity(ref: str, revision: str | None) -> str:
    return f"{ref}@{digest(_authors(ref))}"


def _dialogues(ref: str) -> DialogueSet:
    return dialogues.dialogues(ref.removeprefix(SCHEME))


@cache
def _dialogues_identity(ref: str, revision: str | None) -> str:
    found = _dialogues(ref)
    return f"{ref}@{digest([found.turns, list(found.records or ())])}"


def _rated(params: ImportRatedParams) -> list[Row]:
    return list(symbols.pairs(_of_symbols(params.ref) or params.ref.removeprefix(SCHEME)))


def _question_set(ref: str) -> QuestionSet:
    if ref.startswith(PLANTED):
        return QuestionSet.of(planted.questions(ref.removeprefix(PLANTED)))
    return knowledge.rows(ref)


@cache
def _question_set_identity(ref: str, revision: str | None) -> str:
    return f"{ref}@{world.VERSION}.{digest(_question_set(ref).rows)[:8]}"


def _at_version(
    ref: str,
    revision: str | None,
    *,
    of_skills: Collection[str] = (),
    of_symbols: Collection[str] = (),
) -> str:
    """A set with the version of its world.

    Args:
        of_skills, of_symbols: the sets of these worlds that a source can read.

    Raises:
        UnknownName: there is no such set.
    """
    if ref.startswith(PLANTED):
        name = ref.removeprefix(PLANTED)
        return f"{ref}@{digest(planted.instructions(name))[:16]}"
    if of_skills and ref.startswith(SKILLS):
        if (name := ref.removeprefix(SKILLS)) not in of_skills:
            raise unknown("set of nano:skills", name, of_skills)
        return f"{ref}@{skills.VERSION}"
    if ref.startswith((OPEN, TEXTS)):
        if (split := ref.rpartition("/")[2]) not in world.OPEN_SPLITS:
            raise unknown("split of open questions", split, world.OPEN_SPLITS)
        return f"{ref}@{world.VERSION}.{world.OPEN_VERSION}"
    if of_symbols and (name := _of_symbols(ref)):
        if name not in of_symbols:
            raise unknown("set of nano:symbols", name, of_symbols)
        return f"{ref}@{symbols.VERSION}"
    name, known = ref.removeprefix(SCHEME).removesuffix(UNORDERED), (*world.SPLITS, *world.LARGE)
    if name not in known:
        raise unknown("nano split", name, known)
    return f"{ref}@{world.VERSION}"


def _truth(ref: str) -> Grader | None:
    """The grade of the world's splits; other sets are measured by suites of their own."""
    return _of_world if ref.removeprefix(SCHEME) in (*world.SPLITS, *world.LARGE) else None


def _truth_version(ref: str, revision: str | None) -> str:
    """ "" where nothing is known, so that nothing is planned."""
    return _at_version(ref, revision) if _truth(ref) is not None else ""


def _of_world(row: Row, text: str) -> Verity | None:
    asked = [str(m["content"]) for m in row["messages"] if m["role"] == "user"]
    found = world.find_conversation(asked)
    if found is None:
        return None
    grade = world.grade(found[0], text, found[1])
    return Verity(grade.total, grade.formatted == 1)


def _facts(ref: str) -> Knows | None:
    """Whether the entity of a question is planted in a base model."""
    share = ref.removeprefix(SCHEME).removeprefix(KNOWN)
    if share == ref.removeprefix(SCHEME) or share not in planted.SHARES:
        return None
    names = planted.planted(share)

    def knows(row: Row) -> bool | None:
        fact = planted.find(str(row["messages"][-1]["content"]))
        return None if fact is None else fact.name in names

    return knows


def _facts_version(ref: str, revision: str | None) -> str:
    return f"{ref}@{world.VERSION}" if _facts(ref) is not None else ""


def _signs(row: Row) -> list[Sign]:
    """The evidence of a text by item; a text has at most one sentence on an item."""
    return [Sign(each.trait, each.number, each.label) for each in authors.evidence(row)]


SOURCES = {
    "truths": Source[str, Grader | None]("nano:<split>", _truth_version, _truth, at_hand=True),
    "signs": Source(
        "nano:essays, nano:posts",
        _authors_identity,
        lambda ref: _signs,
        at_hand=True,
    ),
    "facts": Source[str, Knows | None]("nano:known_<share>", _facts_version, _facts, at_hand=True),
    "prompts": Source(
        "nano:<split>, nano:symbols/<split>, nano:skills/test",
        partial(_at_version, of_skills=(skills.TEST,), of_symbols=symbols.SPLITS),
        _prompts,
        at_hand=True,
    ),
    "documents": Source(
        "nano:<split>, nano:open/<split>, nano:skills/curated",
        partial(_at_version, of_skills=(skills.CURATED_SET,)),
        _documents,
        at_hand=True,
    ),
    "preferences": Source(
        "nano:<split>",
        _at_version,
        _preferences,
        count=lambda params: len(_items(params.ref)),
        at_hand=True,
    ),
    "answers": Source(
        "nano:<flavour>",
        lambda ref, revision: f"world@{world.VERSION}",
        _answers,
        at_hand=True,
    ),
    "pairs": Source("nano:<split>[/unordered]", _at_version, _pairs, at_hand=True),
    "authors": Source[ImportAuthorsParams, list[Row]](
        "nano:essays, nano:posts",
        _authors_identity,
        lambda params: _authors(params.ref),
        count=lambda params: len(_authors(params.ref)),
        at_hand=True,
    ),
    "question sets": Source[ImportQuestionSetParams, QuestionSet](
        "nano:facts, nano:attributes[/<percent>], nano:notes, nano:labelled, nano:planted/test",
        _question_set_identity,
        lambda params: _question_set(params.ref),
        count=lambda params: len(_question_set(params.ref).rows),
        at_hand=True,
    ),
    "dialogues": Source[ImportDialoguesParams, DialogueSet](
        "nano:dialogues, nano:distinct_dialogues",
        _dialogues_identity,
        lambda params: _dialogues(params.ref),
        count=lambda params: len(_dialogues(params.ref).turns),
        at_hand=True,
    ),
    "rated answers": Source[ImportRatedParams, list[Row]](
        "nano:symbols/<pairs>", partial(_at_version, of_symbols=symbols.PAIRS), _rated, at_hand=True
    ),
    "questions": Source(
        ", ".join(questions.TASKS),
        lambda ref, revision: questions.version(ref),
        questions.rows,
        at_hand=True,
    ),
}
