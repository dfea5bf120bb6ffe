"""FuseChat's mapping of vocabularies from how often tokens were aligned in a corpus.

N[b, s] is the number of positions of base token b to which source token s was aligned: for each
base position, every different source token there counts once. Counts are sparse matrices (base
vocabulary, source vocabulary) that add up, so that shards of a corpus are counted apart and merged
by `+`.

    frequency       the b with the highest N[b, s]; of those the nearest in spelling, then the
                    lowest id                                       (arXiv 2408.07990, section 3.2)
    legacy_sigmoid  argmin_b w Lev(s, b) sigmoid(N[b, s]), w = 0.1 where one string contains the
                    other and 1 elsewhere, then the lowest id

Departure: the released code is legacy_sigmoid. Among equal distances it prefers the pairs that were
aligned least often, since the sigmoid grows with the count. Both keep bos and eos where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.align.dtw import Ints, Variant, bare
from harness.align.tokens import Vocabulary, swap_marker
from harness.errors import BadData, MissingExtra

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def pair_counts(
    aligned: Iterable[tuple[ArrayLike, ArrayLike, Ints, Ints]], shape: tuple[int, int]
) -> csr_array:
    """N over some documents, int64.

    Args:
        aligned: (base ids, source ids, first and last source position of each base position, -1
            for none) of each document.
        shape: sizes of the base's and the source's vocabulary.

    Raises:
        BadData: an id beyond its vocabulary.
    """
    from scipy.sparse import coo_array

    keys = [np.zeros(0, np.int64)]
    for base_ids, source_ids, first, last in aligned:
        b, s = np.asarray(base_ids, np.int64), np.asarray(source_ids, np.int64)
        for name, ids, size in (("base", b, shape[0]), ("source", s, shape[1])):
            if len(ids) and not 0 <= ids.min() <= ids.max() < size:
                raise BadData(
                    f"{name} token ids reach from {ids.min()} to {ids.max()}, but its vocabulary "
                    f"has {size} tokens; was the text read with another tokenizer?"
                )
        sizes = np.where(first < 0, 0, last - first + 1)
        position = np.repeat(np.arange(len(b)), sizes)
        within = np.arange(len(position)) - np.repeat(sizes.cumsum() - sizes, sizes)
        places = np.unique(position * shape[1] + s[first[position] + within])
        keys.append(b[places // shape[1]] * shape[1] + places % shape[1])
    pairs, n = np.unique(np.concatenate(keys), return_counts=True)
    return coo_array((n.astype(np.int64), np.divmod(pairs, shape[1])), shape=shape).tocsr()


def statistics_mapping(
    counts: csr_array,
    base: Vocabulary,
    source: Vocabulary,
    *,
    mode: Literal["frequency", "legacy_sigmoid"] = "frequency",
    unseen: Literal["unk", "none"] = "none",
    variant: Variant = "fusechat_v2",
) -> Ints:
    """Base id of each source token.

    Args:
        counts: (base, source), see `pair_counts`.
        unseen: what a token that was never aligned is mapped to: nothing (-1, so that its mass
            is reported as lost) or the base's unk, else its eos, as in the released code.
        variant: how vocabulary strings are compared, see `harness.align.dtw`.

    Raises:
        BadData: the counts are of other vocabularies.
    """
    if counts.shape != (len(base), len(source)):
        raise BadData(
            f"counts are {counts.shape[0]} x {counts.shape[1]}, the vocabularies have "
            f"{len(base)} and {len(source)} tokens; count again with these tokenizers"
        )
    found = counts.tocoo()
    b, s = (np.asarray(x, np.int64) for x in found.coords)
    n = found.data.astype(np.float64)
    distance, contained = _distances(
        [base.tokens[i] for i in b.tolist()],
        [source.tokens[i] for i in s.tolist()],
        (base.marker, source.marker),
        variant,
    )
    if mode == "frequency":
        order = np.lexsort((b, distance, -n, s))
    else:
        weight = np.where(contained, 0.1, 1.0)
        order = np.lexsort((b, weight * distance / (1 + np.exp(-n)), s))
    seen, first = np.unique(s[order], return_index=True)
    nothing = base.roles.get("unk", base.roles.get("eos", -1)) if unseen == "unk" else -1
    mapping = np.full(len(source), nothing, np.int64)
    mapping[seen] = b[order][first]
    for role in ("bos", "eos"):
        if role in base.roles and role in source.roles:
            mapping[source.roles[role]] = base.roles[role]
    return mapping


def _distances(
    base: Sequence[str], source: Sequence[str], markers: tuple[str, str], variant: Variant
) -> tuple[Ints, np.ndarray]:
    """Edit distance of each pair, and whether one string contains the other; see `dtw`."""
    try:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cpdist
    except ImportError:
        raise MissingExtra("rapidfuzz", "train") from None
    b, a = bare(base, markers[0]), bare(source, markers[1])
    if variant == "fusechat_v2":
        marked = swap_marker(source, markers[1], markers[0])
        empty = [not x or not y for x, y in zip(a, b)]
        a = [m if e else x for x, m, e in zip(a, marked, empty)]
        b = [m if e else y for y, m, e in zip(b, base, empty)]
    contained = np.array([x in y or y in x for x, y in zip(a, b)], bool)
    return cpdist(a, b, scorer=Levenshtein.distance, dtype=np.int64), contained
