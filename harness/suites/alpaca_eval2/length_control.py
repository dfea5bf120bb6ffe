"""Length-controlled win rate: the win rate if both answers had equal length.

A logistic model of the preference on each instruction i (AlpacaEval 2; Dubois et al. 2024,
arXiv:2404.04475; code tatsu-lab/alpaca_eval, metrics/glm_winrate.py):

    logit P(model wins on i) = w_len tanh(d_i / std(d)) + w_diff g_i + w_bias
    LC = 100 mean_i sigmoid(w_diff g_i + w_bias)

with d_i = length of the baseline's answer minus the model's (code points), std over the model's
rows (ddof 1, not centred) and g_i the difficulty of the instruction. Two "gamed" models (the
baseline asked to be verbose or concise) anchor w_len and w_diff: their rows have weight 0.1 and
no bias. The L1 penalty's C is chosen among ten values by 5-fold cross-validation.

Modes: `exact` (default) solves every fit to the optimum, with the folds of recent scikit-learn;
`compat-stable` and `compat-legacy` use liblinear's approximate solution with the folds of recent
and of older scikit-learn, and reproduce published figures to 1e-6. Bootstrap intervals:
length_bootstrap.

Equal length must be within reach of the data: see `length_identified`.

Departure: rows whose preference is NaN (a failed judgment) are left out of the exact fit; the
compat modes keep them in std(d) and in the mean, as the original does. If all length differences
are equal, std(d) is 0 and the length term is set to 0 (the original crashes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData, unknown
from harness.stats.logistic import sigmoid
from harness.suites.alpaca_eval2 import liblinear
from harness.suites.alpaca_eval2.cv_folds import legacy_folds, stable_folds
from harness.suites.alpaca_eval2.l1_logistic import (
    Design,
    Expansion,
    Floats,
    cross_entropy,
    expand,
    solve,
    third_order_guess,
)

Mode = Literal["exact", "compat-stable", "compat-legacy"]
MODES: tuple[Mode, ...] = ("exact", "compat-stable", "compat-legacy")

STRENGTHS: Floats = np.logspace(-4, 4, 10)
ANCHOR_WEIGHT = 0.1  # lambda / 2: lambda = 0.2 is shared by two gamed models
FOLDS = 5
REACH = 4.0  # see `length_identified`
BLOCK = 8  # models solved in lockstep; a larger block only takes more memory
WEAK_FROM = 6  # index in STRENGTHS from which fits start at the optimum of the previous C
CV_TOLERANCE = 1e-4  # size of the last step of a fold's fit; its score's error is about 1e-9


@dataclass(frozen=True)
class Formula:
    """Terms of the logistic model that are used."""

    name: str
    difficulty: bool
    anchored: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coefficients, in order."""
        return ("length", "difficulty", "bias") if self.difficulty else ("length", "bias")


FORMULAS = {
    "length_controlled_v1": Formula("length_controlled_v1", difficulty=True, anchored=True),
    "length_controlled_noreg": Formula("length_controlled_noreg", difficulty=True, anchored=False),
    "length_controlled_minimal": Formula(
        "length_controlled_minimal", difficulty=False, anchored=False
    ),
}
DEFAULT_FORMULA = "length_controlled_v1"


