"""Exams that a helper writes as JSON instead of the requested format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from methods.kca.options import split_options

_START = re.compile(r"[\[{]")
_FIELDS = ("question", "options", "answer")


def json_blocks(text: str) -> Iterator[dict[str, Any]]:
    """Questions of the first JSON list or object in a text that contains any.

    Yields question, options as (label, text), analysis, and answer (None if absent). Options are an
    object by label, or a list, whose entries may begin with their labels.
    """
    decoder = json.JSONDecoder()
    for start in _START.finditer(text):
        try:
            found, _ = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        items = [item for item in _listed(found) if isinstance(item, dict) and "question" in item]
        if items:
            yield from (_block(item) for item in items)
            return


def _listed(found: Any) -> list[Any]:
    """The entries of a list, of an object's list, or an object alone."""
    if isinstance(found, list):
        return found
    if "question" in found:
        return [found]
    return next((value for value in found.values() if isinstance(value, list)), [])


def _block(item: dict[str, Any]) -> dict[str, Any]:
    answer = item.get("answer")
    return {
        "question": _text(item["question"]),
        "options": _options(item.get("options")),
        "analysis": _text(item.get("analysis")),
        "answer": None if answer is None else _text(answer),
    }


def _options(found: Any) -> list[tuple[str, str]]:
    if isinstance(found, dict):
        return [(str(label).strip("()[] .:").upper(), _text(text)) for label, text in found.items()]
    if not isinstance(found, list):
        return split_options(_text(found))
    texts = [_text(text) for text in found]
    labelled = [split_options(text) for text in texts]
    if texts and all(
        len(one) == 1 and text[:1] in "([ABCDabcd" for one, text in zip(labelled, texts)
    ):
        return [one[0] for one in labelled]
    return [(chr(ord("A") + place % 26), text) for place, text in enumerate(texts)]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
