"""The five labels of an Arena-Hard game, their synonyms, and the rows each counts as."""

from __future__ import annotations

EMPHASIS = 3  # rows of a ">>" label

# The options of the prompt, from "A is significantly better" to "B is significantly better".
ARENA_LABELS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
ARENA_SYNONYMS = {"A<B": "B>A", "A<<B": "B>>A", "B=A": "A=B", "B<A": "A>B", "B<<A": "A>>B"}


def label_rows(weight: int = EMPHASIS) -> dict[str, tuple[float, ...]]:
    """Rows of every legal label in the view of A; an emphatic label counts `weight` times.

    >>> label_rows()["A<<B"]
    (0.0, 0.0, 0.0)
    """
    rows: dict[str, tuple[float, ...]] = {
        "A>>B": (1.0,) * weight,
        "A>B": (1.0,),
        "A=B": (0.5,),
        "B>A": (0.0,),
        "B>>A": (0.0,) * weight,
    }
    return rows | {label: rows[same] for label, same in ARENA_SYNONYMS.items()}


# Legal label, synonyms included -> place in ARENA_LABELS.
LABEL_STATES = {
    label: ARENA_LABELS.index(ARENA_SYNONYMS.get(label, label))
    for label in (*ARENA_LABELS, *ARENA_SYNONYMS)
}
