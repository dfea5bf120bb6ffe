"""Which model answered: whether the name in a reply is the one that was asked for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from harness.core.text import line

# Dates and numbers of snapshots, at the end of a name.
_SNAPSHOT = re.compile(
    r"(?:[-@_](?:\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{8}|\d{6}|\d{3,4}|v\d+"
    r"|latest|preview|stable|gguf))+(?=$|:)"
)
_REGION = re.compile(r"^(?:us|eu|apac|global)\.(?=[a-z]+\.)")
_VENDOR = re.compile(r"^(?:anthropic|meta|amazon|mistral|cohere|deepseek)\.")


def other_model(asked: str, reply: dict[str, Any]) -> str | None:
    """The model that a reply names, if it is another than the one asked for.

    A snapshot of the model, its organisation and a gateway's suffix name the same model; two
    different snapshots do not.

    >>> other_model("gpt-4o", {"model": "openai/gpt-4o-2024-08-06"})
    >>> other_model("gpt-4o", {"model": "gpt-4o-mini"})
    'gpt-4o-mini'
    """
    named = reply.get("model")
    if not isinstance(named, str) or not named or named == asked:
        return None
    (asked_family, asked_of), (family, of) = _parts(asked), _parts(named)
    same = family == asked_family and (of == asked_of or not of or not asked_of)
    return None if same else line(named, 80)


@lru_cache(maxsize=256)
def _parts(name: str) -> tuple[str, str]:
    """A model's name without what names its snapshot, and the digits of that."""
    plain = name.lower().rstrip("/").rpartition("/")[2]
    plain = _VENDOR.sub("", _REGION.sub("", plain))
    if not plain.startswith("ft:"):
        plain = plain.partition(":")[0]
    found = _SNAPSHOT.search(plain)
    digits = re.sub(r"v\d+|\D", "", found[0]) if found else ""
    return _SNAPSHOT.sub("", plain).replace(".", "-"), digits
