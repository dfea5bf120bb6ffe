"""Prompt wording for questions about an author: the text, the instructions, the turns.

The wording is Crucible's; the content of each part follows PsyCoT's released prompts (see
methods/psycot/README.md). Texts are inserted by concatenation only, never by formatting, so braces
and imitated dialogue lines in them have no effect.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harness.core.hashing import seed_from
from harness.data.traits import Trait
from harness.suites.personality.questionnaires import POINTS, Item, Questionnaire

Layout = Literal["text_first", "released"]
Notes = Literal["corrected", "released", "none"]

# The released limits, 3,200 tokens per text and 80 per post, at four characters per token: the
# released code counts cl100k tokens, which needs a download.
TEXT_CHARACTERS = 12_800
POST_CHARACTERS = 320
SHORT_POST = 10  # posts with at most this many characters are left out, as in the released code

SCORE = "SCORE: <1-5>"
CHOICE = "CHOICE: <A/B>"


def author_text(row: Mapping[str, Any], post_seed: int | None = None) -> tuple[str, int]:
    """An author's text as shown to the model, and the number of characters that were cut.

    Posts become "Post1: ...; Post2: ...; ", numbered after short posts are left out.

    Args:
        post_seed: seed to shuffle the posts; the released code always shuffles (seed 0).
    """
    if "posts" not in row:
        text = row["text"]
        return text[:TEXT_CHARACTERS], max(0, len(text) - TEXT_CHARACTERS)
    posts = [post.strip() for post in row["posts"]]
    posts = [post for post in posts if len(post) > SHORT_POST]
    if post_seed is not None:
        random.Random(seed_from("post order", row["id"], post_seed)).shuffle(posts)
    cut = sum(max(0, len(post) - POST_CHARACTERS) for post in posts)
    shown = (f"Post{n}: {post[:POST_CHARACTERS]}; " for n, post in enumerate(posts, 1))
    return "".join(shown).rstrip(), cut


def opening(text: str, instructions: str, layout: Layout = "text_first") -> str:
    """Text and instructions; with the text first, all dialogues of an author share a prefix."""
    if layout == "released":
        return f"{instructions}\n\nText by the author:\n{text}"
    return f"Text by an author:\n{text}\n\n{instructions}"


def question(trait: Trait, reverse: bool = False) -> str:
    """The question for one of the trait's two poles."""
    first, second = trait.options(reverse)
    return f'is the author more likely A: "{first}" or B: "{second}"?'


def standard(trait: Trait, reverse: bool = False) -> str:
    """The single prompt, PsyCoT's baseline."""
    return f"From the text, {question(trait, reverse)} {_choice_form()}"


def reasoning(trait: Trait, reverse: bool = False) -> str:
    """First turn of zero-shot chain of thought."""
    return f"From the text, {question(trait, reverse)} Let us think step by step."


def reasoned_choice() -> str:
    """Second turn of zero-shot chain of thought."""
    return f"So which is it, A or B? {_choice_form()}"


def preamble(
    trait: Trait,
    items: Sequence[Item],
    questionnaire: Questionnaire,
    reverse: bool = False,
    notes: Notes = "corrected",
) -> str:
    """Introduction of psycot: the task, the rating scale, and the choice at the end.

    Args:
        notes: which note on reverse-scored statements to add; choice items have no note.
    """
    count = len(items)
    if items and items[0].kind == "choice":
        task = (
            f"There are {count} questions about the author, one at a time. Answer each by letter."
        )
    else:
        task = (
            f"There are {count} statements about the author, S0 to S{count - 1}, one at a time. "
            f"Rate each from 1 to {POINTS}: {_words(questionnaire.scale)}."
        )
        task += _note(trait, items, questionnaire, notes)
    return f"{task} After the last one, choose: {question(trait, reverse)}"


def _words(scale: Sequence[str]) -> str:
    return ", ".join(f"{number} {words}" for number, words in enumerate(scale, 1))


def _note(trait: Trait, items: Sequence[Item], questionnaire: Questionnaire, notes: Notes) -> str:
    if notes == "none":
        return ""
    released = questionnaire.of(trait.name)
    wrong = set(questionnaire.reverse_slots(trait.name, released=notes == "released"))
    against = [n for n, item in enumerate(items) if released.index(item) in wrong]
    for_it = [n for n in range(len(items)) if n not in against]
    parts = [
        f'{", ".join(f"S{n}" for n in slots)} {verb} for "{trait.high}"'
        for slots, verb in ((for_it, "speak"), (against, "are scored in reverse"))
        if slots
    ]
    return f" {'; '.join(parts)}."


def item_turn(slot: int, item: Item, first: bool) -> str:
    """Turn with one item.

    The answer format is given in the first turn, and for choice items with four options.
    """
    if item.kind == "rating":
        form = f"Reply {SCORE}, without explanation." if first else "Give the score only."
        return f'S{slot}: "{item.text}" {form}'
    options = " ".join(f"{letter}: {text}." for letter, text in item.choices.items())
    letters = "/".join(item.choices)
    form = f" Reply CHOICE: <{letters}>, without explanation."
    asks = first or len(item.choices) > 3
    return f"Q: {item.text} {options}{form if asks else ''}"


def conclusion(trait: Trait, kind: str, reverse: bool = False) -> str:
    """Last turn of psycot: the choice, after items of `kind` "rating" or "choice"."""
    basis = (
        "According to these scores and the text" if kind == "rating" else "According to the above"
    )
    return f"{basis}, {question(trait, reverse)} {_choice_form()}"


def all_items(
    trait: Trait, items: Sequence[Item], reverse: bool = False, scale: Sequence[str] = ()
) -> str:
    """Prompt with all items and the choice, for one reply."""
    lines = []
    for slot, item in enumerate(items):
        options = " ".join(f"{letter}: {text}." for letter, text in item.choices.items())
        lines.append(f"S{slot}: {item.text}" + (f" {options}" if item.kind == "choice" else ""))
    form = "S0: <1-5>" if items and items[0].kind == "rating" else "S0: <A/B/C>"
    return "\n".join(
        [
            *lines,
            *([f"Rate each from 1 to {POINTS}: {_words(scale)}."] if scale else []),
            f"Give one answer a line, in the form {form}, then decide: {question(trait, reverse)} "
            f"End with a line {CHOICE}, without explanation.",
        ]
    )


def _choice_form() -> str:
    return f"Reply {CHOICE}, without explanation."
