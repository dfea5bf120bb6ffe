"""From the tokens of a source's vocabulary to the base's: the same text, or the nearest spelling.

A mapping is an array (source vocabulary,) of base ids, -1 where a token has no counterpart. Ties go
to the lowest base id, so that a mapping is the same on every run.

    exact    the base token with the same text                                          (EM)
    nearest  else argmin over base tokens y of Lev(x, y)                                (MinED)
             and of several, given co-occurrence counts, that whose neighbours are most like x's
    prefix   else the longest base token that x begins with: where x is next, so is that  (ours)

(arXiv 2401.10491, section 3, and its code.)

Departure: the released mapping compares vocabulary strings after `swap_marker`, special tokens and
lone bytes like any others; `nearest_tokens` of such strings is that mapping. `map_vocabulary`
compares texts, so that "Ġthe" is "▁the" and a byte is a byte; special tokens follow their role
(bos, eos, unk, ...) or the same text; and a token with no character in place, at a distance of its
own length, has no counterpart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.distillation.align.dtw import Ints, levenshtein_table
from harness.distillation.align.tokens import Vocabulary, swap_marker

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# By which a special token finds its counterpart; the later of two roles of one token counts.
_MAPPED_ROLES = ("mask", "cls", "sep", "unk", "bos", "eos")
_BYTE = re.compile("<0x[0-9A-F]{2}>|.*[\udc80-\udcff]", re.DOTALL)
_ROWS = 1024  # keys that are compared at once with all base tokens of a length


def map_vocabulary(
    base: Vocabulary,
    source: Vocabulary,
    mode: Literal["exact", "nearest", "prefix"] = "nearest",
    counts: tuple[csr_array, csr_array] | None = None,
) -> Ints:
    """Base id of each source token, -1 where it has none.

    Args:
        counts: the `cooccurrences` of the base's and of the source's tokens.
    """
    found = same_text(base, source)
    if mode == "nearest":
        shared = np.flatnonzero(found >= 0)
        spelled = np.array([i for i in _spelled(source) if found[i] < 0], np.int64)
        candidates = np.array(_spelled(base), np.int64)
        keys, texts = ([v.texts[i] for i in c] for v, c in ((source, spelled), (base, candidates)))
        ties, distances = nearest_tokens(keys, texts)
        tied = [candidates[t] for t in ties]
        if counts is not None:
            rows = _unit_rows(counts[1], shared)[spelled]
            tied = _most_alike(tied, _unit_rows(counts[0], found[shared]), rows)
        for i, key, options, distance in zip(spelled, keys, tied, distances):
            if distance < len(key) and len(options):
                found[i] = options[0]
    if mode == "prefix":
        begins = {base.pieces[i]: i for i in reversed(range(len(base))) if not base.is_special[i]}
        for i in np.flatnonzero((found < 0) & ~source.is_special).tolist():
            piece = source.pieces[i]
            heads = (begins.get(piece[:size], -1) for size in range(len(piece), 0, -1))
            found[i] = next((head for head in heads if head >= 0), -1)
    for role in _MAPPED_ROLES:
        if role in base.roles and role in source.roles:
            found[source.roles[role]] = base.roles[role]
    return found


def same_text(base: Vocabulary, source: Vocabulary) -> Ints:
    """Base id with the same text, -1 where none.

    Of several that with the same vocabulary string but for the marker, else one that is no byte
    fallback token, else the lowest id.
    """
    places: dict[str | tuple[str, str], int] = {}
    order = sorted(range(len(base)), key=lambda i: (bool(_BYTE.match(base.tokens[i])), i))
    for i in order:
        places.setdefault(base.texts[i], i)
        places.setdefault((base.texts[i], base.tokens[i]), i)
    keys = zip(source.texts, swap_marker(source.tokens, source.marker, base.marker))
    found = [places.get(key, places.get(key[0], -1)) if key[0] else -1 for key in keys]
    return np.array(found, np.int64)


def nearest_tokens(keys: Sequence[str], base: Sequence[str]) -> tuple[list[Ints], Ints]:
    """For each key the places of all base strings at the least edit distance, and the distance.

    Equal to the full search. Strings are met in the order of their difference in length, which the
    distance is never below, until nothing better or equal can come.
    """
    buckets, groups = _by_length(base), _by_length(keys)
    texts, wanted = np.array(base, object), np.array(keys, object)
    ties: list[list[Ints]] = [[] for _ in keys]
    best = np.full(len(keys), np.iinfo(np.int64).max, np.int64)
    for size, group in groups.items():
        nearby = sorted(buckets, key=lambda length: abs(length - size))
        for start in range(0, len(group), _ROWS):
            chosen = group[start : start + _ROWS]
            for length in nearby:
                chosen = chosen[best[chosen] >= abs(length - size)]
                table = levenshtein_table(wanted[chosen], texts[buckets[length]])
                least = table.min(1, initial=np.iinfo(np.int32).max)
                for i, row, distance in zip(chosen.tolist(), table, least.tolist()):
                    if distance < best[i]:
                        best[i], ties[i] = distance, []
                    if distance == best[i]:
                        ties[i].append(buckets[length][row == distance])
    nothing = np.zeros(0, np.int64)
    return [np.sort(np.concatenate([nothing, *parts])) for parts in ties], best


def cooccurrences(documents: Iterable[Sequence[int]], size: int, window: int = 5) -> csr_array:
    """How often two tokens stand at most `window` places apart in a document: (size, size)."""
    from scipy.sparse import coo_array

    pairs = [np.zeros((2, 0), np.int64)]
    for document in documents:
        ids = np.asarray(document, np.int64)
        for gap in range(1, min(window, len(ids) - 1) + 1):
            pairs.append(np.stack([ids[:-gap], ids[gap:]]))
    rows, columns = np.concatenate(pairs, axis=1)
    counts = coo_array((np.ones(len(rows), np.int64), (rows, columns)), shape=(size, size)).tocsr()
    return (counts + counts.T).tocsr()


def _most_alike(tied: Sequence[Ints], base: Any, source: Any) -> list[Ints]:
    """Of tied base tokens that with the highest cosine to the source's row, the first on ties."""
    found = []
    for i, options in enumerate(tied):
        if len(options) > 1:
            cosines = (base[options] @ source[[i]].T).toarray()[:, 0]
            options = options[[cosines.argmax()]]
        found.append(options)
    return found


def _unit_rows(counts: csr_array, columns: Ints) -> Any:
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import norm

    kept = counts[:, columns].astype(np.float64)
    sizes = norm(kept, axis=1)
    return diags_array(1 / np.where(sizes > 0, sizes, 1)).tocsr() @ kept


def _spelled(vocabulary: Vocabulary) -> list[int]:
    """Tokens that can be compared by their spelling: text, whole characters, not special."""
    return [
        i
        for i, (token, text) in enumerate(zip(vocabulary.tokens, vocabulary.texts))
        if text and i not in vocabulary.special and not _BYTE.match(token) and not _BYTE.match(text)
    ]


def _by_length(tokens: Sequence[str]) -> dict[int, Ints]:
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    for place, token in enumerate(tokens):
        buckets[len(token)].append(place)
    return {length: np.array(found, np.int64) for length, found in buckets.items()}
