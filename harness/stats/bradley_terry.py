"""Bradley-Terry strengths of models that all play against one baseline, with style control.

    P(model i beats the baseline on question q) = sigmoid(a_i + f_iq . b)

with strengths a and coefficients b of style differences f (Arena-Hard, lmarena/arena-hard-auto).
Because every game is against the baseline, the strengths' block of the Hessian is diagonal: without
features each strength is the logit of a weighted mean, and with features a Newton step needs only
the F x F Schur complement of that block.

A model that won or lost every game has no finite optimum. A ridge penalty RIDGE a^2 / 2 per
strength makes it finite (about +-18, a win rate of 100.0 or 0.0) and moves other strengths by 1e-9.

Shapes: M models, Q questions, F features, R resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.stats.logistic import sigmoid

Floats = NDArray[np.float64]

RIDGE = 1e-8
TOLERANCE = 1e-9
MAX_ITERATIONS = 200
CHUNK_CELLS = 50_000  # resampled cells per chunk, so that a few arrays of this size fit in cache


@dataclass(frozen=True)
class StyleFit:
    """Strengths relative to the baseline (..., M) in logits and style coefficients (..., F)."""

    strengths: Floats
    coefficients: Floats

    @property
    def win_rates(self) -> Floats:
        """P(model beats the baseline) at equal style, in [0, 1] (..., M)."""
        return sigmoid(self.strengths)


def fit_style(features: Floats, wins: Floats, rows: Floats) -> StyleFit:
    """Style-controlled strengths against one baseline, at the exact optimum.

    Args:
        features: style differences model - baseline (M, Q, F); F may be 0.
        wins: sum of the scores of each cell's rows (M, Q); a tie scores one half.
        rows: number of rows of each cell (M, Q).

    Raises:
        BadData: shapes do not match, a model has no rows, or the fit does not converge.
    """
    _check(features, wins, rows)
    models, _, size = features.shape
    start = StyleFit(np.zeros((1, models)), np.zeros((1, size)))
    fit = _newton(features, wins[None], rows[None], start)
    return StyleFit(fit.strengths[0], fit.coefficients[0])


def refit_style(
    features: Floats, wins: Floats, rows: Floats, counts: NDArray[np.int32], point: StyleFit
) -> StyleFit:
    """Fits (R, M) and (R, F) with question q drawn counts[r, q] times (R, Q).

    Args:
        point: fit of the sample itself, the start of every resample's fit.

    Raises:
        BadData: as `fit_style`.
    """
    _check(features, wins, rows)
    drawn = counts.astype(np.float64)[:, None, :]
    return refit_cells(features, wins * drawn, rows * drawn, point)


def refit_cells(features: Floats, wins: Floats, rows: Floats, point: StyleFit) -> StyleFit:
    """Fits of R resampled tables `wins` and `rows` (R, M, Q), in chunks that fit in cache.

    Raises:
        BadData: a fit does not converge.
    """
    rounds, models, questions = wins.shape
    size = max(1, CHUNK_CELLS // (models * questions))
    strengths = np.empty((rounds, models))
    coefficients = np.empty((rounds, features.shape[2]))
    for start in range(0, rounds, size):
        part = slice(start, start + size)
        n = len(wins[part])
        guess = StyleFit(np.tile(point.strengths, (n, 1)), np.tile(point.coefficients, (n, 1)))
        fit = _newton(features, wins[part], rows[part], guess)
        strengths[part], coefficients[part] = fit.strengths, fit.coefficients
    return StyleFit(strengths, coefficients)


def _check(features: Floats, wins: Floats, rows: Floats) -> None:
    if features.ndim != 3 or wins.shape != features.shape[:2] or rows.shape != wins.shape:
        raise BadData(
            f"style features have shape {features.shape}, wins {wins.shape} and rows {rows.shape}; "
            "expected (M, Q, F), (M, Q) and (M, Q)"
        )
    if not np.isfinite(features).all():
        raise BadData("style features contain NaN or Inf; expected finite numbers")
    if (rows.sum(axis=1) <= 0).any():
        raise BadData("a model has no scored row; expected at least one")


def _newton(features: Floats, wins: Floats, rows: Floats, start: StyleFit) -> StyleFit:
    """Damped Newton on R tables (R, M, Q) at once.

    A step that changes a logit by L > 0.5 is scaled by log1p(L) / L, see `l1_logistic`.
    """
    _, _, size = features.shape
    first, second = np.triu_indices(size)
    ones = np.ones((*features.shape[:2], 1))
    linear = np.concatenate([ones, features], axis=2)  # (M, Q, 1+F)
    square = np.concatenate([linear, features[..., first] * features[..., second]], axis=2)
    strengths, coefficients = start.strengths.copy(), start.coefficients.copy()
    active = np.arange(len(wins))
    reach = np.abs(features).max(axis=(0, 1), initial=0.0)
    for _ in range(MAX_ITERATIONS):
        a, b = strengths[active], coefficients[active]
        tilt = np.einsum("mqf,rf->mrq", features, b) if size else 0.0
        p = sigmoid(a.T[:, :, None] + tilt)  # (M, R, Q)
        n = rows[active].transpose(1, 0, 2)
        expected = n * p
        slope = (expected - wins[active].transpose(1, 0, 2)) @ linear  # (M, R, 1+F)
        bend = (expected - expected * p) @ square  # (M, R, 1+F+F(F+1)/2)
        step_a, step_b = _schur_step(slope, bend, a, size)
        length = np.abs(step_a).max(axis=1) + np.abs(step_b) @ reach
        scale = np.where(length > 0.5, np.log1p(length) / np.maximum(length, 1e-300), 1.0)
        strengths[active] = a + scale[:, None] * step_a
        coefficients[active] = b + scale[:, None] * step_b
        # Newton converges quadratically: the remaining error is about the square of this step.
        active = active[~(length < math.sqrt(TOLERANCE))]
        if active.size == 0:
            return StyleFit(strengths, coefficients)
    raise BadData(f"style-controlled fit did not converge in {MAX_ITERATIONS} steps")


def _schur_step(slope: Floats, bend: Floats, strengths: Floats, size: int) -> tuple[Floats, Floats]:
    """Newton step: eliminate the strengths' diagonal block, solve F x F, substitute back."""
    gradient = slope[:, :, 0].T + RIDGE * strengths  # (R, M)
    diagonal = bend[:, :, 0].T + RIDGE
    if size == 0:
        return -gradient / diagonal, np.zeros((len(strengths), 0))
    mixed = bend[:, :, 1 : 1 + size].transpose(1, 0, 2)  # (R, M, F)
    first, second = np.triu_indices(size)
    block = np.zeros((len(strengths), size, size))
    block[:, first, second] = bend[:, :, 1 + size :].sum(axis=0)
    block[:, second, first] = block[:, first, second]
    share = mixed / diagonal[:, :, None]
    schur = block - np.einsum("rmf,rmg->rfg", mixed, share)
    # A constant feature has no curvature; this keeps its coefficient unchanged.
    schur += (1e-12 * np.einsum("rff->r", block) + 1e-12)[:, None, None] * np.eye(size)
    right = slope[:, :, 1:].sum(axis=0) - np.einsum("rmf,rm->rf", share, gradient)
    step_b = np.linalg.solve(schur, -right[:, :, None])[:, :, 0]
    step_a = -(gradient + np.einsum("rmf,rf->rm", mixed, step_b)) / diagonal
    return step_a, step_b
