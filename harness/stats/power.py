"""Power of a paired comparison: the smallest difference that it would probably show.

    minimum detectable effect = (z_{1 - alpha/2} + z_{power}) SE,   (1.96 + 0.84) SE by default

A true difference of this size is found by a two-sided test at `alpha` with probability `power`,
if the estimate is normal with standard error SE (Cohen 1988; Card et al., With Little Power Comes
Great Responsibility, EMNLP 2020). SE is that of the difference at the prompts and seeds at hand: a
verdict "not shown" with a large minimum detectable effect says little.

With few seeds verdicts use Student's t in place of z (`harness.stats.bootstrap`), so that their
power at this difference is below the nominal one as far as seeds decide: 56 % for five seeds and
35 % for three, if all variation were between seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

ALPHA, POWER = 0.05, 0.8


def standard_error(replicates: ArrayLike, seeds: Sequence[ArrayLike] = ()) -> float:
    """Standard error of a score or difference over prompts and seeds.

    Args:
        replicates: under resamples of the prompts, averaged over seeds (rounds,).
        seeds: as in `harness.stats.bootstrap.paired_difference`; a group of S > 1 values adds the
            standard error of its mean, s / sqrt(S), in quadrature, as intervals do.

    >>> round(standard_error([1.0, 2.0, 3.0]), 3), round(standard_error([0.0, 0.0], [[1, 3]]), 3)
    (1.0, 1.0)
    """
    array = np.asarray(replicates, dtype=np.float64)
    parts = [float(array.std(ddof=1)) if array.size > 1 else 0.0]
    for group in seeds:
        values = np.asarray(group, dtype=np.float64)
        if values.size > 1:
            parts.append(float(values.std(ddof=1)) / math.sqrt(values.size))
    return math.hypot(*parts)


def minimum_detectable_effect(error: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The difference, in the unit of its standard error, that is found with probability `power`.

    >>> round(minimum_detectable_effect(1.0), 3)
    2.802
    """
    from scipy.special import ndtri  # scipy.stats takes seconds to import

    return float(ndtri(1.0 - alpha / 2.0) + ndtri(power)) * error
