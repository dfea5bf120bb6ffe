"""Final answers and their comparison as Explore-Instruct's evaluation of MATH does them.

The answer is the last box; without one, what follows the last "is" and the last "=", from which all
dollar signs and full stops are deleted (3.5 becomes 35). Answers are equal if their texts are equal
after a few replacements, those of the MATH data set's own comparison (Hendrycks et al. 2021);
two missing answers are equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from harness.verification.final_answers import last_boxed

_DELETED = ("\n", "\\!")
_LATER = ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$")


def released_answer(response: str) -> str:
    """The released prediction for a response.

    >>> released_answer("It is 2.75")
    '275'
    """
    boxed = last_boxed(response)
    if boxed is not None:
        return boxed
    if "is" not in response and "=" not in response:
        return response
    cut = response.rpartition("is")[2].rpartition("=")[2]
    return cut.replace("$", "").replace(".", "").strip()


def released_equal(one: str | None, other: str | None) -> bool:
    """Whether two answers have the same text after the released replacements."""
    if one is None or other is None:
        return one is other
    try:
        return _normal(one) == _normal(other)
    except (IndexError, ValueError):  # the original compares the plain texts then
        return one == other


def _normal(text: str) -> str:
    for part in _DELETED:
        text = text.replace(part, "")
    text = text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for part in _LATER:
        text = text.replace(part, "")
    text = _without_unit(text).replace("\\%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = "0" + text if text.startswith(".") else text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    text = _braced_after(text, "\\sqrt", _root).replace(" ", "")
    with suppress(ValueError):  # an incomplete fraction leaves all fractions as they are
        text = _braced_after(text, "\\frac", _fraction)
    text = "\\frac{1}{2}" if text == "0.5" else text
    quotient = re.fullmatch(r"(0|-?[1-9]\d*)/(0|-?[1-9]\d*)", text, re.ASCII)
    return f"\\frac{{{quotient[1]}}}{{{quotient[2]}}}" if quotient else text


def _without_unit(text: str) -> str:
    """Text before the one `\\text{ `; ValueError if there are several."""
    parts = text.split("\\text{ ")
    if len(parts) > 2:
        raise ValueError("several units")
    return parts[0]


def _braced_after(text: str, command: str, braced: Callable[[str], str]) -> str:
    head, *rest = text.split(command)
    return head + "".join(command + braced(part) for part in rest)


def _root(rest: str) -> str:
    return rest if rest[0] == "{" else f"{{{rest[0]}}}{rest[1:]}"


def _fraction(rest: str) -> str:
    if rest[0] == "{":
        return rest
    if len(rest) < 2:
        raise ValueError("an incomplete fraction")
    above, below = rest[0], rest[1]
    return f"{{{above}}}" + (rest[1:] if below == "{" else f"{{{below}}}{rest[2:]}")
