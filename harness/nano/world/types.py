"""The nouns of the nano world: an item (one task, one or two turns) and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass, field

SKILLS = ("arith", "compare", "sort", "count", "reverse", "persona", "fact", "place")

# The eight categories of MT-Bench, one skill each; the first three of these are reference-guided.
CATEGORY = {
    "arith": "math",
    "compare": "reasoning",
    "sort": "coding",
    "count": "extraction",
    "reverse": "writing",
    "persona": "roleplay",
    "fact": "stem",
    "place": "humanities",
}
REFERENCE_GUIDED = frozenset({"math", "reasoning", "coding"})

# What a prompt may ask of the answer line, and how the line then looks.
FORMATS = {
    "plain": "",
    "brackets": "Use brackets.",
    "stars": "Use stars.",
    "done": "End with done.",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """What a perfect answer to one turn contains: working steps, then a line with two parts."""

    main: str
    second: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One task: the user's prompts and, turn by turn, the truth about their answers.

    The second prompt of a two-turn item depends on the answer to the first, and the format asked
    for in the first prompt holds for the whole conversation.
    """

    id: str
    split: str
    skill: str
    difficulty: int  # 1 (easy) .. 4 (hard)
    turns: tuple[str, ...]
    truths: tuple[Truth, ...] = field(repr=False)
    format: str = "plain"
    category: str = ""
    cluster: str | None = None

    @property
    def reference_guided(self) -> bool:
        """Whether judges see the reference answer (math, reasoning and coding, as in MT-Bench)."""
        return self.category in REFERENCE_GUIDED
