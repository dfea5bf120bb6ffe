"""Bradley-Terry strengths, in general and for boards where every game involves one baseline.

    P(i beats j) = sigmoid(a_i - a_j + f . b)

with strengths a and, for style control, coefficients b of style differences f. Games against one
baseline ("star" boards such as Arena-Hard, lmarena/arena-hard-auto) make the strengths separate:
without features each is the logit of a weighted mean, and with features a Newton step needs only
the F x F Schur complement of the models' diagonal block.

A model that won or lost everything has no finite optimum. A ridge of RIDGE a^2 / 2 per strength
makes it finite (about +-18, a win rate of 100.0 or 0.0) and moves other strengths by 1e-9.

Shapes: M models, Q questions, F features, R resamples, n players.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.stats.logistic import sigmoid

Floats = NDArray[np.float64]

RIDGE = 1e-8
TOLERANCE = 1e-9
MAX_ITERATIONS = 200
CHUNK_CELLS = 50_000  # cells of resamples handled at a time: a few arrays of this fit in cache


@dataclass(frozen=True)
class StyleFit:
    """Strengths relative to the baseline (..., M) in logits and style coefficients (..., F)."""

    strengths: Floats
    coefficients: Floats

    @property
    def win_rates(self) -> Floats:
        """P(model beats the baseline) at equal style, shares in [0, 1] (..., M)."""
        return sigmoid(self.strengths)


def elo_rating(win_rate: float) -> float:
    """Rating on the v0.1 scale: 1000 + 400 log10(p / (1 - p)), infinite at p = 0 or 1.

    >>> elo_rating(0.5)
    1000.0
    """
    if not 0.0 <= win_rate <= 1.0:
        raise BadData(f"a win rate is a share between 0 and 1; got {win_rate}")
    if win_rate in (0.0, 1.0):
        return math.inf if win_rate else -math.inf
    return 1000.0 + 400.0 * math.log10(win_rate / (1.0 - win_rate))


def win_rate_of_elo(rating: float) -> float:
    """1 / (1 + 10^((1000 - R) / 400)), the expected share against the baseline at 1000."""
    return float(sigmoid(np.array((rating - 1000.0) / 400.0 * math.log(10.0))))


def fit_pairs(
    first: ArrayLike, second: ArrayLike, score: ArrayLike, weight: ArrayLike, players: int
) -> Floats:
    """Strengths (n,) in logits, player 0 at zero, from games between any players.

    Args:
        first, second: player indexes of each game (G,); score: share won by `first` in [0, 1]
            (a tie is one half); weight: how often the game counts (G,).

    Raises:
        BadData: arrays that do not fit, indexes outside 0..players-1, or no convergence.
    """
    i, j = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    s, w = np.asarray(score, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    if not (i.shape == j.shape == s.shape == w.shape and i.ndim == 1 and i.size):
        raise BadData("games need equally long arrays first, second, score and weight")
    if min(i.min(), j.min()) < 0 or max(i.max(), j.max()) >= players:
        raise BadData(f"player indexes must lie in 0..{players - 1}")
    strengths = np.zeros(players)
    free = np.arange(1, players)
    for _ in range(MAX_ITERATIONS):
        p = sigmoid(strengths[i] - strengths[j])
        pull, bend = w * (p - s), w * p * (1.0 - p)
        won, lost = np.bincount(j, pull, players), np.bincount(i, pull, players)
        gradient = lost - won + RIDGE * strengths
        hessian = np.zeros((players, players))
        np.add.at(hessian, (i, i), bend)
        np.add.at(hessian, (j, j), bend)
        np.add.at(hessian, (i, j), -bend)
        np.add.at(hessian, (j, i), -bend)
        hessian += RIDGE * np.eye(players)
        step = np.zeros(players)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], -gradient[free])
        reach = float(np.abs(step[i] - step[j]).max())
        strengths += step * (math.log1p(reach) / reach if reach > 0.5 else 1.0)
        if reach < TOLERANCE:
            return strengths
    raise BadData(f"Bradley-Terry fit did not converge in {MAX_ITERATIONS} steps")


def fit_style(features: Floats, wins: Floats, rows: Floats) -> StyleFit:
    """Style-controlled strengths against one baseline, to the exact optimum.

    Args:
        features: style differences model - baseline (M, Q, F); F may be 0.
        wins: sum of the scores of the rows of each cell (M, Q); rows: their number (M, Q).

    Raises:
        BadData: shapes that do not fit, a model without rows, or no convergence.
    """
    _check(features, wins, rows)
    models, _, size = features.shape
    start = StyleFit(np.zeros((1, models)), np.zeros((1, size)))
    fit = _newton(features, wins[None], rows[None], start)
    return StyleFit(fit.strengths[0], fit.coefficients[0])


def refit_style(
    features: Floats, wins: Floats, rows: Floats, counts: NDArray[np.int32], point: StyleFit
) -> StyleFit:
    """Fits (R, M) and (R, F) when question q is drawn counts[r, q] times; starts from `point`."""
    _check(features, wins, rows)
    drawn = counts.astype(np.float64)[:, None, :]
    return refit_cells(features, wins * drawn, rows * drawn, point)


def refit_cells(features: Floats, wins: Floats, rows: Floats, point: StyleFit) -> StyleFit:
    """Fits of R resampled tables, wins and rows (R, M, Q), in chunks that stay in the cache."""
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
            f"style features {features.shape} do not fit wins {wins.shape} and rows {rows.shape}"
        )
    if not np.isfinite(features).all():
        raise BadData("style features must be finite")
    if (rows.sum(axis=1) <= 0).any():
        raise BadData("a model without a single scored row has no strength")


def _newton(features: Floats, wins: Floats, rows: Floats, start: StyleFit) -> StyleFit:
    """Damped Newton on R tables (R, M, Q) at once; see l1_logistic for the damping."""
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
        # The last step is Newton's, so what is left is about its square.
        active = active[~(length < math.sqrt(TOLERANCE))]
        if active.size == 0:
            return StyleFit(strengths, coefficients)
    raise BadData(f"style-controlled fit did not converge in {MAX_ITERATIONS} steps")


def _schur_step(slope: Floats, bend: Floats, strengths: Floats, size: int) -> tuple[Floats, Floats]:
    """Newton step: eliminate the models' diagonal block, solve F x F, substitute back."""
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
    # A feature that never varies has no curvature: keep its coefficient where it is.
    schur += (1e-12 * np.einsum("rff->r", block) + 1e-12)[:, None, None] * np.eye(size)
    right = slope[:, :, 1:].sum(axis=0) - np.einsum("rmf,rm->rf", share, gradient)
    step_b = np.linalg.solve(schur, -right[:, :, None])[:, :, 0]
    step_a = -(gradient + np.einsum("rmf,rf->rm", mixed, step_b)) / diagonal
    return step_a, step_b
