"""Exact L1-penalised logistic regression with fractional labels and few features.

    minimise over w in R^k   ||w||_1 / C + sum_i s_i [ log(1 + exp(z_i)) - p_i z_i ],  z = X w

with row weights s and labels p in [0, 1]. Many such problems (designs x values of C) are solved
in lockstep by a proximal Newton method: for k <= 3 features the quadratic model is minimised
exactly by a search over sign patterns. Full steps are taken. If the slope along a step changes its
sign and keeps at least half its size (overshoot), the step d is shortened by the factor
log(1 + r) / r, r >= max_i |x_i d|, which guarantees descent (Sun and Tran-Dinh, Generalized
self-concordant functions, Math. Programming 178, 2019; nu = 2 for the logistic loss). Near the
optimum this is Newton's method, so the error after a step of size d is of order d^2.

Shapes: N rows, k features, K problems over one design, D designs; float64 throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.stats.logistic import sigmoid, sigmoid_of_minus

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]

STEP_TOLERANCE = 1e-5  # the error after a Newton step is about the square of its size
CLIPPED_LOGIT = 34.538776394910684  # logit of 1 - 1e-15
MAX_ITERATIONS = 200
OVERSHOOT = 0.5  # tolerated slope of opposite sign after a step, relative to the slope before


@dataclass(frozen=True)
class Design:
    """Rows of a weighted logistic problem, with the products that every Newton step needs.

    `weighted`, `pairs` and `triples` contain s x_a, s x_a x_b and s x_a x_b x_c for a <= b <= c;
    `reach` is an upper bound of |x_a| (a part of a design keeps the bound of the whole).
    """

    features: Floats  # (N, k)
    labels: Floats  # (N,)
    weights: Floats  # (N,)
    weighted: Floats  # (N, k)
    pairs: Floats  # (N, k(k+1)/2)
    triples: Floats  # (N, k(k+1)(k+2)/6)
    reach: Floats  # (k,)

    @staticmethod
    def of(features: Floats, labels: Floats, weights: Floats) -> Design:
        """Design of features (N, k), labels (N,) and row weights (N,).

        Raises:
            BadData: features or labels are not finite.
        """
        if not (np.isfinite(features).all() and np.isfinite(labels).all()):
            raise BadData("features or labels contain NaN or Inf; expected finite numbers")
        shape = _layout(features.shape[1])
        weighted = features * weights[:, None]
        pairs = weighted[:, shape.pairs[:, 0]] * features[:, shape.pairs[:, 1]]
        triples = pairs[:, shape.triple_pair] * features[:, shape.triple_last]
        reach: Floats = np.abs(features).max(axis=0, initial=0.0)
        return Design(features, labels, weights, weighted, pairs, triples, reach)

    @cached_property
    def steepest(self) -> float:
        """Largest absolute partial derivative of the loss at zero coefficients."""
        return float(np.abs((0.5 - self.labels) @ self.weighted).max())

    def rows(self, part: slice) -> Design:
        """View of consecutive rows."""
        return Design(
            self.features[part],
            self.labels[part],
            self.weights[part],
            self.weighted[part],
            self.pairs[part],
            self.triples[part],
            self.reach,
        )

    def twice(self) -> Design:
        """The rows repeated once, so that all rows except a run of rows are consecutive too."""
        return Design(
            features=np.concatenate([self.features, self.features]),
            labels=np.concatenate([self.labels, self.labels]),
            weights=np.concatenate([self.weights, self.weights]),
            weighted=np.concatenate([self.weighted, self.weighted]),
            pairs=np.concatenate([self.pairs, self.pairs]),
            triples=np.concatenate([self.triples, self.triples]),
            reach=self.reach,
        )


@dataclass(frozen=True)
class _Layout:
    """Positions of the entries of symmetric k^2 and k^3 tensors in packed form."""

    pairs: Indexes  # (m2, 2): a <= b
    triple_pair: Indexes  # (m3,): packed pair (a, b) of each triple
    triple_last: Indexes  # (m3,): c of each triple
    square: Indexes  # (k, k): packed position of (a, b)
    cube: Indexes  # (k, k, k): packed position of (a, b, c)


@lru_cache(maxsize=8)
def _layout(k: int) -> _Layout:
    pairs = list(combinations_with_replacement(range(k), 2))
    triples = list(combinations_with_replacement(range(k), 3))
    square = np.empty((k, k), dtype=np.int64)
    for a, b in product(range(k), repeat=2):
        square[a, b] = pairs.index((min(a, b), max(a, b)))
    cube = np.empty((k, k, k), dtype=np.int64)
    for a, b, c in product(range(k), repeat=3):
        low, middle, high = sorted((a, b, c))
        cube[a, b, c] = triples.index((low, middle, high))
    return _Layout(
        pairs=np.array(pairs, dtype=np.int64),
        triple_pair=np.array([pairs.index((a, b)) for a, b, _ in triples], dtype=np.int64),
        triple_last=np.array([c for _, _, c in triples], dtype=np.int64),
        square=square,
        cube=cube,
    )


def cross_entropy(z: Floats, labels: Floats) -> Floats:
    """-p log q - (1-p) log(1-q) with q = sigmoid(z) clipped to [1e-15, 1 - 1e-15]."""
    # -log q + (1-p) z is exact to 1e-16 here, and log takes half the time of log1p.
    bounded = np.clip(z, -CLIPPED_LOGIT, CLIPPED_LOGIT)
    result: Floats = (1.0 - labels) * bounded - np.log(sigmoid(bounded))
    return result


def solve(
    designs: Sequence[Design],
    strength: Floats,
    start: Floats,
    counts: Sequence[Floats] | None = None,
    tolerance: float = STEP_TOLERANCE,
) -> Floats:
    """Coefficients (D, K, k) of K problems over each of D designs of k features.

    Args:
        strength: C of each problem (D, K).
        start: initial coefficients (D, K, k); their signs are the initial active set.
        counts: per design, row multiplicities (K, N) that multiply its weights (bootstrap).
        tolerance: step size that ends the iteration; the remaining error is about its square.

    Raises:
        BadData: no convergence; with finite input this has never been observed.
    """
    found = start.copy()
    active = np.ones(strength.shape, dtype=bool)
    if counts is None:  # if the penalty exceeds every slope at zero, zero is the optimum
        steepest = np.array([design.steepest for design in designs])
        active = found.any(axis=2) | (steepest[:, None] > 1.0 / strength)
    reach = np.stack([design.reach for design in designs])
    step = np.zeros_like(found)
    descent = np.zeros(strength.shape)  # slope along the last step at its start
    for _ in range(MAX_ITERATIONS):
        if not active.any():
            return found
        gradient, hessian = _all_derivatives(designs, found, active, counts)
        point, last, penalty = found[active], step[active], 1.0 / strength[active]
        slope = ((gradient + penalty[:, None] * np.sign(point)) * last).sum(axis=1)
        overshot = slope > -OVERSHOOT * descent[active]
        fresh = quadratic_step(hessian, gradient, point, penalty)
        undo = last * (_damping(last, reach[np.nonzero(active)[0]]) - 1.0)[:, None]
        found[active] = point + np.where(overshot[:, None], undo, fresh)
        step[active] = np.where(overshot[:, None], 0.0, fresh)
        slope = ((gradient + penalty[:, None] * np.sign(point)) * fresh).sum(axis=1)
        descent[active] = np.where(overshot, 0.0, np.minimum(slope, 0.0))
        # Negated comparison: a NaN step counts as not converged.
        active[active] = overshot | ~(np.abs(fresh).max(axis=1) < tolerance)
    raise BadData(
        f"logistic fit did not converge in {MAX_ITERATIONS} steps; check that all inputs are finite"
    )


def _damping(step: Floats, reach: Floats) -> Floats:
    """log(1 + r) / r with r >= max_i |x_i d|: factor of a step that guarantees descent."""
    length = (np.abs(step) * reach).sum(axis=1)
    share: Floats = np.log1p(length) / np.maximum(length, 1e-300)
    return share


def _all_derivatives(
    designs: Sequence[Design],
    found: Floats,
    active: NDArray[np.bool_],
    counts: Sequence[Floats] | None,
) -> tuple[Floats, Floats]:
    """Gradients and Hessians of the active problems, design by design, in the mask's order."""
    parts = []
    for index in np.flatnonzero(active.any(axis=1)).tolist():
        chosen = active[index]
        many = None if counts is None else counts[index][chosen]
        parts.append(_derivatives(designs[index], found[index, chosen], many))
    return np.concatenate([g for g, _ in parts]), np.concatenate([h for _, h in parts])


