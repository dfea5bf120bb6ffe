"""Ids of tasks as released: empty for "总结", and repeated at the eleventh clash of a name."""

from __future__ import annotations

from collections.abc import Collection

from methods.explore_instruct.names import slug

SUFFIXES = 10


def task_id_released(name: str, taken: Collection[str] = ()) -> str:
    """The id as released: "_9" is returned even if taken, and its node is then overwritten."""
    stem = slug(name)
    if stem not in taken:
        return stem
    numbered = [f"{stem}_{n}" for n in range(SUFFIXES)]
    return next((id for id in numbered if id not in taken), numbered[-1])
