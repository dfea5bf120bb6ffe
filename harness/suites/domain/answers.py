"""Answers as they are judged: without the answer header of the Alpaca template."""

from __future__ import annotations

import re
from typing import Literal

from harness.engine.operations import Row
from harness.suites.domain.answers_released import strip_characters

Cleaning = Literal["header", "compat", "none"]
_HEADER = re.compile(r"\s*###\s*Response\s*:", re.IGNORECASE)


def cleaned(text: str, rule: Cleaning = "header") -> str:
    """An answer without one header "### Response:" at its beginning, and without outer blanks.

    Args:
        rule: "compat" removes leading characters of the header as the released code does, "none"
            changes nothing.

    >>> cleaned("### Response: none of them"), cleaned("### Response: none of them", "compat")
    ('none of them', 'f them')
    """
    if rule == "none":
        return text
    if rule == "compat":
        return strip_characters(text)
    found = _HEADER.match(text)
    return (text if found is None else text[found.end() :]).strip()


def cleaned_row(row: Row, rule: Cleaning) -> Row:
    """An answer row whose responses are cleaned."""
    return {**row, "responses": [cleaned(text, rule) for text in row.get("responses") or []]}
