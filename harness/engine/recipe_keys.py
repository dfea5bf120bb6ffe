"""Keys of recipes that people mean."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.core.errors import BadRecord, nearest


def meant_key(key: str, known: Iterable[str]) -> str | None:
    """The key that a wrong one most likely means: of its last name, in the same table if possible.

    >>> meant_key("train.beta", ["train.epochs", "train.settings.beta", "sft.beta"])
    'train.settings.beta'
    >>> meant_key("train.betta", ["train.epochs", "train.settings.beta"])
    'train.settings.beta'
    """
    table, _, last = key.rpartition(".")
    keys = list(known)
    inside = [name for name in keys if table and name.startswith(f"{table}.")]
    for among in (inside, keys):
        same = [name for name in among if name.rpartition(".")[2] == last]
        if same:
            return min(same, key=lambda name: (name.count("."), name))
    for among in (inside, keys):
        ends = {name.rpartition(".")[2]: name for name in sorted(among, reverse=True)}
        if guess := nearest(last, ends):
            return ends[guess]
    return None


def with_meant_key(error: BadRecord, given: Iterable[str], known: Iterable[str]) -> BadRecord:
    """The error about an unknown key of `--set`, with the key that is meant."""
    text = str(error)
    for key in given:
        mark = f'unknown key "{key}"'
        guess = meant_key(key, known) if mark in text else None
        if guess is not None:
            before, _, after = text.partition(mark)
            after = re.sub(r'^; did you mean "[^"]*"\?', "", after)
            return BadRecord(f'{before}{mark}; did you mean "{guess}"?{after}')
    return error
