"""Style control of Arena-Hard v2.0: the score if all answers were written in the same style.

Style differences of a model's answer (m) from the baseline's (b), per prompt:

    length  (L_m - L_b) / (L_m + L_b)                      L = tokens of the complete answer
    header, list, bold   (D_m - D_b) / (D_m + D_b + 1)     D = count / (L + 1)

each z-scored over all rows of the board (emphatic rows count three times, ddof 1), then used as
features of a Bradley-Terry fit (lmarena/arena-hard-auto, show_result.py). Because of the centring
"equal style" means the board's average style gap. Departures: the fit is exact (the original stops
LBFGS early, up to 1 point off), any subset of features works, two empty answers differ by 0 (the
original gives NaN), and a feature that never varies drops out. Prompts are resampled by default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData, unknown
from harness.core.hashing import seed_from
from harness.core.records import Interval
from harness.stats.bootstrap import percentile_interval
from harness.stats.bradley_terry import StyleFit, fit_style, refit_cells, refit_style
from harness.suites.arena_hard.metrics import GameTable, prompt_counts

Floats = NDArray[np.float64]

FEATURES = ("length", "header", "list", "bold")
MARKDOWN = FEATURES[1:]

_CODE_BLOCK = re.compile(r"```[^`]*```")
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST = re.compile(r"^[^\S\n]*(?:\d+\.|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


@dataclass(frozen=True)
class StyleCounts:
    """Style of one answer: tokens of the complete answer, marks outside code blocks."""

    length: float
    header: float
    list: float
    bold: float


@dataclass(frozen=True)
class StyleBoard:
    """Style-controlled win rates in [0, 1] by model, and coefficients by feature.

    `feature_mean` and `feature_std` are those of the z-score, over rows. replicates (R, M).
    """

    models: tuple[str, ...]
    features: tuple[str, ...]
    win_rates: dict[str, float]
    coefficients: dict[str, float]
    intervals: dict[str, Interval]
    feature_mean: Floats = field(repr=False, compare=False)
    feature_std: Floats = field(repr=False, compare=False)
    replicates: Floats = field(repr=False, compare=False)


def style_counts(answer: str, length: float) -> StyleCounts:
    """Count headers, list items and bold runs of an answer; fenced code is left out.

    Args:
        length: tokens of the complete answer (the original counts gpt-4o tokens).
    """
    text = _CODE_BLOCK.sub("", answer)
    return StyleCounts(
        length=length,
        header=len(_HEADER.findall(text)),
        list=len(_LIST.findall(text)),
        bold=len(_BOLD.findall(text)),
    )


def style_differences(model: Floats, baseline: Floats) -> Floats:
    """Differences (M, Q, 4) of counts (M, Q, 4) from the baseline's (Q, 4), before the z-score.

    The last axis is (length, header, list, bold).

    Raises:
        BadData: negative counts.
    """
    model, baseline = np.asarray(model, np.float64), np.asarray(baseline, np.float64)
    if min(model.min(initial=0.0), baseline.min(initial=0.0)) < 0:
        raise BadData("style counts cannot be negative")
    length_m, length_b = model[..., :1], np.broadcast_to(baseline[..., :1], model[..., :1].shape)
    total = length_m + length_b
    gap = np.divide(length_m - length_b, total, out=np.zeros_like(total), where=total > 0)
    density_m = model[..., 1:] / (length_m + 1.0)
    density_b = baseline[..., 1:] / (baseline[..., :1] + 1.0)
    marks = (density_m - density_b) / (density_m + density_b + 1.0)
    return np.concatenate([gap, marks], axis=-1)


def style_board(
    table: GameTable,
    styles: Mapping[str, Mapping[str, StyleCounts]],
    baseline: str,
    prompt_set: str,
    *,
    features: Sequence[str] = FEATURES,
    rounds: int = 1000,
    level: float = 0.95,
    resample: str = "prompts",
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> StyleBoard:
    """Style-controlled board with bootstrap intervals.

    Args:
        styles: {model: {uid: counts}}, the baseline included.
        features: any subset of `FEATURES`; none gives the plain Bradley-Terry win rate.
        rounds: 0 leaves the intervals out. resample: "prompts", or "rows" as the original.
        clusters: topic of each prompt; whole topics are then drawn.

    Raises:
        BadData: a scored answer without style counts, or a model without scored rows.
    """
    for name in features:
        if name not in FEATURES:
            raise unknown("style feature", name, FEATURES)
    if resample not in ("prompts", "rows"):
        raise unknown("resampling unit", resample, ("prompts", "rows"))
    differences = _differences(table, styles, baseline)
    mean, std = row_moments(differences, table.rows)
    chosen = [FEATURES.index(name) for name in features]
    scaled = (differences - mean) / np.where(std > 0, std, 1.0)
    scaled = np.where(table.rows[:, :, None] > 0, scaled, 0.0)[:, :, chosen]
    wins, rows = table.wins, table.rows.astype(np.float64)
    point = fit_style(scaled, wins, rows)
    if rounds == 0:
        replicates = np.empty((0, len(table.models)))
    elif resample == "prompts":
        counts = prompt_counts(table, prompt_set, rounds, clusters)
        replicates = refit_style(scaled, wins, rows, counts, point).win_rates
    else:
        replicates = _row_refits(table, scaled, rounds, seed, point).win_rates
    rates = {model: float(rate) for model, rate in zip(table.models, point.win_rates)}
    kind = f"bootstrap over {resample}"
    intervals = {
        model: percentile_interval(replicates[:, index], level, point=rates[model], kind=kind)
        for index, model in enumerate(table.models if rounds else ())
    }
    return StyleBoard(
        models=table.models,
        features=tuple(features),
        win_rates=rates,
        coefficients={name: float(b) for name, b in zip(features, point.coefficients)},
        intervals=intervals,
        feature_mean=mean[chosen],
        feature_std=std[chosen],
        replicates=replicates,
    )


def row_moments(differences: Floats, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean and standard deviation (ddof 1) of each feature over all rows of the board: (4,)."""
    weight = rows[:, :, None].astype(np.float64)
    total = float(rows.sum())
    if total < 2:
        raise BadData("style control needs at least two scored rows")
    mean = (weight * differences).sum(axis=(0, 1)) / total
    spread = (weight * (differences - mean) ** 2).sum(axis=(0, 1)) / (total - 1.0)
    std = np.sqrt(spread)
    # Rounding leaves a constant feature with a spread of about 1e-17: that is no spread.
    return mean, np.where(std > 1e-12, std, 0.0)


