"""Splits of the nano world: each prompt belongs to exactly one, chosen by a hash of its text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.nano.world.skills import Draft, drafts
from harness.nano.world.types import CATEGORY, FORMATS, SKILLS, Item

# Raise it if a prompt, an answer or a grade changes: stage ids and the oracle's fingerprint depend
# on it. A test compares the digest of the world's content.
VERSION = 1

# Share of all prompts in per cent. Three benchmarks are then limited to the sizes below.
_SHARES = {
    "pretrain": 62,  # training of the zoo's language models
    "train": 18,  # for methods: the UltraFeedback of this world
    "reward": 10,  # training of the reward model
    "alpaca_eval2": 4,
    "arena_hard": 4,
    "mt_bench": 2,
}
SPLITS = tuple(_SHARES)
_ALPACA, _CLUSTERS, _MT_PER_CATEGORY = 160, 50, 5
# Larger sets of the three benchmarks, with the smaller ones' prompts among theirs: for boards whose
# claims are about a few points.
LARGE = {f"{split}/large": split for split in ("alpaca_eval2", "arena_hard", "mt_bench")}
_LARGE_ALPACA, _LARGE_CLUSTER, _LARGE_MT_PER_CATEGORY = 640, 4, 20


def _split_of(prompt: str) -> str:
    bucket = seed_from("split", prompt) % 100
    for name, share in _SHARES.items():
        if bucket < share:
            return name
        bucket -= share
    raise AssertionError("the shares sum to 100")


def _two_turns(split: str, prompt: str) -> bool:
    return split == "mt_bench" or (split == "pretrain" and seed_from("turns", prompt) % 10 < 2)


@lru_cache(maxsize=1)
def _drafts() -> dict[str, list[tuple[str, str, Draft]]]:
    """Prompt, answer format and draft of every item, by split."""
    seen: set[str] = set()
    pools: dict[str, list[tuple[str, str, Draft]]] = {split: [] for split in SPLITS}
    for draft in drafts():
        for style, request in FORMATS.items():
            prompt = f"{draft.questions[0]} {request}".rstrip()
            if prompt not in seen:
                seen.add(prompt)
                pools[_split_of(prompt)].append((prompt, style, draft))
    return pools


@lru_cache(maxsize=len(SPLITS) + len(LARGE))
def _items(name: str) -> dict[str, Item]:
    """Items of a split or of a large set by their first prompt, in the order of `items`."""
    split, pool = LARGE.get(name, name), []
    for prompt, style, draft in _drafts()[split]:
        count = 2 if _two_turns(split, prompt) else 1
        pool.append(
            Item(
                id=f"{split}/{draft.skill}-{seed_from('id', prompt) % 16**10:010x}",
                split=split,
                skill=draft.skill,
                difficulty=draft.difficulty,
                turns=(prompt, draft.questions[1])[:count],
                truths=draft.truths[:count],
                format=style,
                category=CATEGORY[draft.skill],
            )
        )
    return {item.turns[0]: item for item in _arrange(split, pool, large=name in LARGE)}


def _arrange(split: str, pool: list[Item], *, large: bool) -> list[Item]:
    """Shuffle by hash, then interleave the skills, so that every prefix is balanced."""
    pool = sorted(pool, key=lambda item: seed_from("order", item.turns[0]))
    if split == "arena_hard":
        return _clusters(pool, None, _LARGE_CLUSTER) if large else _clusters(pool, _CLUSTERS, 2)
    by_skill = {skill: [item for item in pool if item.skill == skill] for skill in SKILLS}
    dealt = [
        by_skill[skill][i]
        for i in range(max(map(len, by_skill.values())))
        for skill in SKILLS
        if i < len(by_skill[skill])
    ]
    if split == "alpaca_eval2":
        return dealt[: _LARGE_ALPACA if large else _ALPACA]
    per_category = _LARGE_MT_PER_CATEGORY if large else _MT_PER_CATEGORY
    return dealt[: per_category * len(SKILLS)] if split == "mt_bench" else dealt


def _clusters(pool: list[Item], count: int | None, size: int) -> list[Item]:
    """`count` topics (skill, difficulty above 1, format) of two and up to `size` prompts each;
    None is all topics."""
    topics: dict[str, list[Item]] = {}
    for item in pool:
        if item.difficulty > 1:
            topics.setdefault(f"{item.skill}-{item.difficulty}-{item.format}", []).append(item)
    full = [topic for topic, members in topics.items() if len(members) >= 2]
    by_skill = {skill: [t for t in full if t.split("-")[0] == skill] for skill in SKILLS}
    dealt = [ts[i] for i in range(len(full)) for ts in by_skill.values() if i < len(ts)]
    return [
        Item(**{name: getattr(item, name) for name in Item.__slots__} | {"cluster": topic})
        for topic in dealt[:count]
        for item in topics[topic][:size]
    ]


def items(split: str, n: int | None = None) -> list[Item]:
    """The first `n` (default: all) items of a split or of a large set, balanced over skills.

    Raises:
        UnknownName: unknown split.
    """
    if split not in SPLITS and split not in LARGE:
        raise unknown("nano split", split, (*SPLITS, *LARGE))
    return list(islice(_items(split).values(), n))


def find(prompt: str) -> tuple[Item, int] | None:
    """The item whose first prompt is `prompt`, and turn 0; None if there is no such item.

    Second prompts ("And which one is smaller?") are not unique: use `find_conversation`.
    """
    prompt = prompt.strip()
    split = _split_of(prompt)
    item = _items(split).get(prompt)
    if item is None and f"{split}/large" in LARGE:
        item = _items(f"{split}/large").get(prompt)
    return None if item is None else (item, 0)


def find_conversation(prompts: Sequence[str]) -> tuple[Item, int] | None:
    """The item and the turn to answer, from all user messages; None if there is no such item."""
    found = find(prompts[0]) if prompts else None
    if found is None or tuple(text.strip() for text in prompts) != found[0].turns[: len(prompts)]:
        return None
    return found[0], len(prompts) - 1
