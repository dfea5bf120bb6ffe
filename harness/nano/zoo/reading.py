"""Measure the reader: ratings against the evidence in texts, choices against authors' traits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.backends.base import plain_messages
from harness.data.traits import scheme
from harness.nano import authors
from harness.nano.zoo.sample import sample
from harness.suites.personality import prompts
from harness.suites.personality.dialogues import Interview, InterviewParams
from harness.suites.personality.questionnaires import Item, load

WAYS: dict[str, Any] = {
    "standard": {"form": "standard"},
    "psycot": {"form": "psycot"},
    "cot": {"form": "cot"},
    "single_turn": {"form": "single_turn"},
}


def bands(
    model: Any, tokenizer: Any, n: int = 100, ways: Mapping[str, Any] = WAYS
) -> dict[str, Any]:
    """Accuracy on `n` new authors of essays and n // 2 of posts.

    For traits: one value per form of prompting in `ways`; `counted`, the majority of the ratings in
    psycot dialogues (a tie is half right); `ideal`, the majority of the evidence in the text. For
    items of psycot: `rated`, items with evidence, answered according to it; `untold`, items without
    evidence, answered neutrally.
    """
    sizes: dict[authors.Kind, int] = {"essays": n, "posts": n // 2}
    return {
        kind: _reading(model, tokenizer, authors.write(f"{kind}/measured", count), kind, ways)
        for kind, count in sizes.items()
    }


def _reading(
    model: Any,
    tokenizer: Any,
    rows: list[authors.Row],
    kind: authors.Kind,
    ways: Mapping[str, Any],
) -> dict[str, Any]:
    form = load(authors.QUESTIONNAIRES[kind])
    traits = scheme(form.scheme)
    asked = [(row, trait) for trait in traits for row in rows]
    right: dict[str, list[float]] = {}
    with_evidence: list[bool] = []
    without: list[bool] = []
    for way, settings in ways.items():
        params = InterviewParams(**settings)
        talks = [
            Interview(row["id"], trait, prompts.author_text(row)[0], form, params)
            for row, trait in asked
        ]
        replies = interview(model, tokenizer, talks)
        right[way] = [
            float(f"CHOICE: {'AB'[trait.label('A') != row['labels'][trait.name]]}" in last)
            for (row, trait), (*_, last) in zip(asked, replies, strict=True)
        ]
        if way != "psycot":
            continue
        for (row, trait), talk, answers in zip(asked, talks, replies, strict=True):
            known = {e.number: e.label for e in authors.evidence(row) if e.trait == trait.name}
            sides = [side(item, reply) for item, reply in zip(talk.items, answers, strict=False)]
            for item, found in zip(talk.items, sides, strict=True):
                right_side = found == known.get(item.number)
                (with_evidence if item.number in known else without).append(right_side)
            label = row["labels"][trait.name]
            right.setdefault("counted", []).append(majority(sides, label))
            right.setdefault("ideal", []).append(majority(list(known.values()), label))
    return {
        "authors": len(rows),
        "rated": _mean(with_evidence),
        "untold": _mean(without),
        **{way: _mean(values) for way, values in right.items()},
        "traits": {
            way: {
                trait.name: _mean(values[n * len(rows) : (n + 1) * len(rows)])
                for n, trait in enumerate(traits)
            }
            for way, values in right.items()
        },
    }


def interview(model: Any, tokenizer: Any, talks: Sequence[Interview]) -> list[list[str]]:
    """A model's replies to all turns of dialogues, at temperature 0."""
    replies: list[list[str]] = [[] for _ in talks]
    while going := [n for n, talk in enumerate(talks) if len(replies[n]) < len(talk.limits)]:
        asked = [plain_messages(talks[n].messages(replies[n])) for n in going]
        for n, (reply,) in zip(
            going, sample(model, tokenizer, asked, 1, 0.0, 0, longest=96), strict=True
        ):
            replies[n].append(reply)
    return replies


def side(item: Item, reply: str) -> int | None:
    """Label indicated by an answer to an item; None if neutral."""
    answer = reply.rpartition(": ")[2]
    if item.kind == "rating":
        score = int(answer) if answer in set("12345") else 3
        return None if score == 3 else int((score > 3) == (item.keyed > 0))
    return dict(zip(item.choices, item.labels, strict=False)).get(answer)


def majority(sides: Sequence[int | None], label: int) -> float:
    """1 if the majority of labels is `label`, 0 if it is the other, 1/2 for a tie."""
    for_it = sides.count(label) - sides.count(1 - label)
    return 0.5 if for_it == 0 else float(for_it > 0)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 3)
