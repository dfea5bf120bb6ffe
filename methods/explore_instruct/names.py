"""Ids of tasks, made from the names that a model gives them.

An id is the name's letters a to z and digits in lower case, joined by "_", and is the name of the
node's file. Departure: ids are unique and never empty or longer than `LIMIT`; `names_released` has
the rule of the released code, which this one equals wherever that gives a new, non-empty id.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import count

from harness.core.hashing import digest

LIMIT = 100  # characters of an id before a number is added; file systems allow 255 bytes
_OTHERS = re.compile(r"[^A-Za-z0-9]+")


def task_id(name: str, taken: Collection[str] = ()) -> str:
    """An id for a task that is not in `taken`.

    A name without ASCII letters and digits gets an id from its digest, the same in every run.

    >>> task_id("Style-transfer (formal)"), task_id("Paraphrase", {"paraphrase"})
    ('style_transfer_formal', 'paraphrase_0')
    """
    stem = slug(name)[:LIMIT].rstrip("_") or f"task_{digest(name)[:8]}"
    if stem not in taken:
        return stem
    return next(id for n in count() if (id := f"{stem}_{n}") not in taken)


def slug(name: str) -> str:
    """Lower-cased ASCII letters and digits of a name, each run of others as one "_".

    >>> slug("  1. Tone & style "), slug("总结")
    ('1_tone_style', '')
    """
    return _OTHERS.sub("_", name).strip("_").lower()
