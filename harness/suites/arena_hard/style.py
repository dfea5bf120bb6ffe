"""Style control of Arena-Hard v2.0: the win rate if all answers had the same style.

Style differences between the model's answer (m) and the baseline's (b), per prompt:

    length  (L_m - L_b) / (L_m + L_b)                      L = tokens of the complete answer
    header, list, bold   (D_m - D_b) / (D_m + D_b + 1)     D = count / (L + 1)

Each is z-scored over all rows of the board (emphatic rows count three times, ddof 1) and used as a
feature of a Bradley-Terry fit (lmarena/arena-hard-auto, show_result.py). Because of the centring,
"equal style" means the board's average style difference.

Departures: the fit is exact (the original stops LBFGS early, with errors up to 1 point); any subset
of features can be used; the difference of two empty answers is 0 (NaN in the original); a constant
feature has coefficient 0. Prompts are resampled by default.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData, unknown
from harness.core.hashing import seed_from
from harness.core.records import Interval
from harness.stats.bootstrap import percentile_interval
from harness.stats.bradley_terry import StyleFit, fit_style, refit_cells, refit_style
from harness.suites.arena_hard.metrics import GameTable, prompt_counts, scored_units

Floats = NDArray[np.float64]

FEATURES = ("length", "header", "list", "bold")
CONSTANT = 1e-9  # a feature whose spread is below this share of its size is constant

LETTERS_PER_WORD = 4  # of scripts of South-East Asia without blanks between words

# Han (with its extensions), kana and bopomofo; then Thai, Lao, Burmese, Khmer.
_HAN = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u3096\u30a1-\u30fa\u30fd-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
_ASIAN = "\u0e01-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u1049\u1050-\u109f\u1780-\u17d3"
_CHARACTERS = re.compile(f"[{_HAN}]")
_SOUTHEAST = re.compile(f"[{_ASIAN}]+")
_UNSPACED = re.compile(f"[{_HAN}]|[{_ASIAN}]+")
_LETTER = re.compile(r"[^\W_]")
_CODE_BLOCK = re.compile(r"```[^`]*```")
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST = re.compile(r"^[^\S\n]*(?:\d+\.|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


@dataclass(frozen=True)
class StyleCounts:
    """Style of one answer: tokens of the whole answer, Markdown elements outside code blocks."""

    length: float
    header: float
    list: float
    bold: float


@dataclass(frozen=True)
class StyleBoard:
    """Result of style control.

    Attributes:
        win_rates: style-controlled win rate in [0, 1], by model.
        coefficients: coefficient of the z-scored difference, by feature.
        intervals: interval of the win rate, by model; empty without bootstrap, absent for a model
            with a single scored prompt.
        feature_mean, feature_std: moments of the z-score over rows, in the order of `features`.
        replicates: bootstrap replicates of the win rates (R, M).
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
    """Count headers, list items and bold spans of an answer outside fenced code.

    Args:
        length: number of tokens of the whole answer (the original counts gpt-4o tokens).
    """
    text = _CODE_BLOCK.sub("", answer)
    return StyleCounts(
        length=length,
        header=len(_HEADER.findall(text)),
        list=len(_LIST.findall(text)),
        bold=len(_BOLD.findall(text)),
    )


def style_vector(answer: str) -> tuple[float, float, float, float]:
    """Counts of an answer in the order of `FEATURES`, with its length in words."""
    found = style_counts(answer, float(word_count(answer)))
    return (found.length, found.header, found.list, found.bold)


def word_count(text: str) -> int:
    """Number of words: runs without blanks; scripts that put no blanks between words are split.

    A character of Chinese or Japanese counts as one word, and every four letters (begun) of Thai,
    Lao, Khmer or Burmese, which is about the mean length of their words. Text in other scripts
    counts exactly as many words as it has runs without blanks.

    >>> word_count("it's 3.5 km"), word_count("我用Python写代码。"), word_count("สวัสดีครับ")
    (3, 6, 2)
    """
    return sum(_words_of_run(run) for run in text.split())


def _words_of_run(run: str) -> int:
    if not _UNSPACED.search(run):
        return 1
    letters = len(_CHARACTERS.findall(run))
    others = len([part for part in _UNSPACED.split(run) if _LETTER.search(part)])
    syllabic = sum(
        -(-sum(unicodedata.category(c)[0] != "M" for c in part) // LETTERS_PER_WORD)
        for part in _SOUTHEAST.findall(run)
    )
    return max(1, letters + others + syllabic)


def style_differences(model: Floats, baseline: Floats) -> Floats:
    """Style differences (M, Q, 4) of the models' counts (M, Q, 4) and the baseline's (Q, 4).

    The last axis is (length, header, list, bold); differences are not z-scored.

    Raises:
        BadData: negative counts.
    """
    model, baseline = np.asarray(model, np.float64), np.asarray(baseline, np.float64)
    if min(model.min(initial=0.0), baseline.min(initial=0.0)) < 0:
        raise BadData("found negative style counts; expected 0 or more")
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
    """Style-controlled win rates with bootstrap intervals.

    Args:
        styles: {model: {uid: counts}}, with the baseline.
        features: any subset of `FEATURES`; () gives the Bradley-Terry win rate without style.
        rounds: number of resamples; 0 computes no intervals.
        resample: "prompts", or "rows" as in the original.
        clusters: topic by prompt; if given, whole topics are drawn instead of single prompts.
        seed: seed of the row bootstrap.

    Raises:
        BadData: a scored answer without style counts, or a model without scored rows.
        UnknownName: unknown feature or `resample`.
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
    intervals: dict[str, Interval] = {}
    for index, model in enumerate(table.models if rounds else ()):
        draws = replicates[:, index]
        share = float(table.wins[index].sum() / table.rows[index].sum())
        if share in (0.0, 1.0):  # no finite strength; the penalty's value is 1.5e-8 from it
            draws = np.full(len(draws), share)
        interval = percentile_interval(
            draws,
            level,
            point=rates[model],
            kind=kind,
            units=scored_units(table, index, clusters) if resample == "prompts" else None,
            span=(0.0, 1.0),
        )
        if interval is not None:
            intervals[model] = interval
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
    """Mean and standard deviation (ddof 1) of differences (M, Q, 4) over rows (M, Q): (4,) each.

    Raises:
        BadData: fewer than two rows.
    """
    weight = rows[:, :, None].astype(np.float64)
    total = float(rows.sum())
    if total < 2:
        raise BadData(f"{total:g} scored rows; style control needs at least two")
    mean = (weight * differences).sum(axis=(0, 1)) / total
    spread = (weight * (differences - mean) ** 2).sum(axis=(0, 1)) / (total - 1.0)
    std = np.sqrt(spread)
    # A constant feature has std of about 1e-17 by rounding; it must be 0.
    size = np.abs(np.where(rows[:, :, None] > 0, differences, 0.0)).max(axis=(0, 1))
    return mean, np.where(std > CONSTANT * size, std, 0.0)


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
    """Fits in the original's bootstrap, which resamples all rows of the board jointly."""
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
