"""FuseChat's vocabulary mapping from the frequency of aligned token pairs in a corpus.

N[b, s] is the number of positions of base token b aligned with source token s; at each base
position, every distinct source token counts once. Counts are sparse matrices: count the shards of a
corpus separately and add them.

    frequency       the b with the highest N[b, s]; ties by edit distance, then by lowest id
                                                                  (arXiv 2408.07990, section 3.2)
    legacy_sigmoid  argmin_b w Lev(s, b) sigmoid(N[b, s]), ties by lowest id; w = 0.1 if one
                    string contains the other, else 1

Departure: the released code uses legacy_sigmoid. The sigmoid increases with the count, so at equal
distance it prefers the pairs aligned least often. Both map bos to bos and eos to eos.
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
    """N over the given documents, (base vocabulary, source vocabulary) int64.

    Args:
        aligned: per document, base ids (M,), source ids (N,), and the first and last source
            position of each base position (M,), -1 for none, as in `Warp.ranges` or `Alignment`.

    Raises:
        BadData: an id outside its vocabulary.
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
    """Base id of each source token, (source vocabulary,).

    Args:
        counts: N from `pair_counts`.
        unseen: mapping of tokens that were never aligned: "none" is -1 (their mass is reported as
            lost); "unk" is the base's unk, else its eos, as in the released code.
        variant: how vocabulary strings are compared, see `harness.distillation.align.dtw`.

    Raises:
        BadData: the shape of the counts does not match the vocabularies.
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