def _derivatives(
    design: Design, coefficients: Floats, counts: Floats | None
) -> tuple[Floats, Floats]:
    """Gradient (K, k) and Hessian (K, k, k) of the loss at each of K points."""
    q = sigmoid_of_minus(-coefficients @ design.features.T)  # (K, N)
    spread = q * q
    np.subtract(q, spread, out=spread)
    q -= design.labels
    if counts is not None:
        q *= counts
        spread *= counts
    square = _layout(coefficients.shape[1]).square
    return q @ design.weighted, (spread @ design.pairs)[:, square]


@dataclass(frozen=True)
class Expansion:
    """Gradient (K, k), Hessian (K, k, k) and third derivative (K, k, k, k) of K losses."""

    gradient: Floats
    hessian: Floats
    third: Floats

    def __add__(self, other: Expansion) -> Expansion:
        return Expansion(
            self.gradient + other.gradient, self.hessian + other.hessian, self.third + other.third
        )

    def __sub__(self, other: Expansion) -> Expansion:
        return Expansion(
            self.gradient - other.gradient, self.hessian - other.hessian, self.third - other.third
        )

    @staticmethod
    def join(parts: Sequence[Expansion]) -> Expansion:
        """Concatenate the problems of all parts."""
        return Expansion(
            np.concatenate([part.gradient for part in parts]),
            np.concatenate([part.hessian for part in parts]),
            np.concatenate([part.third for part in parts]),
        )


