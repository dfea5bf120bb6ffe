"""From the tokens of a source's vocabulary to the base's: the same text, or the nearest spelling.

A mapping is an array (source vocabulary,) of base ids, -1 where a token has no counterpart: what
`harness.align.transfer` reads. Every tie is broken by the lowest base id, so that a mapping is the
same on every run.

    exact    the base token with the same text                                    (EM)
    nearest  else argmin over base tokens y of Lev(x, y)                          (MinED)
    co-occurrence: of the nearest ones, that whose neighbours are most like x's

(arXiv 2401.10491, section 3, and its code.) `map_vocabulary` compares texts, so that "Ġthe" is
"▁the" and a byte is a byte. The functions below it compare what they are given: for the reference's
mapping, vocabulary strings after `swap_marker`.

Departure: there, special tokens have no special treatment, and a character's lone byte is spelled
like any letter. Here special tokens are mapped by their role (bos, eos, unk, ...) or the same
text, and only texts are mapped by spelling.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.align.dtw import Ints, lengths, levenshtein_table
from harness.align.tokens import Vocabulary, swap_marker
from harness.errors import BadData

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# By which a special token finds its counterpart; the later of two roles of one token counts.
_MAPPED_ROLES = ("mask", "cls", "sep", "unk", "bos", "eos")
_LONE_BYTE = re.compile("[\udc80-\udcff]")
_ROWS = 1024  # keys compared at once with all base tokens of a length


def map_vocabulary(
    base: Vocabulary,
    source: Vocabulary,
    mode: Literal["exact", "nearest", "cooccurrence"] = "nearest",
    counts: tuple[csr_array, csr_array] | None = None,
) -> Ints:
    """Base id of each source token, -1 where it has none.

    Args:
        counts: for "cooccurrence", the `cooccurrences` of the base's and the source's tokens.

    Raises:
        BadData: "cooccurrence" without counts.
    """
    found = same_text(base, source)
    candidates = np.array([i for i in range(len(base)) if _spells(base, i)], np.int64)
    if mode != "exact" and len(candidates):
        spelled = np.array([i for i in np.flatnonzero(found < 0) if _spells(source, i)], np.int64)
        keys, texts = (
            [v.texts[i] for i in ids] for v, ids in ((source, spelled), (base, candidates))
        )
        places, distances = nearest_tokens(keys, texts)
        chosen = candidates[places]
        if mode == "cooccurrence":
            if counts is None:
                raise BadData("a mapping by co-occurrence needs counts: see cooccurrences()")
            shared = np.flatnonzero(found >= 0)
            ties = [candidates[tied] for tied in tied_tokens(keys, distances, texts)]
            rows = counts[1].tocsr()[spelled]
            chosen = choose_by_cooccurrence(chosen, ties, counts[0], rows, (found[shared], shared))
        found[spelled] = chosen
    for role in _MAPPED_ROLES:
        if role in base.roles and role in source.roles:
            found[source.roles[role]] = base.roles[role]
    return found


def same_text(base: Vocabulary, source: Vocabulary) -> Ints:
    """Base id with the same text, -1 where none.

    Of several (a byte fallback token and the character, say) that with the same vocabulary string
    but for the marker, else one that is no single byte, else the lowest id.
    """
    by_text: dict[str, int] = {}
    by_string: dict[tuple[str, str], int] = {}
    for i, (token, text) in enumerate(zip(base.tokens, base.texts)):
        if not token:
            continue
        known = by_text.get(text)
        if known is None or (_is_byte(base.tokens[known]) and not _is_byte(token)):
            by_text[text] = i
        by_string.setdefault((text, token), i)
    found = np.full(len(source), -1, np.int64)
    keys = swap_marker(source.tokens, source.marker, base.marker)
    for i, (key, text) in enumerate(zip(keys, source.texts)):
        if source.tokens[i]:
            found[i] = by_string.get((text, key), by_text.get(text, -1))
    return found


def exact_tokens(keys: Sequence[str], base: Sequence[str]) -> Ints:
    """Place of each key among the base strings, -1 where absent."""
    places: dict[str, int] = {}
    for place, token in enumerate(base):
        places.setdefault(token, place)
    return np.array([places.get(key, -1) for key in keys], np.int64)


def nearest_tokens(keys: Sequence[str], base: Sequence[str]) -> tuple[Ints, Ints]:
    """Place of the first base string at the least edit distance from each key, and the distance.

    Equal to the full search. Strings are met in the order of their difference in length, which
    the distance is never below, until no better one or earlier tie can come. Without base strings
    the place is -1.
    """
    places = exact_tokens(keys, base)
    distances = np.zeros(len(keys), np.int64)
    buckets = _by_length(base)
    texts = np.array(base, object)
    for chosen in _groups(keys, np.flatnonzero(places < 0)):
        wanted = np.array([keys[i] for i in chosen], object)
        place = np.full(len(chosen), -1, np.int64)
        best = np.full(len(chosen), np.iinfo(np.int64).max, np.int64)
        for gap, length in sorted((abs(n - len(wanted[0])), n) for n in buckets):
            open_ = np.flatnonzero(best >= gap)
            if not len(open_):
                break
            bucket = buckets[length]
            table = levenshtein_table(wanted[open_], texts[bucket])
            least = table.argmin(1)
            distance, first = table[np.arange(len(open_)), least], bucket[least]
            better = (distance < best[open_]) | ((distance == best[open_]) & (first < place[open_]))
            best[open_[better]], place[open_[better]] = distance[better], first[better]
        places[chosen], distances[chosen] = place, best
    return places, distances


def tied_tokens(keys: Sequence[str], distances: Sequence[int], base: Sequence[str]) -> list[Ints]:
    """All base strings at the given (least) distance from each key, in order."""
    found: list[list[Ints]] = [[] for _ in keys]
    buckets, texts, limits = _by_length(base), np.array(base, object), np.asarray(distances)
    for chosen in _groups(keys, np.arange(len(keys))):
        for length, bucket in buckets.items():
            near = chosen[limits[chosen] >= abs(length - len(keys[chosen[0]]))]
            table = levenshtein_table([keys[i] for i in near], texts[bucket])
            for i, hits in zip(near.tolist(), table == limits[near, None]):
                found[i].append(bucket[hits])
    return [np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64) for parts in found]


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


def choose_by_cooccurrence(
    places: Ints, ties: Sequence[Ints], base: Any, source: Any, shared: tuple[Ints, Ints]
) -> Ints:
    """Of tied base tokens, that with the highest cosine of co-occurrence vectors; first on ties.

    Args:
        places: (N,) the choice where a row has at most one candidate.
        ties: the candidates of each source token.
        base: (V_b, V_b) co-occurrences of base tokens.
        source: (N, V_s) those of the same source tokens.
        shared: base and source ids of the tokens that both vocabularies have, the columns compared.
    """
    base_rows, source_rows = (_unit_rows(m, ids) for m, ids in zip((base, source), shared))
    chosen = places.copy()
    for i, candidates in enumerate(ties):
        if len(candidates) > 1:
            cosines = (base_rows[candidates] @ source_rows[[i]].T).toarray()[:, 0]
            chosen[i] = candidates[cosines.argmax()]
    return chosen


def _unit_rows(counts: Any, columns: Ints) -> Any:
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import norm

    kept = counts.tocsr()[:, columns].astype(np.float64)
    sizes = norm(kept, axis=1)
    return diags_array(np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0)) @ kept


def _spells(vocabulary: Vocabulary, i: int) -> bool:
    """Whether token i stands for text that can be compared by its spelling."""
    text = vocabulary.texts[i]
    return bool(text) and i not in vocabulary.special and not _LONE_BYTE.search(text)


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x")


def _by_length(tokens: Sequence[str]) -> dict[int, Ints]:
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    for place, token in enumerate(tokens):
        buckets[len(token)].append(place)
    return {length: np.array(found, np.int64) for length, found in buckets.items()}


def _groups(keys: Sequence[str], places: Ints) -> Iterator[Ints]:
    """Places of keys of one length, a table's rows at a time."""
    sizes = lengths([keys[i] for i in places.tolist()])
    for size in np.unique(sizes):
        found = places[sizes == size]
        for start in range(0, len(found), _ROWS):
            yield found[start : start + _ROWS]