def _differences(
    table: GameTable, styles: Mapping[str, Mapping[str, StyleCounts]], baseline: str
) -> Floats:
    counts = np.zeros((len(table.models) + 1, len(table.uids), 4))
    scored = table.rows > 0
    needed = np.concatenate([scored, scored.any(axis=0, keepdims=True)])
    for index, name in enumerate((*table.models, baseline)):
        own = styles.get(name, {})
        for place in np.flatnonzero(needed[index]):
            style = own.get(table.uids[place])
            if style is None:
                raise BadData(f"no style counts of {name} on prompt {table.uids[place]}")
            counts[index, place] = (style.length, style.header, style.list, style.bold)
    return style_differences(counts[:-1], counts[-1])


def _row_refits(
    table: GameTable, features: Floats, rounds: int, seed: int, point: StyleFit
) -> StyleFit:
    """The original's bootstrap: all rows of the board drawn with replacement, jointly."""
    generator = np.random.Generator(np.random.PCG64(seed_from("arena style rows", seed)))
    cells = table.counts.reshape(-1)
    owner = np.repeat(np.arange(cells.size), cells)
    strengths, coefficients = [], []
    for _ in range(rounds):
        drawn = np.bincount(
            owner[generator.integers(0, owner.size, owner.size)], minlength=cells.size
        )
        counts = drawn.reshape(table.counts.shape).astype(np.float64)
        wins = counts[:, :, 2] + 0.5 * counts[:, :, 1]
        fit = refit_cells(features, wins[None], counts.sum(axis=2)[None], point)
        strengths.append(fit.strengths[0])
        coefficients.append(fit.coefficients[0])
    return StyleFit(np.array(strengths), np.array(coefficients))
