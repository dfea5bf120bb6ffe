"""Least-squares slopes as weighted sums, so that scores over doses have a paired interval.

    slope = sum_k w_k y_k,   w_k = (x_k - mean x) / sum_j (x_j - mean x)^2

is the slope of the ordinary least-squares line with an intercept through (x_k, y_k). It is linear
in y, so that its replicates are the same sum of the scores' replicates
(`harness.stats.bootstrap.contrast`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData


def slope_weights(doses: ArrayLike) -> NDArray[np.float64]:
    """The weights w (K,) of doses x (K,); their sum is 0.

    Raises:
        BadData: fewer than two distinct doses.

    >>> slope_weights([0.0, 1.0, 2.0]).tolist()
    [-0.5, 0.0, 0.5]
    """
    x = np.asarray(doses, dtype=np.float64)
    if len(set(x.tolist())) < 2:
        raise BadData(f"a slope over doses {x.tolist()}; expected at least two distinct doses")
    centred = x - x.mean()
    weights: NDArray[np.float64] = centred / (centred @ centred)
    return weights