@dataclass(frozen=True)
class Rows:
    """One model's judged instructions; arrays (n,).

    Attributes:
        preferences: probability in [0, 1] that the model wins, NaN for a failed judgment.
        model_lengths, baseline_lengths: answer lengths in code points.
        difficulty: difficulty of each row's instruction; None for formulas without it.

    Raises:
        BadData: arrays of different lengths, no scored row, or a preference outside [0, 1].
    """

    preferences: Floats
    model_lengths: Floats
    baseline_lengths: Floats
    difficulty: Floats | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.preferences), len(self.model_lengths), len(self.baseline_lengths)}
        sizes |= {len(self.difficulty)} if self.difficulty is not None else set()
        if len(sizes) != 1:
            raise BadData(f"arrays have lengths {sorted(sizes)}; expected equally long arrays")
        scored = self.preferences[~np.isnan(self.preferences)]
        if scored.size == 0:
            raise BadData("every judgment failed; length control needs at least one scored row")
        if scored.min() < 0.0 or scored.max() > 1.0:
            found = f"{scored.min()} to {scored.max()}"
            raise BadData(f"preferences range from {found}; expected 0 to 1")

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Mask of rows whose judgment did not fail."""
        return ~np.isnan(self.preferences)

    def only(self, mask: NDArray[np.bool_]) -> Rows:
        """The rows selected by a mask (n,)."""
        difficulty = None if self.difficulty is None else self.difficulty[mask]
        return Rows(
            self.preferences[mask],
            self.model_lengths[mask],
            self.baseline_lengths[mask],
            difficulty,
        )


@dataclass(frozen=True)
class Anchors:
    """Rows of the gamed models; arrays (A,).

    Attributes:
        preferences: probability that the gamed model wins, in [0, 1].
        length_gaps: d / std(d), before tanh.
        difficulty: difficulty of each row's instruction.
    """

    preferences: Floats
    length_gaps: Floats
    difficulty: Floats


@dataclass(frozen=True)
class LengthControlResult:
    """A fitted length control.

    Attributes:
        lc_win_rate: length-controlled win rate in %.
        standard_error: standard deviation of the predictions over sqrt(n), in %, as published. It
            measures the difficulty term, not sampling error, and is far too small; use the
            bootstrap.
        strength: C; None if nothing was fitted.
        coefficients: one per term, in the order of `columns`.
        n_fitted: number of scored rows.
        predictions: win probabilities at equal length (n,), of which lc_win_rate is the mean.
    """

    lc_win_rate: float
    standard_error: float
    strength: float | None
    coefficients: tuple[float, ...]
    columns: tuple[str, ...]
    mode: str
    folds: str
    formula: str
    n_fitted: int
    predictions: Floats = field(repr=False, compare=False)

    @property
    def anchored(self) -> bool:
        """Whether the formula uses the gamed models' rows."""
        return FORMULAS[self.formula].anchored


def of_baseline(
    n: int, mode: Mode = "exact", formula: str = DEFAULT_FORMULA
) -> LengthControlResult:
    """Result of the baseline against itself: 50 % by definition, without a fit."""
    shape = _formula(formula)
    weights = np.zeros(len(shape.columns))
    return _result(np.full(n, 0.5), None, weights, mode, shape, 0)


def fit(
    rows: Rows,
    *,
    anchors: Anchors | None = None,
    mode: Mode = "exact",
    formula: str = DEFAULT_FORMULA,
) -> LengthControlResult:
    """Fit the length control of one model; the equation is in the module's docstring.

    Args:
        anchors: rows of the gamed models; if None, only the model's rows are fitted.
        mode: `exact`, `compat-stable` or `compat-legacy`.
        formula: a key of `FORMULAS`.

    Raises:
        BadData: the formula needs the difficulty of instructions, and it is missing.
        UnknownName: unknown mode or formula.
        MissingExtra: a compat mode without scikit-learn.
    """
    return fit_board([rows], anchors=anchors, mode=mode, formula=formula)[0]


def fit_board(
    models: Sequence[Rows],
    *,
    anchors: Anchors | None = None,
    mode: Mode = "exact",
    formula: str = DEFAULT_FORMULA,
) -> list[LengthControlResult]:
    """Call `fit` for many models; the exact mode solves blocks of models in lockstep."""
    shape = _formula(formula)
    if mode not in MODES:
        raise unknown("length-control mode", mode, MODES)
    if mode != "exact":
        return [_fit_liblinear(rows, anchors, mode, shape) for rows in models]
    # Blocks run in sequence: parallel threads were slower (9.6 against 7.2 ms per model).
    results: list[LengthControlResult] = []
    for start in range(0, len(models), BLOCK):
        block = [rows.only(rows.scored) for rows in models[start : start + BLOCK]]
        results += _fit_exact(block, anchors, shape)
    return results


