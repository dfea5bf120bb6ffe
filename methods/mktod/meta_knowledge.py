"""Meta knowledge: what a generator is told about the retrieval of a record (section 3.4).

    order           the rank: 1 to 5, others and the negative entity share one class
    confidence      high, mid or low, by the score; the negative entity is low
    cooccurrence    old if the record is in the dialogue already, else new; the negative is new

It is given as prefix tokens, or as sentences in the prompt of a chat model. Scores must be bounded
for the thresholds to mean something: cosines here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from harness.suites.dialogue.records import NAME
from harness.suites.dialogue.text import contains_run, plain_tokens

Confidence = Literal["high", "mid", "low"]
Seen = Literal["old", "new"]
Part = Literal["order", "confidence", "cooccurrence"]

RANKED = 5  # ranks with a class of their own
# Least score of "high" and of "mid". The appendix has 0.25, footnote 1 of the paper 0.4.
EDGES: dict[str, tuple[float, float]] = {"table": (0.75, 0.25), "footnote": (0.75, 0.4)}
PREFIX: tuple[Part, ...] = ("cooccurrence", "confidence", "order")


class MetaKnowledge(NamedTuple):
    """Classes of one record; order is None for a rank above 5 and for the negative entity."""

    order: int | None
    confidence: Confidence
    cooccurrence: Seen

    @property
    def tokens(self) -> dict[Part, str]:
        """Prefix tokens, spelt as in the paper's tables ("<2th-entity>")."""
        order = "other" if self.order is None else f"{self.order}th"
        return {
            "order": f"<{order}-entity>",
            "confidence": f"<{self.confidence}-confidence>",
            "cooccurrence": f"<{self.cooccurrence}-entity>",
        }

    def prefix(self, parts: Sequence[Part] = PREFIX) -> str:
        """Prefix tokens separated by blanks.

        >>> MetaKnowledge(2, "mid", "new").prefix()
        '<new-entity> <mid-confidence> <2th-entity>'
        """
        return " ".join(self.tokens[part] for part in parts)

    @property
    def sentence(self) -> str:
        """The same in words, for the prompt of a chat model; our wording."""
        place = "not among the best matches" if self.order is None else f"match number {self.order}"
        sure = {"high": "high", "mid": "middle", "low": "low"}[self.confidence]
        seen = "mentioned in the dialogue" if self.cooccurrence == "old" else "not mentioned yet"
        return f"{place}, {sure} confidence, {seen}"


def meta_knowledge(
    rank: int | None, score: float, name: str, context: str, edges: str = "table"
) -> MetaKnowledge:
    """Classes of a retrieved record.

    Args:
        rank: from 1; None for the negative entity, whose score and name do not matter.
        name: of the record; "" is never in the dialogue.
        edges: key of EDGES.
    """
    if rank is None:
        return MetaKnowledge(None, "low", "new")
    high, mid = EDGES[edges]
    confidence: Confidence = "high" if score >= high else "mid" if score >= mid else "low"
    seen = contains_run(plain_tokens(context), plain_tokens(name))
    order = rank if rank <= RANKED else None
    return MetaKnowledge(order, confidence, "old" if seen else "new")


def of_row(
    records: Sequence[Mapping[str, str]], scores: Sequence[float], context: Sequence[str]
) -> list[MetaKnowledge]:
    """Classes of the records of a turn, best first.

    Scores of rules are counts; they are divided by the turn's largest one, so that the thresholds
    apply to a share of the best match. Cosines stay as they are.
    """
    most = max(scores, default=0.0)
    said = " ".join(context)
    return [
        meta_knowledge(rank, score / most if most > 1 else score, record.get(NAME, ""), said)
        for rank, (record, score) in enumerate(zip(records, scores, strict=True), 1)
    ]
