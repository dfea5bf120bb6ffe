"""Training data of the reader and the encoder: authors' texts, and interviews about them.

The prompts are those of `harness.suites.personality`. Answers to rating items quote the evidence
and name the pole it indicates before the score, although no explanation is requested, and are
sometimes wrong; answers to choices name the pole before its letter. The final choice is the
author's true trait, which the text does not always show. Dialogues and standard prompts are equally
frequent, about the same authors.

Answers quote because a model of this size cannot look up a keyword and score it in one step. Nor
does it learn look-ups within a build, so it is initialised with attention heads that do them
(`wiring`). Its accuracy is in the manifest (`reading.bands`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from harness.backends.base import plain_messages
from harness.core.hashing import seed_from
from harness.data.traits import Trait, scheme
from harness.nano import authors
from harness.nano.zoo.corpus import Conversation
from harness.suites.personality import prompts
from harness.suites.personality.dialogues import Interview, InterviewParams
from harness.suites.personality.orders import Orders
from harness.suites.personality.questionnaires import Item, load

# Weights of the scores given for evidence, by its level; None: no evidence.
SCORES: dict[int | None, dict[int, int]] = {
    5: {5: 80, 4: 20}, 4: {4: 80, 5: 15, 3: 5}, 2: {2: 80, 1: 15, 3: 5}, 1: {1: 80, 2: 20},
    None: {3: 80, 2: 10, 4: 10},
}  # fmt: skip
HEED = 0.93  # probability that an answer to a choice item follows the text
POSTS = 0.45  # share of authors with posts; the others have essays
LONGEST_LESSON = 14  # maximum sentences of the last lessons
ITEMS_FIRST = 0.65  # share of lessons with items before the choice
NOTHING = "nothing"  # quoted if the text contains no evidence
QUOTED = 3  # maximum sentences quoted in a chain of thought


def texts(n: int, name: str = "read") -> list[str]:
    """Training texts of the encoder: `n` authors outside all splits."""
    half = n // 2
    made = authors.write(f"essays/{name}", half) + authors.write(f"posts/{name}", n - half)
    return [prompts.author_text(row)[0] for row in made]


def cuts() -> tuple[list[str], list[str]]:
    """Patterns of tokens with punctuation, and of tokens without.

    Every unit that look-ups must find is one token: the poles, the text before them in a question
    and after them in a reply, and the three parts of a sentence (opener, keyword, verdict). A pole
    named for an item is preceded by a space and therefore another token than the pole in the
    question. Keywords are grouped by first letter for speed.
    """
    parts, words = authors.phrases(), authors.keywords()
    poles = {
        pole for name in ("big_five", "mbti") for t in scheme(name) for pole in (t.high, t.low)
    }
    verdicts = [verdict for level in parts["verdicts"].values() for verdict in level]
    marked = [
        ' A: "',
        '" or B: "',
        r"\. (?:CHOICE|SCORE):",
        rf", (?:{'|'.join([*verdicts, NOTHING])})\.",
    ]
    spaced = sorted(poles, key=lambda pole: (-len(pole), pole))
    spaced += [f"{opener} " for opener in parts["openers"]]
    plain = [f" ?(?:{'|'.join(spaced)})"]
    for first in sorted({word[0] for word in words}):
        plain.append(f"{first}(?:{'|'.join(word[1:] for word in words if word[0] == first)})")
    return marked, plain


def corpus(n: int, schooling: float) -> list[Conversation]:
    """`n` conversations for the reader: first the share `schooling` of lessons, then interviews.

    Lessons have short texts of growing length with evidence on most items, so that the look-up
    heads (`wiring`) are used until the reader has learnt what to look up. Interviews have no
    evidence on most items, and training on them first would remove the look-ups.
    """
    rng, first = random.Random(seed_from("lessons")), round(n * schooling)
    school = [lesson(1 + LONGEST_LESSON * done // first, rng) for done in range(first)]
    return school + interviews(n - first)


def lesson(longest: int, rng: random.Random) -> Conversation:
    """A conversation about a text of up to `longest` sentences.

    An odd number of sentences concerns one trait, so that they determine the choice; items of the
    trait may be asked first.
    """
    kind: authors.Kind = "posts" if rng.random() < POSTS else "essays"
    form, ways = load(authors.QUESTIONNAIRES[kind]), authors.by_item(kind)
    trait = rng.choice(scheme(form.scheme))
    *items, untold = rng.sample(
        form.of(trait.name), 1 + rng.choice([1, 3, 5][: (longest + 1) // 2])
    )
    others = [item for item in form.items if item.trait != trait.name]
    evidence, labels = [], []
    for item in items + rng.sample(others, rng.randint(0, longest - min(longest, len(items)))):
        (label, _), sentences = rng.choice(sorted(ways[item.trait][item.number].items()))
        evidence.append(rng.choice(sentences))
        labels.append(label)
    label = int(2 * sum(labels[: len(items)]) > len(items))
    shuffled = rng.sample(evidence, len(evidence))
    row = {"id": "lesson", "posts": shuffled} if kind == "posts" else {"text": " ".join(shuffled)}
    reverse = rng.random() < 0.5
    asked = rng.sample([*items, untold], len(items) + 1) if rng.random() < ITEMS_FIRST else []
    turns = [prompts.item_turn(n, item, n == 0) for n, item in enumerate(asked)]
    end = prompts.conclusion(trait, asked[0].kind, reverse) if asked else None
    turns.append(end or prompts.standard(trait, reverse))
    turns[0] = prompts.opening(prompts.author_text(row)[0], turns[0])
    answers = [_answer(kind, item, evidence, rng) for item in asked]
    answers.append(_choice(trait, label, reverse))
    return [
        {"role": role, "content": content}
        for turn, answer in zip(turns, answers, strict=True)
        for role, content in (("user", turn), ("assistant", answer))
    ]


def interviews(n: int) -> list[Conversation]:
    """`n` conversations in all forms of prompting, about authors outside all splits."""
    rng = random.Random(seed_from("interviews", "read"))
    count = -(-n // 3)
    posts = round(POSTS * count)
    asked = authors.write("essays/read", count - posts) + authors.write("posts/read", posts)
    rng.shuffle(asked)
    made = []
    for row in asked:
        kind: authors.Kind = "posts" if "posts" in row else "essays"
        trait = rng.choice(scheme(load(authors.QUESTIONNAIRES[kind]).scheme))
        made += about(row, trait, rng)
    return made[:n]


def about(row: authors.Row, trait: Trait, rng: random.Random) -> list[Conversation]:
    """Three conversations about a trait: psycot, standard, and either cot or single_turn."""
    kind: authors.Kind = "posts" if "posts" in row else "essays"
    form = load(authors.QUESTIONNAIRES[kind])
    evidence = _evidence(row, kind, trait.name)
    orders = Orders(
        reverse_options=rng.random() < 0.4,
        item_seed=rng.randrange(1000) if rng.random() < 0.6 else None,
    )
    text, _ = prompts.author_text(row, rng.randrange(9) if rng.random() < 0.5 else None)
    label = row["labels"][trait.name]
    choice = _choice(trait, label, orders.reverse_options)
    common: dict[str, Any] = {
        "layout": "released" if rng.random() < 0.1 else "text_first",
        "items": rng.randint(1, 9) if rng.random() < 0.2 else None,
        "orders": orders,
    }

    def talk(name: Any, **how: Any) -> Interview:
        params = InterviewParams(form=name, **common, **how)
        return Interview(row["id"], trait, text, form, params)

    dialogue = talk(
        "psycot",
        frame="flat" if rng.random() < 0.12 else "chat",
        history="independent" if rng.random() < 0.12 else "sequential",
        notes="none" if rng.random() < 0.1 else "corrected",
    )
    answers = [_answer(kind, item, evidence, rng) for item in dialogue.items]
    last = len(answers)
    if (dialogue.params.frame, dialogue.params.history) != ("chat", "sequential"):
        last = rng.randint(0, last)
    made = [
        _conversation(dialogue, [*answers, choice][: last + 1]),
        _conversation(talk("standard"), [choice]),
    ]
    if rng.random() < 0.5:
        return [*made, _conversation(talk("cot"), [_thoughts(evidence), choice])]
    lines = [f"S{n}: {answer.split()[-1]}" for n, answer in enumerate(answers)]
    return [*made, _conversation(talk("single_turn"), ["\n".join([*lines, choice])])]


def _evidence(row: authors.Row, kind: authors.Kind, trait: str) -> list[str]:
    """An author's sentences with evidence on a trait."""
    known = authors.sentences(kind)
    sentences = " ".join(row.get("posts") or [row["text"]]).replace(". ", ".\n").split("\n")
    return [
        sentence for sentence in sentences if sentence in known and known[sentence].trait == trait
    ]


