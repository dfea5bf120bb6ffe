"""McNemar's exact test of two systems that labelled the same rows, and a compact form of outcomes.

The test uses only rows that exactly one system has right; without a difference either system is
right on such a row with probability 1/2 (McNemar 1947; Dietterich 1998, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.core.records import Record

OUTCOMES = "outcomes"  # key of the packed outcomes in a cell's details; boards do not show it


class McNemar(Record):
    """Result of the test.

    Attributes:
        b: number of rows that only the first system has right.
        c: number of rows that only the second system has right.
        p_value: two-sided exact p-value.
    """

    b: int
    c: int
    p_value: float

    @property
    def decidable(self) -> bool:
        """Whether these b + c rows could give a p-value below 0.05 if all fell on one side."""
        return 2.0 * 0.5 ** (self.b + self.c) < 0.05


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Compare the outcomes (n,) of two systems, True if right, paired by position.

    >>> mcnemar([1, 1, 1, 0], [0, 0, 1, 1])
    McNemar(b=2, c=1, p_value=1.0)

    Raises:
        BadData: the lengths differ.
    """
    from scipy.special import bdtr  # same result as scipy.stats, whose import takes seconds

    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape:
        raise BadData(f"outcomes of {one.size} and {two.size} rows; expected the same rows")
    b, c = int((one & ~two).sum()), int((~one & two).sum())
    p_value = min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))
    return McNemar(b=b, c=c, p_value=p_value)


def pack(outcomes: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Outcomes as hexadecimal text, four per digit; `unpack` needs their number.

    >>> pack([True, False, True, True, True]), unpack("b8", 5).tolist()
    ('b8', [True, False, True, True, True])
    """
    return bytes(np.packbits(np.asarray(outcomes, dtype=bool))).hex()


def unpack(text: str, n: int) -> NDArray[np.bool_]:
    """The first `n` outcomes of text made by `pack`.

    Raises:
        BadData: the text contains fewer than n outcomes.
    """
    found = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8))
    if found.size < n:
        raise BadData(f"{text[:20]!r} contains {found.size} outcomes; expected {n}")
    return found[:n].astype(bool)
