"""A domain of twelve skills, in which the coverage of instruction data can be counted.

    domain    rewrite letters
    tasks     mark, turn, send, copy       families of three skills each: mark red, mark old, ...
    skill     a secret alphabet: every letter has one form
    example   "mark red fabd"  ->  "CHAE"

No skill can be derived from another, so that a model knows those that its training data cover.
Asked for examples of a broad task, a writer gives those that come to mind first: the skill of rank
r with a probability proportional to 1 / r^2 (`typical`). These collect in instruction data that are
written about a domain as a whole.

    nano:skills/test      questions on all skills, with letters that no training data have
    nano:skills/curated   instruction data on four skills, written by hand as it were
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.engine.operations import Row

VERSION = 1  # raise it if a skill, a question or an answer changes
LETTERS = "abcdefgh"
FORMS = "ABCDEFGH"
LENGTH = 4
ROOT = "rewrite letters"
FAMILIES = ("mark", "turn", "send", "copy")
KINDS = ("red", "old", "top")
PREFIX = "skills/"
TEST = "test"  # the split of questions
CURATED_SET = "curated"  # the instruction data on the first skills
TESTED = 25  # questions per skill
RESERVED = 0.1  # share of the letters of each skill that are kept for questions
CURATED = 4  # skills of the curated data
CURATED_EACH = 500


@dataclass(frozen=True)
class Skill:
    """A task without sub-tasks."""

    family: str
    kind: str

    @property
    def name(self) -> str:
        return f"{self.family} {self.kind}"

    @property
    def alphabet(self) -> dict[str, str]:
        """Form of each letter."""
        forms = list(FORMS)
        random.Random(seed_from("skill", VERSION, self.name)).shuffle(forms)
        return dict(zip(LETTERS, forms))

    def answer(self, letters: str) -> str:
        return "".join(self.alphabet[letter] for letter in letters)

    def is_reserved(self, letters: str) -> bool:
        """Whether these letters are for questions only."""
        return seed_from("reserved", VERSION, self.name, letters) / 2**63 < RESERVED

    def example(self, rng: random.Random) -> tuple[str, str]:
        """Instruction and output of a training example."""
        while True:
            letters = "".join(rng.choices(LETTERS, k=LENGTH))
            if not self.is_reserved(letters):
                return f"{self.name} {letters}", self.answer(letters)


@cache
def skills() -> tuple[Skill, ...]:
    """All skills, the most typical of the domain first; no family leads."""
    return tuple(
        Skill(FAMILIES[(place + row) % len(FAMILIES)], kind)
        for row, kind in enumerate(KINDS)
        for place in range(len(FAMILIES))
    )


def below(task: str) -> tuple[str, ...]:
    """Names of the sub-tasks of a task; () for a skill.

    Raises:
        UnknownName: there is no such task.
    """
    if task == ROOT:
        return FAMILIES
    if task in FAMILIES:
        return tuple(f"{task} {kind}" for kind in KINDS)
    if task not in {skill.name for skill in skills()}:
        raise unknown("task of the nano skills", task, [ROOT, *FAMILIES])
    return ()


def typical(task: str, rng: random.Random) -> Skill:
    """A skill of a task, as it comes to mind; see the module."""
    own = [s for s in skills() if task in (ROOT, s.family, s.name)]
    return rng.choices(own, [1 / rank**2 for rank in range(1, len(own) + 1)])[0]


def skill_of(instruction: str) -> str | None:
    """Name of the skill that an instruction asks for; None if it asks for none."""
    name = " ".join(instruction.split()[:2])
    return name if name in {skill.name for skill in skills()} else None


@cache
def _questions() -> tuple[tuple[Skill, str], ...]:
    found = []
    for skill in skills():
        rng = random.Random(seed_from("questions", VERSION, skill.name))
        chosen: dict[str, None] = {}
        while len(chosen) < TESTED:
            letters = "".join(rng.choices(LETTERS, k=LENGTH))
            if skill.is_reserved(letters):
                chosen[letters] = None
        found += [(skill, letters) for letters in chosen]
    return tuple(found)


def prompts_of(split: str) -> list[Row]:
    """Questions of the split "test", skills in turn.

    Raises:
        UnknownName: there is no such split.
    """
    if split != TEST:
        raise unknown("split of nano:skills", split, [TEST])
    rows = [
        {
            "id": f"skills/{skill.name}/{letters}",
            "messages": [{"role": "user", "content": f"{skill.name} {letters}"}],
            "category": skill.name,
        }
        for skill, letters in _questions()
    ]
    return [row for turn in range(TESTED) for row in rows[turn::TESTED]]


def curated(name: str) -> list[Row]:
    """Instruction data on the first skills of the domain.

    Raises:
        UnknownName: there are no such data.
    """
    if name != CURATED_SET:
        raise unknown("instruction data of nano:skills", name, [CURATED_SET])
    rng = random.Random(seed_from("curated", VERSION))
    found: list[Row] = []
    for number in range(CURATED_EACH):
        for skill in skills()[:CURATED]:
            asked, said = skill.example(rng)
            messages = [{"role": "user", "content": asked}]
            id = f"curated/{skill.name}/{number}"
            found.append({"id": id, "messages": messages, "response": said})
    return found


def score(row: Row, response: str) -> dict[str, float]:
    """Metrics of the suite `skills`: the whole answer, and its letters, as shares."""
    asked = str(row["messages"][-1]["content"])
    family, kind, letters = asked.split()
    right, said = Skill(family, kind).answer(letters), response.strip()
    same = sum(one == other for one, other in zip(right, said))
    return {"exact": float(said == right), "letters": same / max(len(right), len(said))}


def counted(instructions: Sequence[str]) -> dict[str, int]:
    """Number of instructions of each skill."""
    counts = {skill.name: 0 for skill in skills()}
    for name in map(skill_of, instructions):
        if name is not None:
            counts[name] += 1
    return counts


def covered(instructions: Sequence[str], least: int) -> dict[str, bool]:
    """Which skills have at least `least` instructions."""
    return {name: count >= least for name, count in counted(instructions).items()}