def _answer(kind: authors.Kind, item: Item, evidence: Sequence[str], rng: random.Random) -> str:
    """Answer to an item: a quote of the evidence, then the score or choice."""
    known = authors.sentences(kind)
    about_it = (
        s for s in evidence if (known[s].trait, known[s].number) == (item.trait, item.number)
    )
    sentence = next(about_it, None)
    found = None if sentence is None else known[sentence]
    quoted = f"{authors.words(kind)[item.trait, item.number][0]}, {NOTHING}."
    if sentence is not None:
        opener = next(o for o in authors.phrases()["openers"] if sentence.startswith(f"{o} "))
        trait = next(
            t for t in scheme(load(authors.QUESTIONNAIRES[kind]).scheme) if t.name == item.trait
        )
        quoted = sentence.removeprefix(f"{opener} ")
        quoted += f" {_pole(trait, known[sentence].label)}."
    if item.kind == "rating":
        weights = SCORES[found.level if found else None]
        return f"{quoted} SCORE: {rng.choices(list(weights), list(weights.values()))[0]}"
    letters = list(item.choices)
    chosen = [letters[-1]]
    if found is not None:
        chosen = [a for a, b in zip(letters, item.labels) if b == found.label]
    return f"{quoted} CHOICE: {rng.choice(chosen if rng.random() < HEED else letters)}"


def _choice(trait: Trait, label: int, reverse: bool) -> str:
    letter = "AB"[trait.label("A", reverse) != label]
    return f"{_pole(trait, label)}. CHOICE: {letter}"


def _pole(trait: Trait, label: int) -> str:
    return trait.high if label else trait.low


def _thoughts(evidence: Sequence[str]) -> str:
    """Chain of thought: the first sentences with evidence on the trait."""
    return "The text says: " + " ".join(evidence[:QUOTED])


def _conversation(talk: Interview, replies: list[str]) -> Conversation:
    """Conversation up to the last of `replies`."""
    asked = plain_messages(talk.messages(replies[:-1]))
    return [*asked, {"role": "assistant", "content": replies[-1]}]
