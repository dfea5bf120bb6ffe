"""Style-controlled win rate of one system: the win rate if both answers had the same style.

With x_q the chosen style differences of prompt q (`style_differences`), z_q = (x_q - mean) / sd
over the verdict rows, and one strength a and coefficients b fitted to all rows:

    logit P(system wins on q) = a + z_q . b        win rate = sigmoid(a + z(x = 0) . b)

that is, the fit is evaluated where x = 0: both answers have the same style.

A feature without spread cannot have a coefficient. If it is 0 on all prompts, it already is equal
style and is left out. If it is constant elsewhere, or varies so little that x = 0 lies more than
`REACH` standard deviations from its mean, no data say what would happen at equal style: the feature
is left out and named as not identified. The win rate is then that of the remaining features, the
plain score if none remains, and has no interval.

On few prompts style may separate wins from losses, so that no finite optimum exists. `PRIOR` games
at one standard deviation on either side of every feature, with the plain score as their result,
make the coefficients finite; their weight is far below that of a single prompt, and without
features' influence they leave the win rate at the plain score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.bradley_terry import StyleFit, fit_style, refit_style
from harness.stats.logistic import sigmoid
from harness.suites.arena_hard.metrics import GameTable
from harness.suites.arena_hard.style import FEATURES, row_moments, style_differences

Floats = NDArray[np.float64]

REACH = 4.0  # standard deviations from the mean gap to equal style that a fit may bridge
PRIOR = 0.1  # number of games on either side of every feature


@dataclass(frozen=True)
class EqualStyle:
    """Result of style control of one system; shares are in [0, 1].

    Attributes:
        slopes: coefficient of the z-scored difference, by feature; 0 for a feature left out.
        not_identified: features whose gap cannot carry a coefficient, see the module docstring.
        bounds: win rate if all incomplete prompts were lost emphatically, and if all were won so;
            None if none is incomplete.
        replicates: win rate in each resample (rounds,).
    """

    win_rate: float
    slopes: dict[str, float]
    not_identified: tuple[str, ...]
    bounds: tuple[float, float] | None
    replicates: Floats


def equal_style(
    table: GameTable,
    model: Floats,
    baseline: Floats,
    features: Sequence[str],
    drawn: NDArray[np.int32],
) -> EqualStyle:
    """Style control of a table with one system.

    Args:
        model, baseline: style counts (Q, 4) of the answers, in the order of `FEATURES`.
        features: names of the features to control for.
        drawn: number of times each prompt is drawn in each resample (rounds, Q).
    """
    gaps = style_differences(model[None], baseline)
    mean, spread = row_moments(gaps, table.rows)
    apart = (mean != 0) & (np.abs(mean) > REACH * spread)
    columns = [FEATURES.index(name) for name in features]
    lost = [column for column in columns if apart[column]]
    kept = [column for column in columns if not apart[column] and spread[column] > 0]
    scaled = (gaps[..., kept] - mean[kept]) / spread[kept]
    scaled = np.where(table.complete[..., None], scaled, 0.0)
    fits = _Fits(scaled, -mean[kept] / spread[kept])
    wins, games = table.wins, table.rows.astype(np.float64)
    rate = fits.win_rate(wins, games)
    bounds = None
    if not table.complete.all():
        played = np.where(table.complete, games, 2.0 * table.weight)
        ends = [wins, np.where(table.complete, wins, played)]
        rates = [fits.win_rate(end, played) for end in ends]
        bounds = (min(*rates, rate), max(*rates, rate))
    slopes = dict.fromkeys(features, 0.0)
    found = fits.coefficients(wins, games)
    slopes |= {FEATURES[column]: float(b) for column, b in zip(kept, found, strict=True)}
    return EqualStyle(
        win_rate=rate,
        slopes=slopes,
        not_identified=tuple(FEATURES[column] for column in lost),
        bounds=bounds,
        replicates=fits.resampled(wins, games, drawn),
    )


class _Fits:
    """Fits on the z-scored features (1, Q, F); `equal` (F,) is where both styles are the same."""

    def __init__(self, features: Floats, equal: Floats) -> None:
        size = features.shape[2]
        sides = np.concatenate([np.eye(size), -np.eye(size)])[None]
        self.features = np.concatenate([features, sides], axis=1)
        self.equal, self.size = equal, size

    def coefficients(self, wins: Floats, games: Floats) -> Floats:
        return self._fit(wins, games).coefficients

    def win_rate(self, wins: Floats, games: Floats) -> float:
        if not self.size:
            return float(wins.sum() / games.sum())
        found = self._fit(wins, games)
        return float(self._rates(found.strengths[None], found.coefficients[None])[0])

    def resampled(self, wins: Floats, games: Floats, drawn: NDArray[np.int32]) -> Floats:
        """Win rates (rounds,); a resample without any verdict gets that of the sample."""
        if not self.size:
            total = drawn @ games[0]
            whole = np.full(len(drawn), self.win_rate(wins, games))
            return np.divide(drawn @ wins[0], total, out=whole, where=total > 0)
        counts = np.ones((len(drawn), self.features.shape[1]), dtype=np.int32)
        counts[:, : drawn.shape[1]] = drawn
        empty = drawn @ games[0] <= 0
        counts[empty] = 1
        point = self._fit(wins, games)
        found = refit_style(self.features, *self._with_prior(wins, games), counts, point)
        return self._rates(found.strengths, found.coefficients)

    def _fit(self, wins: Floats, games: Floats) -> StyleFit:
        return fit_style(self.features, *self._with_prior(wins, games))

    def _with_prior(self, wins: Floats, games: Floats) -> tuple[Floats, Floats]:
        prior = np.full((1, 2 * self.size), PRIOR)
        score = wins.sum() / games.sum()
        return (
            np.concatenate([wins, score * prior], axis=1),
            np.concatenate([games, prior], axis=1),
        )

    def _rates(self, strengths: Floats, coefficients: Floats) -> Floats:
        return sigmoid(strengths[:, 0] + coefficients @ self.equal)
