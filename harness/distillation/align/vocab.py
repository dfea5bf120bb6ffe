"""Map source token ids to base token ids by identical text, nearest spelling or longest prefix.

A mapping is an array (source vocabulary,) of base ids, -1 where a token has no counterpart. Ties
are broken by the lowest base id, so mappings are deterministic. For a source token x:

    exact    the base token with the same text                                        (EM)
    nearest  exact, else argmin over base tokens y of Lev(x, y); with co-occurrence
             counts, ties are broken by the cosine of the neighbour counts            (MinED)
    prefix   exact, else the longest base token that is a prefix of x                 (ours)

(arXiv 2401.10491, section 3, and its code.)

Departure: the released mapping compares vocabulary strings after `swap_marker`, including special
tokens and single bytes; `nearest_tokens` on such strings reproduces it. `map_vocabulary` compares
texts, so "Ġthe" equals "▁the" and bytes match bytes; special tokens match by role (bos, eos, unk,
...) or by text; a nearest token at a distance of len(x) or more is rejected, because it shares no
character in place with x.
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

# Roles by which special tokens are matched; if a token has two roles, the later one wins.
_MAPPED_ROLES = ("mask", "cls", "sep", "unk", "bos", "eos")
_BYTE = re.compile("<0x[0-9A-F]{2}>|.*[\udc80-\udcff]", re.DOTALL)
_ROWS = 1024  # keys compared at once with all base tokens of one length; bounds memory


def map_vocabulary(
    base: Vocabulary,
    source: Vocabulary,
    mode: Literal["exact", "nearest", "prefix"] = "nearest",
    counts: tuple[csr_array, csr_array] | None = None,
) -> Ints:
    """Base id of each source token, shape (source vocabulary,), -1 where it has none.

    Args:
        counts: `cooccurrences` of the base tokens and of the source tokens, to break ties.
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
    """Base id with the same text as each source token, (source vocabulary,), -1 where none.

    Among several, the token with the same vocabulary string (after exchanging the marker) is
    preferred, then one that is not a byte-fallback token, then the lowest id.
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
    """For each key, the indices of all base strings at the minimum edit distance, and the distance.

    Exact. Base strings are searched by increasing difference in length, which is a lower bound of
    the distance, until no better or equal distance is possible.
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
    """How often two tokens occur at most `window` positions apart, (size, size), symmetric."""
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
    """The tied base token whose row has the highest cosine with the source row, first on ties."""
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
    """Ids of tokens comparable by spelling: not empty, whole characters, not special."""
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
