"""Truths: what is right, where a world knows it; for the figures that check a run against truth.

    grade = truth_about("nano:train")          None where nothing is known to be right
    grade(row, "So: 3+4=7. Answer: 7, odd.")   -> Verity(grade=1.0, formed=True)

The reference is that of the prompts, pairs or authors of a recipe. Worlds add their truths to
the table SOURCES of their catalogue, as three kinds of data (`harness.data.sources`):

    truths    (prompt row, response) -> `Verity`, None for a prompt that the world does not know
    signs     author row -> what the text shows about the items of a questionnaire
    facts     of a model reference: (prompt row) -> whether the model has seen the facts that it
              needs, None for a prompt that needs none

No method and no training reads these: they say afterwards whether what a method needs was there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from harness.core.errors import check_planned
from harness.data.sources import Source, registered
from harness.engine.operations import Row


class Verity(NamedTuple):
    """How good a response truly is.

    Attributes:
        grade: in [0, 1].
        formed: whether it has the form that was asked for, right or wrong.
    """

    grade: float
    formed: bool


class Sign(NamedTuple):
    """What an author's text shows about an item: the label of the trait that it speaks for."""

    trait: str
    number: int
    label: int


Grader = Callable[[Row, str], Verity | None]
Signs = Callable[[Row], Sequence[Sign]]
Knows = Callable[[Row], bool | None]


def _source(kind: str, ref: str) -> Source[str, Any] | None:
    scheme, colon, _ = ref.partition(":")
    return registered(kind, scheme) if colon else None


def truth_identity(ref: str, kind: str = "truths") -> str:
    """Version of the truth about what a reference leads to; "" if nothing is known."""
    found = _source(kind, ref)
    return "" if found is None else found.identity(ref, None)


def truth_about(ref: str, planned: str | None = None) -> Grader | None:
    """The grader for the prompts or pairs of a reference; None if nothing is known.

    Args:
        planned: its identity when the plan was made, see `check_planned`.
    """
    found: Grader | None = _opened("truths", ref, planned)
    return found


def signs_about(ref: str, planned: str | None = None) -> Signs | None:
    """What the texts of a set of authors show; None if it is unknown."""
    found: Signs | None = _opened("signs", ref, planned)
    return found


def facts_known_by(model: str, planned: str | None = None) -> Knows | None:
    """Which facts a model has seen, by its reference; None if this is unknown."""
    found: Knows | None = _opened("facts", model, planned)
    return found


def _opened(kind: str, ref: str, planned: str | None) -> Any:
    source = _source(kind, ref)
    if source is None:
        return None
    if planned is not None:
        check_planned(f"{kind} {ref}", source.identity(ref, None), planned)
    return source.rows(ref)
