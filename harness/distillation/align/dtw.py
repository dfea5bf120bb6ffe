"""Token alignment by dynamic time warping, as in FuseLLM and FuseChat.

For source tokens a_0..a_{n-1}, base tokens b_0..b_{m-1} and cell cost c,

    D[i, j] = c(a_i, b_j) + min(D[i-1, j], D[i, j-1], D[i-1, j-1])

and the path is traced back from the last cell to the first through the smallest predecessor, ties
in the order listed below. Lev is the Levenshtein distance over code points; "bare" means without
markers:

    variant      strings compared      cost                                order of ties
    fusellm      vocabulary strings    Lev(bare a, bare b)                 diagonal, i-1, j-1
    fusechat_v1  vocabulary strings    the same, times 0.1 where one bare  diagonal, i-1, j-1
                                       string contains the other
    fusechat_v2  each id decoded       Lev(bare a, bare b), but Lev(a with diagonal, j-1, i-1
                 by itself             the base's marker, b) where a bare
                                       string is empty

Sources: arXiv 2401.10491 (FuseLLM), 2402.16107 and 2408.07990 (FuseChat), and their code.

Costs are computed once per pair of distinct tokens. The recurrence runs along anti-diagonals, whose
cells are independent of each other; sums are formed in the order of the definition, so that float
costs round and tie identically.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from harness.core.errors import BadData, MissingExtra
from harness.distillation.align.tokens import swap_marker

Variant = Literal["fusellm", "fusechat_v1", "fusechat_v2"]
Ints = NDArray[np.int64]
Strings = Sequence[str] | NDArray[np.object_]

_CHUNK = 64  # diagonals whose costs are copied together; they fit into a core's cache


@dataclass(frozen=True, eq=False)
class Warp:
    """A warping path of P cells.

    Attributes:
        cost: D of the last cell.
        source, base: (P,) positions of the cells, from first to last.
    """

    cost: float
    source: Ints
    base: Ints

    def ranges(self) -> tuple[Ints, Ints]:
        """First and last source position of each base position, (m,) each."""
        positions = np.arange(self.base[-1] + 1)
        first = self.source[np.searchsorted(self.base, positions)]
        return first, self.source[np.searchsorted(self.base, positions, "right") - 1]

    def base_to_source(self) -> list[list[int]]:
        """For each base position, the increasing list of its source positions, never empty."""
        return [list(range(a, b + 1)) for a, b in zip(*(x.tolist() for x in self.ranges()))]

    def source_to_base(self) -> list[list[int]]:
        """For each source position, the increasing list of its base positions, never empty."""
        return Warp(self.cost, self.base, self.source).base_to_source()


def dtw(
    base: Sequence[str],
    source: Sequence[str],
    base_marker: str,
    source_marker: str,
    variant: Variant = "fusellm",
) -> Warp:
    """Align two token sequences of one text by spelling, which may fail, as here:

    >>> dtw(["▁a", "bc"], ["Ġa", "b", "c"], "▁", "Ġ").base_to_source()
    [[0, 1], [2]]

    Raises:
        BadData: a sequence is empty.
    """
    rows, columns = list(dict.fromkeys(source)), list(dict.fromkeys(base))
    table = cost_table(columns, rows, base_marker, source_marker, variant)
    row, column = ({t: k for k, t in enumerate(tokens)} for tokens in (rows, columns))
    return warp(table, [row[t] for t in source], [column[t] for t in base], variant)


def cost_table(
    base: Sequence[str],
    source: Sequence[str],
    base_marker: str,
    source_marker: str,
    variant: Variant,
) -> NDArray[Any]:
    """Cost c of every pair, (len(source), len(base)); int32, float64 for fusechat_v1."""
    b, a = swap_marker(base, base_marker, ""), swap_marker(source, source_marker, "")
    table = levenshtein_table(a, b)
    if variant == "fusechat_v1":
        # A substring is a subsequence: its edit distance is the difference in length.
        gaps = np.abs(np.subtract.outer([len(x) for x in a], [len(y) for y in b]))
        pairs = np.argwhere(table == gaps)
        inside = pairs[[a[i] in b[j] or b[j] in a[i] for i, j in pairs.tolist()]]
        scaled = table.astype(np.float64)
        scaled[inside[:, 0], inside[:, 1]] *= 0.1
        return scaled
    if variant == "fusechat_v2":
        marked = swap_marker(source, source_marker, base_marker)
        empty_a, empty_b = ([i for i, x in enumerate(side) if not x] for side in (a, b))
        table[empty_a] = levenshtein_table([marked[i] for i in empty_a], base)
        table[:, empty_b] = levenshtein_table(marked, [base[j] for j in empty_b])
    return table


def levenshtein_table(a: Strings, b: Strings) -> NDArray[np.int32]:
    """Edit distance of every pair, (len(a), len(b)).

    Raises:
        MissingExtra: rapidfuzz is not installed.
    """
    try:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist
    except ImportError:
        raise MissingExtra("rapidfuzz", "train") from None
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)), np.int32)
    return cdist(a, b, scorer=Levenshtein.distance, dtype=np.int32)


def warp(
    table: NDArray[Any], rows: Sequence[int], columns: Sequence[int], variant: Variant
) -> Warp:
    """The path for cell costs table[rows[i], columns[j]]; rows belong to the source.

    Raises:
        BadData: no rows or no columns.
    """
    if not len(rows) or not len(columns):
        raise BadData(
            f"cannot align {len(rows)} source tokens with {len(columns)} base tokens; "
            "omit empty documents, or append an end token to both sides"
        )
    sums = _sums(table, np.asarray(rows, np.intp), np.asarray(columns, np.intp))
    source, base = _trace(sums, len(columns), base_first=variant == "fusechat_v2")
    return Warp(float(sums[-1, -1]), source, base)


def accumulated(table: NDArray[Any], rows: Sequence[int], columns: Sequence[int]) -> NDArray[Any]:
    """The matrix D, (len(rows), len(columns))."""
    sums = _sums(table, np.asarray(rows, np.intp), np.asarray(columns, np.intp))
    down, right = sums.strides
    return as_strided(sums[1:, 1:], (len(rows), len(columns)), (down, down + right)).copy()


def _sums(table: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[Any]:
    """D sheared, (n + m, m + 1): cell (i, j) is at [i + j + 1, j + 1], so that each anti-diagonal
    is one row; entries outside D are too large to be chosen."""
    n, m = len(rows), len(columns)
    # Padding, because a chunk of diagonals extends beyond the first and last row.
    costs = np.zeros((n + 2 * _CHUNK, m), table.dtype)
    costs[_CHUNK : _CHUNK + n] = table[:, columns][rows]
    large = np.inf if costs.dtype.kind == "f" else np.iinfo(costs.dtype).max // 2
    sums = np.full((n + m, m + 1), large, costs.dtype)
    sums[1, 1] = costs[_CHUNK, 0]
    down, right = costs.strides
    for d in range(1, n + m - 1, _CHUNK):
        e = min(d + _CHUNK, n + m - 1)
        lo, hi = max(0, d - n + 1), min(m, e)
        corner = costs[_CHUNK + d - lo :, lo:]
        diagonals = as_strided(corner, (e - d, hi - lo), (down, right - down)).copy()
        for above, left, diagonal, cells, cost in zip(
            sums[d:e, lo + 1 : hi + 1],
            sums[d:e, lo:hi],
            sums[d - 1 : e - 1, lo:hi],
            sums[d + 1 : e + 1, lo + 1 : hi + 1],
            diagonals,
        ):
            np.minimum(above, left, out=cells)
            np.minimum(cells, diagonal, out=cells)
            np.add(cells, cost, out=cells)
    return sums


def _trace(sums: NDArray[Any], m: int, *, base_first: bool) -> tuple[Ints, Ints]:
    flat, width = sums.ravel().data, m + 1
    # Steps in the sheared array: i-1 is one row up, j-1 one row up and one column left.
    diagonal = 2 * width + 1
    second, third = (width + 1, width) if base_first else (width, width + 1)
    place, first = sums.size - 1, width + 1
    visited = [place]
    while place > first:
        best, move = flat[place - diagonal], diagonal
        if flat[place - second] < best:
            best, move = flat[place - second], second
        if flat[place - third] < best:
            move = third
        place -= move
        visited.append(place)
    diagonals, base = np.divmod(np.array(visited[::-1], np.int64), width)
    base -= 1
    return diagonals - 1 - base, base
