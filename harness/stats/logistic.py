"""The logistic function on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), safe for any finite z."""
    return sigmoid_of_minus(np.negative(z, out=np.empty_like(z)))


def sigmoid_of_minus(z: Floats) -> Floats:
    """1 / (1 + exp(z)), computed in place in `z` because it dominates the fits' run time."""
    with np.errstate(over="ignore"):
        np.exp(z, out=z)
    z += 1.0
    return np.divide(1.0, z, out=z)