def expand(design: Design, coefficients: Floats) -> Expansion:
    """Derivatives of one design's loss at K points (K, k)."""
    q = sigmoid(coefficients @ design.features.T)
    spread = q - q * q
    shape = _layout(coefficients.shape[1])
    return Expansion(
        gradient=(q - design.labels) @ design.weighted,
        hessian=(spread @ design.pairs)[:, shape.square],
        third=((spread - 2.0 * spread * q) @ design.triples)[:, shape.cube],
    )


def expand_resampled(design: Design, coefficients: Floats, counts: Floats) -> Expansion:
    """Derivatives at one point (k,) of the losses with K row multiplicities (K, N).

    One matrix product computes the derivatives of all resamples from those of single rows.
    """
    k = len(coefficients)
    q = sigmoid(design.features @ coefficients)
    spread = q - q * q
    rows = np.concatenate(
        [
            (q - design.labels)[:, None] * design.weighted,
            spread[:, None] * design.pairs,
            (spread - 2.0 * spread * q)[:, None] * design.triples,
        ],
        axis=1,
    )
    sums = counts @ rows
    shape, end = _layout(k), k + design.pairs.shape[1]
    return Expansion(sums[:, :k], sums[:, k:end][:, shape.square], sums[:, end:][:, shape.cube])


def third_order_guess(local: Expansion, current: Floats, penalty: Floats, reach: Floats) -> Floats:
    """Approximate optima (K, k) of losses given by their third-order expansion at `current` (K, k).

    If the optimum is a distance d from `current`, the error is of order d^3. If d x reach is at
    least 1 (a resample that is nearly separable), the guess is `current` itself.
    """
    step = quadratic_step(local.hessian, local.gradient, current, penalty)
    bend = 0.5 * np.einsum("rijl,rj,rl->ri", local.third, step, step)
    refined = quadratic_step(local.hessian, local.gradient + bend, current, penalty)
    near = (np.abs(step) * reach).sum(axis=1) < 1.0
    guess: Floats = current + np.where(near[:, None], refined, 0.0)
    return guess


def quadratic_step(hessian: Floats, gradient: Floats, current: Floats, penalty: Floats) -> Floats:
    """Step d (K, k) that minimises gradient.d + d'Hd/2 + penalty ||current + d||_1, exactly.

    The minimiser of a strictly convex model has exactly one sign pattern that satisfies the
    optimality conditions. The pattern of the current point is tried first, then repaired ones, then
    all 3^k; the pattern with the smallest violation is used, which also resolves rounding ties.
    """
    k = current.shape[1]
    size = np.einsum("kii->k", hessian)
    # Keeps H invertible if a feature is always zero.
    hessian = hessian + (1e-13 * size + 1e-300)[:, None, None] * np.eye(k)
    pull = (hessian @ current[:, :, None])[:, :, 0] - gradient
    signs = np.sign(current)
    fresh = ~signs.any(axis=1)
    if fresh.any():
        signs[fresh] = np.sign(pull[fresh])
    best, violation, signs = _try_pattern(hessian, pull, signs, penalty)
    for pattern in _patterns(k):
        open_ = np.flatnonzero(violation > 1e-9)
        if open_.size == 0:
            break
        trial = signs[open_] if pattern is None else np.tile(pattern, (open_.size, 1))
        point, misfit, repaired = _try_pattern(hessian[open_], pull[open_], trial, penalty[open_])
        better = misfit < violation[open_]
        best[open_[better]] = point[better]
        violation[open_[better]] = misfit[better]
        signs[open_] = repaired
    return best - current


def _patterns(k: int) -> Iterator[Floats | None]:
    """Yield None (use the repaired pattern of the last trial) k times, then all sign patterns."""
    for _ in range(k):
        yield None
    for signs in product((-1.0, 1.0, 0.0), repeat=k):
        yield np.array(signs)


def _try_pattern(
    hessian: Floats, pull: Floats, signs: Floats, penalty: Floats
) -> tuple[Floats, Floats, Floats]:
    """Minimiser for a sign pattern, its relative violation (0 = optimal), a repaired pattern."""
    used = np.abs(signs)
    system = hessian * (used[:, :, None] * used[:, None, :])
    index = np.arange(pull.shape[1])
    system[:, index, index] += 1.0 - used
    right = used * (pull - penalty[:, None] * signs)
    point = np.linalg.solve(system, right[:, :, None])[:, :, 0]
    flipped = np.maximum(-point * signs, 0.0)
    rest = pull - (hessian @ point[:, :, None])[:, :, 0]
    excess = (1.0 - used) * np.maximum(np.abs(rest) - penalty[:, None], 0.0)
    scale = np.abs(pull).max(axis=1) + penalty
    curvature = hessian[:, index, index]
    violation = ((flipped * curvature + excess) / scale[:, None]).max(axis=1)
    repaired = np.where(flipped > 0, 0.0, np.where(excess > 0, np.sign(rest), signs))
    return np.where(point * signs > 0, point, 0.0), violation, repaired
