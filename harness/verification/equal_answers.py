"""Whether two mathematical answers are equal, as values, texts, or tuples and sets of them.

The decision is symmetric and does not depend on blanks. Numbers are compared exactly, words by
their letters, composed answers element by element; only what is left is a question for computer
algebra, `same`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from harness.verification.answer_forms import (
    Parts,
    assigned,
    is_words,
    parts_of,
    plain_form,
    rational,
    unbracketed,
)

Same = Callable[[str, str], bool | None]
_DEEPEST = 8
_MOST_ELEMENTS = 64


def equal_answers(one: str | None, other: str | None, same: Same) -> bool | None:
    """Whether two answers are equal; None if computer algebra cannot tell.

    Args:
        one, other: None or "" is a missing answer, which is equal to nothing.
        same: compares two expressions in LaTeX.

    >>> equal_answers("(1, 0.5)", "(1,1/2)", lambda one, other: None)
    True
    """
    if one is None or other is None:
        return False
    forms = plain_form(one), plain_form(other)
    return _equal(*forms, same, 0) if all(forms) else False


def _equal(one: str, other: str, same: Same, depth: int) -> bool | None:
    one, other = unbracketed(one), unbracketed(other)
    if depth > _DEEPEST or not one or not other:
        return False
    known = _numeric(one, other)
    if known is not None:
        return known
    if _squeezed(one) == _squeezed(other):
        return True
    named = assigned(one), assigned(other)
    if named[0] and named[1] and named[0][0] == named[1][0]:
        return _equal(named[0][1], named[1][1], same, depth + 1)
    if named[0] and not named[1] and not _relates(other):
        return _equal(named[0][1], other, same, depth + 1)
    if named[1] and not named[0] and not _relates(one):
        return _equal(one, named[1][1], same, depth + 1)
    if named[0] and named[1]:
        return same(*sorted((one, other)))
    return _composed(one, other, same, depth)


def _composed(one: str, other: str, same: Same, depth: int) -> bool | None:
    one, other = _both_signs(one), _both_signs(other)
    parts = parts_of(one), parts_of(other)
    if parts[0] is not None and parts[1] is not None:
        return _equal_parts(parts[0], parts[1], same, depth)
    whole = (one, other) if parts[0] is None else (other, one)
    split = parts[0] or parts[1]
    if split is not None and not _relates(whole[0]):
        return False  # one value is no tuple, set or list
    if is_words(one) or is_words(other):
        return _equal_words(one, other, same)
    return same(*sorted((one, other)))


def _numeric(one: str, other: str) -> bool | None:
    """The comparison of two numbers; None unless both are."""
    values = rational(one), rational(other)
    return None if None in values else values[0] == values[1]


def _equal_words(one: str, other: str, same: Same) -> bool | None:
    """Two words by their letters; short ones may be products of variables."""
    if one.casefold() == other.casefold() and len(one) > 1:
        return True
    if max(len(one), len(other)) > 3 and is_words(one) and is_words(other):
        return False
    if any(is_words(text) and len(text) > 3 for text in (one, other)):
        return False
    return same(*sorted((one, other)))


def _equal_parts(one: Parts, other: Parts, same: Same, depth: int) -> bool | None:
    kinds = {one.kind, other.kind}
    if one.kind != other.kind and kinds != {"{}", ","}:
        return False
    mine, theirs = one.elements, other.elements
    if max(len(mine), len(theirs)) > _MOST_ELEMENTS:
        return None
    if one.ordered:
        if len(mine) != len(theirs):
            return False
        return _all(_equal(a, b, same, depth + 1) for a, b in zip(mine, theirs, strict=True))
    if kinds == {"{}"}:
        mine, theirs = (_distinct(part, same, depth) for part in (mine, theirs))
    return _matched(mine, theirs, same, depth)


def _matched(mine: Sequence[str], theirs: Sequence[str], same: Same, depth: int) -> bool | None:
    """Whether the elements can be paired; equality is transitive, so the first fit is right."""
    if len(mine) != len(theirs):
        return False
    left, unsure = list(theirs), False
    for element in mine:
        found = None
        for place, candidate in enumerate(left):
            verdict = _equal(element, candidate, same, depth + 1)
            unsure |= verdict is None
            if verdict:
                found = place
                break
        if found is None:
            return None if unsure else False
        left.pop(found)
    return True


def _distinct(elements: Sequence[str], same: Same, depth: int) -> tuple[str, ...]:
    kept: list[str] = []
    for element in elements:
        if not any(_equal(element, known, same, depth + 1) for known in kept):
            kept.append(element)
    return tuple(kept)


def _all(verdicts: object) -> bool | None:
    found = list(verdicts)  # type: ignore[call-overload]
    if False in found:
        return False
    return None if None in found else True


def _both_signs(text: str) -> str:
    r"""`a \pm b` as the two values it stands for."""
    if text.count("\\pm") != 1 or "," in text:
        return text
    return f"{text.replace(chr(92) + 'pm', '+')} , {text.replace(chr(92) + 'pm', '-')}"


def _relates(text: str) -> bool:
    """Whether a text is an equation, an inequality or a set relation."""
    return (
        re.search(r"[<>=]|\\(?:le|ge|ne|leq|geq|neq|lt|gt|in|cup|cap|mathbb)(?![a-zA-Z])", text)
        is not None
    )


def _squeezed(text: str) -> str:
    return "".join(text.split())
