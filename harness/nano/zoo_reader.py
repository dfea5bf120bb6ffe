"""What the reader and the encoder learn from: authors' texts, and interviews about them.

The interviews are worded as `harness.personality` words them and answered as people answer: raters
quote what the text tells and name the pole it speaks for before they score it, though asked for no
explanation, and miss their mark now and then; whoever chooses names the pole before its letter.
What is said in the end is the author's trait, which the text does not always give away. Dialogues
and standard prompts are met equally often, about the same authors.

Raters quote because a model of this size cannot look a word up and score it in one step. The
shipped reader has learnt the form of the answers and whose word to quote; it does not find that
word in the text yet, so its ratings and choices are at chance (bands in the manifest).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from harness.backends.base import plain_messages
from harness.data.traits import Trait, scheme
from harness.hashing import seed_from
from harness.nano import authors
from harness.nano.zoo_corpus import Conversation
from harness.personality import prompts
from harness.personality.dialogues import Interview, InterviewParams
from harness.personality.orders import Orders
from harness.personality.questionnaires import Item, load

# How raters score what a text tells, by the answer that it calls for; None: it tells nothing.
SCORES: dict[int | None, dict[int, int]] = {
    5: {5: 80, 4: 20}, 4: {4: 80, 5: 15, 3: 5}, 2: {2: 80, 1: 15, 3: 5}, 1: {1: 80, 2: 20},
    None: {3: 80, 2: 10, 4: 10},
}  # fmt: skip
HEED = 0.93  # how often a rater of choices says what the text tells, or else that it tells nothing
POSTS = 0.2  # of the authors write posts, the rest essays
ASKED, LONGEST_LESSON = 6, 14  # most items of a lesson, and sentences of the last ones
DRILLS, MIXED = 0.2, 0.4  # until when school has drills only, and drills among the lessons
NOTHING = "nothing"  # what is quoted where the text tells nothing
QUOTED = 3  # sentences that a chain of thought quotes at most


def texts(n: int, name: str = "read") -> list[str]:
    """What an encoder reads: texts of `n` authors who are in no split."""
    half = n // 2
    made = authors.write(f"essays/{name}", half) + authors.write(f"posts/{name}", n - half)
    return [prompts.author_text(row)[0] for row in made]


def cuts() -> list[str]:
    """Patterns of tokens: keywords, and what stands before and after them in a sentence."""
    said = authors.phrases()
    openers = [f" ?{opener} " for opener in said["openers"]]
    verdicts = [verdict for level in said["verdicts"].values() for verdict in level]
    return [*openers, *(f", {verdict}\\." for verdict in [*verdicts, NOTHING]), *authors.keywords()]


def corpus(n: int, schooling: float) -> list[Conversation]:
    """`n` conversations for the reader; that share of them is school and comes first.

    School begins with drills, which teach it to look back for a word; then come short texts, and
    they grow. Without them a model of this size stays at chance for as long as its training lasts.
    """
    rng, first = random.Random(seed_from("lessons")), round(n * schooling)
    school: list[Conversation] = []
    while len(school) < first:
        done = len(school) / first
        longest = 1 + int(LONGEST_LESSON * (done - DRILLS) / (1 - DRILLS))
        if done < DRILLS or (done < MIXED and rng.random() < 0.3):
            school.append(drill(rng))
        elif rng.random() < 0.5:
            school.append(lesson(longest, rng))
        else:
            school += about(*pupil(longest, rng), rng)
    return school[:first] + interviews(n - first)


def pupil(longest: int, rng: random.Random) -> tuple[authors.Row, Trait]:
    """An author of a few sentences, and the trait that an odd number of them tells about."""
    kind: authors.Kind = "posts" if rng.random() < POSTS else "essays"
    trait = rng.choice(scheme(load(authors.QUESTIONNAIRES[kind]).scheme))
    told, labels = [], []
    items = authors.by_item(kind)
    for number in rng.sample(sorted(items[trait.name]), rng.choice([1, 3, 5][: 1 + longest // 2])):
        ways = items[trait.name][number]
        label, _ = way = rng.choice(sorted(ways))
        told.append(rng.choice(ways[way]))
        labels.append(label)
    for _ in range(rng.randint(0, max(0, longest - len(told)))):
        other = rng.choice([name for name in items if name != trait.name])
        ways = items[other][rng.choice(sorted(items[other]))]
        told.append(rng.choice(ways[rng.choice(sorted(ways))]))
    rng.shuffle(told)
    body = {"posts": told} if kind == "posts" else {"text": " ".join(told)}
    label = int(2 * sum(labels) > len(labels))
    return {"id": "pupil", **body, "labels": {trait.name: label}}, trait


def drill(rng: random.Random) -> Conversation:
    """A few words, each three times with the same verdict."""
    said = authors.phrases()
    verdicts = [verdict for level in said["verdicts"].values() for verdict in level]
    words = {
        word: rng.choice(verdicts) for word in rng.sample(authors.keywords(), rng.randint(2, 6))
    }
    told = [
        f"{rng.choice(said['openers'])} {word}, {words[word]}."
        for _ in range(3)
        for word in rng.sample(sorted(words), len(words))
    ]
    return [
        {"role": "user", "content": "Text by an author:"},
        {"role": "assistant", "content": " ".join(told)},
    ]


def lesson(longest: int, rng: random.Random) -> Conversation:
    """Up to `longest` sentences, and items, of which they tell about most."""
    kind: authors.Kind = "posts" if rng.random() < POSTS else "essays"
    form = load(authors.QUESTIONNAIRES[kind])
    count = rng.randint(1, longest)
    items = rng.sample(form.items, count + 1)
    told = []
    for item in items[:count]:
        ways = authors.by_item(kind)[item.trait][item.number]
        told.append(rng.choice(ways[rng.choice(sorted(ways))]))
    asked = rng.sample(items[-ASKED:], min(ASKED, count + 1))
    turns = [prompts.item_turn(n, item, n == 0) for n, item in enumerate(asked)]
    answers = [_answer(kind, item, told, rng) for item in asked]
    turns[0] = prompts.opening(" ".join(rng.sample(told, len(told))), turns[0])
    made: list[dict[str, Any]] = []
    for turn, answer in zip(turns, answers, strict=True):
        made += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer}]
    return made


def interviews(n: int, name: str = "read") -> list[Conversation]:
    """`n` conversations, each way to ask in turn, about authors who are in no split."""
    rng = random.Random(seed_from("interviews", name))
    count = -(-n // 3)
    posts = round(POSTS * count)
    asked = authors.write(f"essays/{name}", count - posts) + authors.write(f"posts/{name}", posts)
    rng.shuffle(asked)
    made = []
    for row in asked:
        kind: authors.Kind = "posts" if "posts" in row else "essays"
        trait = rng.choice(scheme(load(authors.QUESTIONNAIRES[kind]).scheme))
        made += about(row, trait, rng)
    return made[:n]


def about(row: authors.Row, trait: Trait, rng: random.Random) -> list[Conversation]:
    """A dialogue, a standard prompt, and a chain of thought or a form about a trait."""
    kind: authors.Kind = "posts" if "posts" in row else "essays"
    form = load(authors.QUESTIONNAIRES[kind])
    told = _told(row, kind, trait.name)
    orders = Orders(
        reverse_options=rng.random() < 0.4,
        item_seed=rng.randrange(1000) if rng.random() < 0.6 else None,
    )
    text, _ = prompts.author_text(row, rng.randrange(9) if rng.random() < 0.5 else None)
    label = row["labels"][trait.name]
    letter = "AB"[trait.label("A", orders.reverse_options) != label]
    choice = f"{_pole(trait, label)}. CHOICE: {letter}"
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
    answers = [_answer(kind, item, told, rng) for item in dialogue.items]
    last = len(answers)
    if (dialogue.params.frame, dialogue.params.history) != ("chat", "sequential"):
        last = rng.randint(0, last)
    made = [
        _conversation(dialogue, [*answers, choice][: last + 1]),
        _conversation(talk("standard"), [choice]),
    ]
    if rng.random() < 0.5:
        return [*made, _conversation(talk("cot"), [_thoughts(told), choice])]
    lines = [f"S{n}: {answer.split()[-1]}" for n, answer in enumerate(answers)]
    return [*made, _conversation(talk("single_turn"), ["\n".join([*lines, choice])])]


def _told(row: authors.Row, kind: authors.Kind, trait: str) -> list[str]:
    """The sentences of an author that tell about a trait."""
    known = authors.sentences(kind)
    said = " ".join(row.get("posts") or [row["text"]]).replace(". ", ".\n").split("\n")
    return [sentence for sentence in said if sentence in known and known[sentence].trait == trait]


def _answer(kind: authors.Kind, item: Item, told: Sequence[str], rng: random.Random) -> str:
    """What a rater says about an item: the words that tell about it, then score or choice."""
    known = authors.sentences(kind)
    about_it = (s for s in told if (known[s].trait, known[s].number) == (item.trait, item.number))
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


def _pole(trait: Trait, label: int) -> str:
    return trait.high if label else trait.low


def _thoughts(told: Sequence[str]) -> str:
    """The first sentences that tell about the trait."""
    return "The text says: " + " ".join(told[:QUOTED])


def _conversation(talk: Interview, replies: list[str]) -> Conversation:
    """What is said until the last of `replies`."""
    asked = plain_messages(talk.messages(replies[:-1]))
    return [*asked, {"role": "assistant", "content": replies[-1]}]
