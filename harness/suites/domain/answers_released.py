"""The released clean-up of answers: the header is removed as a set of characters.

An answer that follows the header on its line loses its leading characters among `#`, blank, R, e,
s, p, o, n and colon ("none of them" becomes "f them").
Source: fanqiwan/Explore-Instruct, eval (generation of answers).
"""

from __future__ import annotations

HEADER = "### Response:"


def strip_characters(text: str) -> str:
    """The text without leading characters of the header, then without outer blanks."""
    return text.lstrip(HEADER).strip()
