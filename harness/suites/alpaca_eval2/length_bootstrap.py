"""Bootstrap of the length-controlled win rate over instructions, with one C for all resamples.

Each replicate weights the model's rows by the number of times their instruction was drawn, refits
the three coefficients and averages the predictions with the same counts. The anchors, std(d) and C
stay fixed: they are settings of the measurement, not part of the sample. All replicates are solved
together: a third-order guess from one matrix product, then Newton steps to the optimum.

On few instructions cross-validation may choose a C so small that every coefficient is 0 and every
resample gives 50.00 (43 % coverage on 20 instructions); C is therefore at least `LEAST_STRENGTH`
here, at which the penalty no longer decides (coverage 96 %).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.stats.logistic import sigmoid
from harness.suites.alpaca_eval2.l1_logistic import (
    Design,
    Floats,
    expand,
    expand_resampled,
    solve,
    third_order_guess,
)
from harness.suites.alpaca_eval2.length_control import (
    FORMULAS,
    Anchors,
    LengthControlResult,
    Rows,
    design_matrix,
)

TOLERANCE = 1e-3  # size of the last Newton step; the error of the coefficients is about 1e-6
LEAST_STRENGTH = 1.0
CHUNK = 32  # replicates solved at a time, so that their rows fit in cache


def bootstrap(
    rows: Rows,
    result: LengthControlResult,
    counts: NDArray[np.int32],
    *,
    anchors: Anchors | None = None,
) -> Floats:
    """Length-controlled win rate (%) in each resample: (rounds,).

    Args:
        rows: rows of the prompt set in its order, to which `result` was fitted.
        counts: (rounds, n) from `resample_counts`; rows with NaN preference are left out.
        anchors: the same as in the fit.

    A compat fit, and one with a smaller C, differ from the optimum here; the replicates are shifted
    by that difference, so that they are centred on the published value. A resample with failed
    rows only gets the point estimate.

    Raises:
        BadData: `counts` does not have one column per row.
    """
    if counts.ndim != 2 or counts.shape[1] != len(rows.preferences):
        raise BadData(f"counts have shape {counts.shape}; expected (R, {len(rows.preferences)})")
    if result.strength is None:  # the baseline against itself
        return np.full(len(counts), result.lc_win_rate)
    strength = max(result.strength, LEAST_STRENGTH)
    shape, scored = FORMULAS[result.formula], rows.scored
    drawn = counts[:, scored].astype(np.float64)
    features, labels, weights = design_matrix(rows.only(scored), anchors, shape)
    own = len(features) - drawn.shape[1]
    design = Design.of(features, labels, weights)
    base = np.array([result.coefficients])
    base = solve([design], np.array([[strength]]), base[None])[0]
    found = _refit(design, own, base[0], strength, drawn)
    judged = features[own:, 1:]
    chances = sigmoid(found[:, 1:] @ judged.T)
    total = drawn.sum(axis=1)
    point = 100.0 * float(sigmoid(judged @ base[0, 1:]).mean())
    means = 100.0 * (drawn * chances).sum(axis=1) / np.maximum(total, 1.0)
    shifted: Floats = np.where(total > 0, means + (result.lc_win_rate - point), result.lc_win_rate)
    return shifted


def _refit(design: Design, own: int, base: Floats, strength: float, drawn: Floats) -> Floats:
    """Coefficients (rounds, k); rows from index `own` on are weighted by `drawn` (rounds, n)."""
    rounds = len(drawn)
    local = expand_resampled(design.rows(slice(own, None)), base, drawn)
    if own:
        local = local + expand(design.rows(slice(0, own)), base[None])
    penalty = np.full(rounds, 1.0 / strength)
    guess = third_order_guess(local, np.tile(base, (rounds, 1)), penalty, design.reach)
    fixed = np.ones((rounds, own))
    counts = np.concatenate([fixed, drawn], axis=1)
    found = np.empty_like(guess)
    for start in range(0, rounds, CHUNK):
        part = slice(start, start + CHUNK)
        size = len(guess[part])
        found[part] = solve(
            [design],
            np.full((1, size), strength),
            guess[part][None],
            counts=[counts[part]],
            tolerance=TOLERANCE,
        )[0]
    return found