def length_identified(rows: Rows) -> bool:
    """Whether the scored rows can say what would happen at equal length.

    Not if all length differences are the same but not 0, or so similar that 0 lies more than REACH
    standard deviations from their mean: length and bias are then one term, and the penalty decides.
    """
    scored = rows.only(rows.scored)
    gaps = scored.baseline_lengths - scored.model_lengths
    mean, spread = float(gaps.mean()), float(gaps.std())
    return mean == 0.0 or abs(mean) <= REACH * spread


def design_matrix(
    rows: Rows, anchors: Anchors | None, shape: Formula
) -> tuple[Floats, Floats, Floats]:
    """Features (A + n, k), labels (A + n,) and weights (A + n,); the anchors' rows come first.

    Raises:
        BadData: the formula needs the difficulty of instructions, and it is missing.
    """
    if shape.difficulty and rows.difficulty is None:
        raise BadData(f"no difficulty given; {shape.name} needs that of every instruction")
    columns = [np.tanh(_standardised_gaps(rows))]
    if shape.difficulty:
        columns.append(np.asarray(rows.difficulty, dtype=np.float64))
    columns.append(np.ones(len(rows.preferences)))
    features = np.column_stack(columns)
    labels, weights = rows.preferences, np.ones(len(features))
    if anchors is None or not shape.anchored:
        return features, labels, weights
    zeros = np.zeros(len(anchors.preferences))
    above = np.column_stack([np.tanh(anchors.length_gaps), anchors.difficulty, zeros])
    return (
        np.concatenate([above, features]),
        np.concatenate([anchors.preferences, labels]),
        np.concatenate([np.full(len(above), ANCHOR_WEIGHT), weights]),
    )


def _standardised_gaps(rows: Rows) -> Floats:
    gaps = rows.baseline_lengths.astype(np.float64) - rows.model_lengths
    spread = float(gaps.std(ddof=1)) if gaps.size > 1 else 0.0
    return gaps / spread if spread > 0.0 else np.zeros_like(gaps)


def _formula(name: str) -> Formula:
    if name not in FORMULAS:
        raise unknown("length-control formula", name, FORMULAS)
    return FORMULAS[name]


def _fit_liblinear(
    rows: Rows, anchors: Anchors | None, mode: Mode, shape: Formula
) -> LengthControlResult:
    features, labels, weights = design_matrix(rows, anchors, shape)
    used = ~np.isnan(labels)
    count = int(used.sum())
    folds = (legacy_folds if mode == "compat-legacy" else stable_folds)(count, FOLDS)
    chosen = liblinear.cross_validate(features[used], labels[used], weights[used], folds, STRENGTHS)
    judged = features[-len(rows.preferences) :]  # with NaN rows, as in the original's mean
    predictions = sigmoid(judged[:, 1:] @ chosen.coefficients[1:])
    fitted = int(rows.scored.sum())
    return _result(predictions, chosen.strength, chosen.coefficients, mode, shape, fitted)


def _fit_exact(
    block: Sequence[Rows], anchors: Anchors | None, shape: Formula
) -> list[LengthControlResult]:
    matrices = [design_matrix(rows, anchors, shape) for rows in block]
    doubled, edges = [], []
    for features, labels, weights in matrices:
        folds = stable_folds(len(labels), FOLDS)
        order = np.argsort(folds, kind="stable")
        doubled.append(Design.of(features[order], labels[order], weights[order]).twice())
        edges.append(np.searchsorted(folds[order], np.arange(FOLDS + 1)))
    paths = _full_paths([d.rows(slice(0, e[-1])) for d, e in zip(doubled, edges)])
    scores = _fold_scores(doubled, edges, paths)
    results = []
    for rows, (features, _, _), path, score in zip(block, matrices, paths, scores):
        best = int(np.argmax(score))
        predictions = sigmoid(features[-len(rows.preferences) :, 1:] @ path[best, 1:])
        fitted = len(rows.preferences)
        results.append(
            _result(predictions, float(STRENGTHS[best]), path[best], "exact", shape, fitted)
        )
    return results


