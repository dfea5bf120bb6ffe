"""Joining the verdicts of two judges on the same items: by id, else by the prompt's text.

Items are never joined by position. An id may have the suite as a prefix ("mt_bench/81") on one side
and none ("81") on the other. Verdicts on different answers are not compared, because they measure
differences between models instead of judges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from harness.core.errors import BadData
from harness.judging.verdict_sets import JudgedItem, VerdictSet

Key = Callable[[JudgedItem], Hashable | None]


@dataclass(frozen=True)
class Pair:
    """Two verdicts on one item.

    `unit` is the name of the prompt and `system` that of the system; both are independent of the
    order of the sides.
    """

    unit: str
    system: str
    turn: int
    judged: JudgedItem
    reference: JudgedItem


@dataclass(frozen=True)
class Joined:
    """The pairs, sorted, and the number of verdicts without a counterpart.

    `other_answers` is the number of joined verdicts that were dropped because the two judges read
    different answers.
    """

    pairs: tuple[Pair, ...]
    only_judged: int
    only_reference: int
    other_answers: int


def join(judged: VerdictSet, reference: VerdictSet) -> Joined:
    """Pair the verdicts of two judges.

    Systems are matched by name; where each side has one system, the names may differ.

    Raises:
        BadData: one id has two different prompts, nothing is in common, or most answers differ.
    """
    names = _systems(judged, reference)
    ours = [v for v in judged.items if v.system in names]
    theirs = [v for v in reference.items if v.system in names.values()]
    found = _matched(ours, theirs, names)
    pairs, other_answers = [], 0
    for left, right in found:
        if _differ(left, right):
            other_answers += 1
            continue
        unit = min(left.prompt, right.prompt)
        system = min(left.system, right.system)
        pairs.append(Pair(unit, system, left.turn, left, right))
    if not pairs or other_answers > len(pairs):
        raise BadData(_nothing(judged, reference, found, other_answers))
    pairs.sort(key=lambda pair: (pair.unit, pair.system, pair.turn))
    return Joined(
        pairs=tuple(pairs),
        only_judged=len(judged.items) - len(found),
        only_reference=len(reference.items) - len(found),
        other_answers=other_answers,
    )


def _systems(judged: VerdictSet, reference: VerdictSet) -> dict[str, str]:
    """Name of each judged system -> the reference's name of it, for systems that both have."""
    if len(judged.systems) == len(reference.systems) == 1:
        return {judged.systems[0]: reference.systems[0]}
    common = set(judged.systems) & set(reference.systems)
    if not common:
        raise BadData(
            f"no system in common: {judged.source} judges {_few(judged.systems)}, "
            f"{reference.source} {_few(reference.systems)}; expected verdicts on the same answers"
        )
    return {name: name for name in common}


def _matched(
    ours: Iterable[JudgedItem], theirs: Iterable[JudgedItem], names: dict[str, str]
) -> list[tuple[JudgedItem, JudgedItem]]:
    left, right = list(ours), list(theirs)
    found: list[tuple[JudgedItem, JudgedItem]] = []
    for key in (_by_id, _by_bare_id, _by_text):
        mine, index = _index(left, key, names), _index(right, key, {})
        taken: list[tuple[int, int]] = []
        for name, place in mine.items():
            other = index.get(name)
            if other is None:
                continue
            if _other_text(left[place], right[other]):
                if key is _by_id:
                    raise BadData(_two_texts(left[place], right[other]))
                continue
            taken.append((place, other))
        found += [(left[place], right[other]) for place, other in taken]
        gone = [{pair[side] for pair in taken} for side in (0, 1)]
        left = [verdict for place, verdict in enumerate(left) if place not in gone[0]]
        right = [verdict for place, verdict in enumerate(right) if place not in gone[1]]
    return found


def _index(
    verdicts: list[JudgedItem], key: Key, names: dict[str, str]
) -> dict[tuple[str, int, Hashable], int]:
    """Place of each verdict by its key, without keys that are None or shared by several."""
    keys = [(names.get(v.system, v.system), v.turn, key(v)) for v in verdicts]
    often = Counter(keys)
    return {
        (system, turn, name): place
        for place, (system, turn, name) in enumerate(keys)
        if name is not None and often[system, turn, name] == 1
    }


def _by_id(verdict: JudgedItem) -> str:
    return verdict.prompt


def _by_bare_id(verdict: JudgedItem) -> str:
    return verdict.prompt.rpartition("/")[2]


def _by_text(verdict: JudgedItem) -> str | None:
    return verdict.text or None


def _other_text(left: JudgedItem, right: JudgedItem) -> bool:
    return bool(left.text and right.text and left.text != right.text)


def _two_texts(left: JudgedItem, right: JudgedItem) -> str:
    return (
        f'"{left.prompt}" is a different prompt on each side (texts {left.text} and '
        f"{right.text}); expected verdicts on one prompt set"
    )


def _differ(left: JudgedItem, right: JudgedItem) -> bool:
    """Whether the two judges demonstrably read different answers."""
    if left.answers and right.answers:
        return left.answers != right.answers
    if left.lengths is not None and right.lengths is not None:
        return left.lengths != right.lengths
    return False


def _nothing(
    judged: VerdictSet,
    reference: VerdictSet,
    found: list[tuple[JudgedItem, JudgedItem]],
    other_answers: int,
) -> str:
    if found:
        left, right = next(pair for pair in found if _differ(*pair))
        return (
            f"{other_answers} of {len(found)} common prompts have different answers on the two "
            f'sides (e.g. "{left.prompt}" of {left.system} and {right.system}): a comparison would '
            "measure models, not judges; expected two judges of the same answers"
        )
    ids = [_few([verdict.prompt for verdict in side.items]) for side in (judged, reference)]
    return (
        f"no prompt in common: {judged.source} has {ids[0]}, {reference.source} has {ids[1]}; "
        "expected equal ids, or rows that contain the prompt's text"
    )


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f", ... ({len(listed)})" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
