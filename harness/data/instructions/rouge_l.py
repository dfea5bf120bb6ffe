"""ROUGE-L F of two texts: F = 2 LCS / (m + n), of the longest common subsequence of their tokens.

    LCS(x, y)   length of the longest common subsequence of x (m tokens) and y (n tokens)
    P = LCS / n,  R = LCS / m,  F = 2 P R / (P + R);  0 if either side has no tokens

The value is computed by the expression of the library rouge-score, because comparisons with a
threshold depend on its rounding: at F = 7/10 it gives 0.7 or 0.7000000000000001, by m and n.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

from harness.core.errors import BadData, BadRecord

Tokenize = Callable[[str], Sequence[str]]
Compare = Literal["float_compat", "exact"]
_TOKEN = re.compile(r"[a-z0-9]+")


def rouge_tokens(text: str) -> list[str]:
    """Tokens of rouge-score without stemming: runs of a to z and 0 to 9 of the lower-cased text.

    >>> rouge_tokens("Écris 3/4, please!")
    ['cris', '3', '4', 'please']
    """
    return _TOKEN.findall(text.lower())


def rouge_l(first: str, second: str, tokenize: Tokenize = rouge_tokens) -> float:
    """ROUGE-L F of two texts, in [0, 1].

    >>> round(rouge_l("Rewrite it in a formal tone", "Rewrite it in a friendly tone"), 4)
    0.8333
    """
    x, y = tokenize(first), tokenize(second)
    return f_measure(lcs_length(x, y), len(x), len(y))


def f_measure(lcs: int, m: int, n: int) -> float:
    """F of a common subsequence of `lcs` tokens, as rouge-score rounds it."""
    if lcs == 0:
        return 0.0
    precision, recall = lcs / n, lcs / m
    return 2 * precision * recall / (precision + recall)


class Threshold:
    """Whether F is above a threshold, strictly.

    Args:
        compare: "float_compat" compares `f_measure`, as released; "exact" compares integers, with
            the threshold as the decimal number that is written.

    Raises:
        BadRecord: the threshold is no finite number, or the comparison is unknown.
    """

    def __init__(self, value: float, compare: Compare = "float_compat") -> None:
        if not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise BadRecord(f"threshold {value!r}: expected a number, such as 0.7")
        if compare not in ("float_compat", "exact"):
            raise BadRecord(f'compare "{compare}": expected float_compat or exact')
        self.value = float(value)
        self._exact = Fraction(repr(self.value)) if compare == "exact" else None

    def exceeded(self, lcs: int, m: int, n: int) -> bool:
        if self._exact is None or m + n == 0:
            return f_measure(lcs, m, n) > self.value
        return 2 * lcs * self._exact.denominator > self._exact.numerator * (m + n)


def lcs_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004, one bit per token).

    >>> lcs_length("abcbdab", "bdcaba")
    4
    """
    if len(first) < len(second):
        first, second = second, first
    return lcs_with(positions(first), second, len(first))


def positions(tokens: Sequence[Hashable]) -> dict[Hashable, int]:
    """Token -> bits of the places where it occurs."""
    found: dict[Hashable, int] = {}
    for place, token in enumerate(tokens):
        found[token] = found.get(token, 0) | 1 << place
    return found


def lcs_with(places: Mapping[Hashable, int], tokens: Sequence[Hashable], length: int) -> int:
    """Longest common subsequence of a text of `length` tokens, given by `positions`, and tokens."""
    full = (1 << length) - 1
    row = full  # a zero bit is a token of the subsequence
    for token in tokens:
        common = row & places.get(token, 0)
        if common:
            row = ((row + common) | (row - common)) & full
    return length - row.bit_count()


def tokens_of(texts: Sequence[str], tokenize: Tokenize = rouge_tokens) -> list[Sequence[str]]:
    """Tokens of each text.

    Raises:
        BadData: an element is no text, with its index.
    """
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadData(f"text {index}: expected text, found {type(text).__name__} {text!r:.40}")
    return [tokenize(text) for text in texts]
