"""McNemar's exact test of two systems that labelled the same rows, and outcomes as a short text.

Only the rows that one system has right and the other wrong can tell them apart; under no
difference each of these is a fair coin (McNemar 1947; Dietterich 1998, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.core.records import Record

OUTCOMES = "outcomes"  # the detail of a cell that holds its packed outcomes; boards hide it


class McNemar(Record):
    """`b` rows only the first has right, `c` only the second; two-sided exact p-value."""

    b: int
    c: int
    p_value: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Test two rows of outcomes (right or wrong), paired by position.

    >>> mcnemar([1, 1, 1, 0], [0, 0, 1, 1])
    McNemar(b=2, c=1, p_value=1.0)

    Raises:
        BadData: they are not equally long.
    """
    from scipy.special import bdtr  # the exact test of scipy.stats, whose import takes seconds

    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape:
        raise BadData(f"outcomes of {one.size} and {two.size} rows cannot be paired")
    b, c = int((one & ~two).sum()), int((~one & two).sum())
    p_value = min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))
    return McNemar(b=b, c=c, p_value=p_value)


def pack(outcomes: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Outcomes as hexadecimal digits, four rows each; `unpack` needs their number.

    >>> pack([True, False, True, True, True]), unpack("b8", 5).tolist()
    ('b8', [True, False, True, True, True])
    """
    return bytes(np.packbits(np.asarray(outcomes, dtype=bool))).hex()


def unpack(text: str, n: int) -> NDArray[np.bool_]:
    """The first `n` packed outcomes."""
    found = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8))
    if found.size < n:
        raise BadData(f"{text[:20]!r} holds {found.size} outcomes; expected {n}")
    return found[:n].astype(bool)