def _full_paths(designs: Sequence[Design]) -> Floats:
    """Optima (M, C, k) on all rows.

    Fits with a strong penalty start at zero, fits with a weak one at the last strong optimum,
    from which they hardly differ.
    """
    models, k = len(designs), designs[0].features.shape[1]
    strong, weak = np.tile(STRENGTHS[:WEAK_FROM], (models, 1)), STRENGTHS[WEAK_FROM:]
    first = solve(designs, strong, np.zeros((models, WEAK_FROM, k)))
    start = np.repeat(first[:, -1:], len(weak), axis=1)
    return np.concatenate([first, solve(designs, np.tile(weak, (models, 1)), start)], axis=1)


def _fold_scores(
    doubled: Sequence[Design], edges: Sequence[NDArray[np.int64]], paths: Floats
) -> Floats:
    """Cross-validation score (M, C): mean over folds of minus the held-out weighted loss.

    Rows are sorted by fold and repeated, so that every training set (all rows except one fold) is a
    run of consecutive rows. Its optimum is estimated from derivatives at the optimum of all rows
    (training = all - held out), then refined by Newton steps, usually one.
    """
    held, trained, local = [], [], []
    for design, edge, path in zip(doubled, edges, paths):
        n = int(edge[-1])
        folds = [f for f in range(FOLDS) if edge[f + 1] > edge[f]]
        outside = [design.rows(slice(edge[f], edge[f + 1])) for f in folds]
        parts = [expand(part, path) for part in outside]
        whole = reduce(add, parts)
        held.append(outside)
        trained += [design.rows(slice(edge[f + 1], edge[f] + n)) for f in folds]
        local += [whole - part for part in parts]
    owner = np.repeat(np.arange(len(held)), [len(parts) for parts in held])
    found = _fold_optima(trained, local, paths[owner])
    scores = [
        -(cross_entropy(w @ part.features.T, part.labels) @ part.weights) / len(part.labels)
        for part, w in zip([part for parts in held for part in parts], found)
    ]
    table = np.array(scores)
    return np.stack([table[owner == model].mean(axis=0) for model in range(len(held))])


def _fold_optima(trained: Sequence[Design], local: Sequence[Expansion], current: Floats) -> Floats:
    """Optima (T, C, k) of T training sets."""
    t, c, k = current.shape
    reach = np.repeat([design.reach for design in trained], c, axis=0)
    penalties = np.tile(1.0 / STRENGTHS, t)
    guess = third_order_guess(Expansion.join(local), current.reshape(-1, k), penalties, reach)
    strengths = np.tile(STRENGTHS, (t, 1))
    return solve(trained, strengths, guess.reshape(t, c, k), tolerance=CV_TOLERANCE)


def _result(
    predictions: Floats,
    strength: float | None,
    coefficients: Floats,
    mode: Mode,
    shape: Formula,
    fitted: int,
) -> LengthControlResult:
    n = len(predictions)
    spread = float(predictions.std(ddof=1)) if n > 1 else 0.0
    return LengthControlResult(
        lc_win_rate=float(100.0 * predictions.mean()),
        standard_error=100.0 * spread / float(np.sqrt(n)),
        strength=strength,
        coefficients=tuple(float(w) for w in coefficients),
        columns=shape.columns,
        mode=mode,
        folds="legacy" if mode == "compat-legacy" else "stable",
        formula=shape.name,
        n_fitted=fitted,
        predictions=predictions,
    )
