"""FuseChat's mapping of vocabularies from how often tokens were aligned in a corpus.

N[b, s] is the number of positions of base token b to which source token s was aligned; for each
base position every different source token there counts once. Counts are sparse matrices that add
up: shards of a corpus are counted apart and merged by `+`.

    frequency       the b with the highest N[b, s]; of those the nearest in spelling, then the
                    lowest id                                       (arXiv 2408.07990, section 3.2)
    legacy_sigmoid  argmin_b w Lev(s, b) sigmoid(N[b, s]), w = 0.1 where one string contains the
                    other, else 1; then the lowest id

Departure: the released code is legacy_sigmoid. The sigmoid grows with the count, so that of equal
distances it prefers the pairs aligned least often. In both, bos stays bos and eos eos.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.core.errors import BadData, MissingExtra
from harness.distillation.align.dtw import Ints, Variant
from harness.distillation.align.tokens import Vocabulary, check_ids, swap_marker

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def pair_counts(
    aligned: Iterable[tuple[ArrayLike, ArrayLike, Ints, Ints]], shape: tuple[int, int]
) -> csr_array:
    """N over some documents, (base vocabulary, source vocabulary) int64.

    Args:
        aligned: base ids, source ids, first and last source position of each base position (-1 for
            none), as of `Warp.ranges` or an `Alignment`.

    Raises:
        BadData: an id beyond its vocabulary.
    """
    from scipy.sparse import coo_array

    keys = [np.zeros(0, np.int64)]
    for base_ids, source_ids, first, last in aligned:
        b = check_ids(base_ids, shape[0], "the base's vocabulary")
        s = check_ids(source_ids, shape[1], "the source's vocabulary")
        sizes = np.where(first < 0, 0, last - first + 1)
        position = np.repeat(np.arange(len(b)), sizes)
        within = np.arange(len(position)) - np.repeat(sizes.cumsum() - sizes, sizes)
        position, token = np.divmod(
            np.unique(position * shape[1] + s[first[position] + within]), shape[1]
        )
        keys.append(b[position] * shape[1] + token)
    pairs, n = np.unique(np.concatenate(keys), return_counts=True)
    return coo_array((n.astype(np.int64), np.divmod(pairs, shape[1])), shape=shape).tocsr()


def statistics_mapping(
    counts: csr_array,
    base: Vocabulary,
    source: Vocabulary,
    *,
    mode: Literal["frequency", "legacy_sigmoid"] = "frequency",
    unseen: Literal["none", "unk"] = "none",
    variant: Variant = "fusechat_v2",
) -> Ints:
    """Base id of each source token.

    Args:
        unseen: a token that was never aligned is mapped to nothing (-1: its mass is reported as
            lost), or as in the released code to the base's unk, or its eos where it has no unk.
        variant: how vocabulary strings are compared, see `harness.distillation.align.dtw`.

    Raises:
        BadData: the counts are of other vocabularies.
    """
    if counts.shape != (len(base), len(source)):
        raise BadData(
            f"counts are {counts.shape[0]} x {counts.shape[1]}, the vocabularies have "
            f"{len(base)} and {len(source)} tokens; count again with these tokenizers"
        )
    found = counts.tocoo()
    b, s = (np.asarray(ids, np.int64) for ids in found.coords)
    n = found.data.astype(np.float64)
    distance, weight = _spelling(base, source, b, s, variant)
    if mode == "frequency":
        order = np.lexsort((b, distance, -n, s))
    else:
        order = np.lexsort((b, weight * distance / (1 + np.exp(-n)), s))
    seen, first = np.unique(s[order], return_index=True)
    nothing = base.roles.get("unk", base.roles.get("eos", -1)) if unseen == "unk" else -1
    mapping = np.full(len(source), nothing, np.int64)
    mapping[seen] = b[order][first]
    for role in ("bos", "eos"):
        if role in base.roles and role in source.roles:
            mapping[source.roles[role]] = base.roles[role]
    return mapping


def _spelling(
    base: Vocabulary, source: Vocabulary, b: Ints, s: Ints, variant: Variant
) -> tuple[Ints, np.ndarray]:
    """Edit distance of each pair of ids, and w."""
    try:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cpdist
    except ImportError:
        raise MissingExtra("rapidfuzz", "train") from None
    pairs: list[Sequence[str]] = []
    for i, j in zip(s.tolist(), b.tolist()):
        x, y = source.tokens[i], base.tokens[j]
        bare = swap_marker([x], source.marker, "") + swap_marker([y], base.marker, "")
        if variant == "fusechat_v2" and not all(bare):
            bare = [*swap_marker([x], source.marker, base.marker), y]
        pairs.append(bare)
    weight = np.array([0.1 if x in y or y in x else 1.0 for x, y in pairs], np.float64)
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    return cpdist(left, right, scorer=Levenshtein.distance, dtype=np.int64), weight
