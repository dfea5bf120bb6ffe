"""Values and resamples of lm-eval's aggregations, computed from one number per document."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.records import Resampled
from harness.stats.bootstrap import replicate_means
from harness.suites.scoring import sample_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A value with its resamples; both are None if it could not be computed.

    Attributes:
        replicates: the value in each resample (rounds,).
        scored, expected: number of documents with a value, and of all documents.
        span: minimum and maximum value of one document, if known.
        values: value of each document, NaN if missing; None if the metric is not their mean.
        units: number of resampled documents: those with a value; for an average, the mean number
            of its members.
    """

    value: float | None
    replicates: Floats | None
    scored: int
    expected: int
    span: tuple[float, float] | None = None
    values: Floats | None = None
    units: int | None = None

    def sample(self, factor: float) -> Resampled:
        """The sample for a cell whose unit is `factor` times the metric's; 100 means per cent."""
        units = self.scored if self.units is None else self.units
        span = (0.0, 100.0) if factor == 100.0 else None
        if self.values is None:
            return Resampled(units=units, span=span)
        return sample_of(factor * self.values, range(len(self.values)), span=span)


def measure(aggregation: str, values: Sequence[Any], counts: NDArray[np.int32]) -> Measured | None:
    """Value and resamples of one metric; None for an unknown aggregation.

    Args:
        aggregation: its name in lm-eval.
        values: one per document: a number, (log-likelihood, weight) for weighted aggregations, or
            None if missing.
        counts: resample counts (rounds, documents), see `harness.stats.bootstrap`.
    """
    if aggregation in ("mean", "nanmean", "perplexity"):
        return _of_mean(values, counts, math.exp if aggregation == "perplexity" else None)
    if aggregation in ("weighted_perplexity", "bits_per_byte"):
        return _of_ratio(values, counts, aggregation)
    return None


def _of_mean(
    values: Sequence[Any], counts: NDArray[np.int32], link: Callable[[float], float] | None
) -> Measured | None:
    if any(isinstance(value, list | dict | str) for value in values):
        return None
    array = np.array([np.nan if value is None else float(value) for value in values])
    scored = int((~np.isnan(array)).sum())
    if not scored:
        return Measured(None, None, 0, len(values))
    mean = float(np.nansum(array) / scored)
    draws = replicate_means(array, counts)
    if link is not None:  # perplexity: exp of the mean negative log-likelihood
        return Measured(link(-mean), np.exp(-draws), scored, len(values), units=scored)
    return Measured(mean, draws, scored, len(values), (0.0, 1.0), array, scored)


def _of_ratio(
    values: Sequence[Any], counts: NDArray[np.int32], aggregation: str
) -> Measured | None:
    valid = np.array([value is not None and None not in value for value in values])
    if not valid.any():
        return Measured(None, None, 0, len(values))
    pairs = np.array([v if ok else (0.0, 0.0) for v, ok in zip(values, valid)], dtype=float)

    def link(ratio: Any) -> Any:
        return np.exp(-ratio) if aggregation == "weighted_perplexity" else -ratio / math.log(2)

    total = pairs.sum(axis=0)
    drawn = counts.astype(float) @ pairs  # (rounds, 2)
    value = float(link(total[0] / total[1]))
    ratios = drawn[:, 0] / np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan)
    draws = np.where(np.isnan(ratios), value, link(ratios))
    scored = int(valid.sum())
    return Measured(value, draws, scored, len(values), units=scored)


def mean_of(parts: Sequence[Measured], weights: Sequence[float]) -> Measured:
    """Weighted mean of values and resamples; parts without a value are left out."""
    kept = [(part, w) for part, w in zip(parts, weights) if part.value is not None]
    scored, expected = sum(p.scored for p in parts), sum(p.expected for p in parts)
    if not kept:
        return Measured(None, None, scored, expected)
    total = math.fsum(weight for _, weight in kept)
    value = math.fsum(weight * (part.value or 0.0) for part, weight in kept) / total
    draws: Floats | None = None
    if all(part.replicates is not None for part, _ in kept):
        stacked = np.stack([part.replicates for part, _ in kept])  # type: ignore[misc]
        draws = np.array([weight for _, weight in kept]) @ stacked / total
    units = round(sum(part.units or part.scored for part, _ in kept) / len(kept))
    return Measured(value, draws, scored, expected, units=units)
