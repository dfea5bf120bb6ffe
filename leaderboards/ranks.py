"""Rank ranges: which ranks a system may have, where the leaders cannot be told apart.

The simultaneous paired intervals of `harness.stats.ranks` over prompts. Over several seeds, the
half-width over prompts and t s / sqrt(S) are added in quadrature, as for a single difference, with
Student's t at the level 1 - alpha / (number of pairs) (Bonferroni), as seeds are not resampled.
Two systems whose judge, prompts or scale differ, or whose failed judgments could reverse the sign,
are never told apart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import student
from harness.stats.ranks import expanded_factor, rank_ranges, simultaneous_factor
from leaderboards.board import Board
from leaderboards.pairing import Difference
from leaderboards.scores import Score, difference, mismatch, pairing_of

Floats = NDArray[np.float64]
_WEIGHTS = (1.0, -1.0)


@dataclass(frozen=True)
class _Pair:
    """Two systems that can be compared: places, difference, its resamples and its seeds."""

    first: int
    second: int
    found: Difference
    draws: Floats
    units: int
    seeds: tuple[Floats, ...]


def ranges_of(scores: Sequence[Score], level: float = 0.95) -> dict[str, tuple[int, int]]:
    """System -> lowest and highest rank that its score allows among those with a value.

    Empty where no two scores can be compared (no replicates, or different prompts).
    """
    valued = [score for score in scores if score.value is not None]
    pairs = [
        pair
        for first, second in combinations(range(len(valued)), 2)
        if (pair := _pair(valued, first, second, level)) is not None
    ]
    if not pairs:
        return {}
    # Numbers of resamples that differ have no common draws; the most frequent one is kept.
    sizes = Counter(pair.draws.size for pair in pairs)
    pairs = [pair for pair in pairs if pair.draws.size == sizes.most_common(1)[0][0]]
    factor = simultaneous_factor([pair.draws for pair in pairs], level)
    alone = 1.0 - (1.0 - level) / len(pairs)
    above = []
    for pair in pairs:
        if shown := _side(pair, factor, alone):
            higher = valued[pair.first].higher_is_better
            ahead = (shown > 0) == higher
            places = (pair.first, pair.second)
            above.append(places if ahead else places[::-1])
    found = rank_ranges(len(valued), above)
    return {score.system: ends for score, ends in zip(valued, found, strict=True)}


def ranges_of_board(board: Board) -> dict[str, tuple[int, int]]:
    """Rank ranges by the ranking column of a board, of the systems that are ranked."""
    if board.ranking is None:
        return {}
    entries = [row.entries[board.ranking] for row in board.rows if row.rank is not None]
    scores = [entry.score for entry in entries if entry.score is not None]
    return ranges_of(scores, board.spec.level)


def _pair(scores: Sequence[Score], first: int, second: int, level: float) -> _Pair | None:
    ours, theirs = scores[first], scores[second]
    if mismatch(ours, theirs):
        return None
    pairing, _ = pairing_of((ours, theirs))
    if pairing is None:
        return None
    draws = np.subtract(*pairing.draws)
    found = difference(ours, theirs, level)
    return _Pair(first, second, found, draws, pairing.units, pairing.seeds(_WEIGHTS))


def _side(pair: _Pair, factor: float, alone: float) -> int:
    """1 or -1 if the pair is told apart at all pairs' common level, else 0."""
    shown, value = pair.found.side(), pair.found.value
    if not shown or value is None:
        return 0
    error = float(pair.draws.std())
    if not error:  # the same difference in every resample: a single interval decides
        return shown
    halves = [expanded_factor(factor, pair.units) * error]
    for group in pair.seeds:
        if len(group) > 1:
            spread = float(np.std(group, ddof=1)) / math.sqrt(len(group))
            halves.append(student(len(group) - 1, alone) * spread)
    return shown if abs(value) > math.hypot(*halves) else 0
