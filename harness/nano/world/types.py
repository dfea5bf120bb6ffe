"""Records of the nano world: an item (one task with one or two turns) and its truth."""

from __future__ import annotations

from dataclasses import dataclass, field

SKILLS = ("arith", "compare", "sort", "count", "reverse", "persona", "fact", "place")

# MT-Bench's category of each skill; the first three categories are reference-guided.
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

# Formats of the answer line, and the sentence that requests each.
FORMATS = {
    "plain": "",
    "brackets": "Use brackets.",
    "stars": "Use stars.",
    "done": "End with done.",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """Content of a perfect answer to one turn: working steps, and two parts of the last line."""

    main: str
    second: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One task: the user's prompts, and the truth of each turn.

    The second prompt of a two-turn item depends on the answer to the first. The format requested in
    the first prompt applies to both turns.
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
