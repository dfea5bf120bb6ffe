"""AlpacaEval 2: win rate, length-controlled win rate and their intervals from preferences.

With p_i in [0, 1], the probability that the model's answer beats the baseline's:

    win_rate = 100 mean(p),  standard_error = 100 std(p, ddof 1) / sqrt(n)   over judged rows
    discrete_win_rate: the same with each p rounded to 0 or 1; exact draws (1/2) are kept

The length-controlled win rate is computed in `harness.suites.alpaca_eval2.length_control`. Its
published standard error is only the standard deviation of the predictions and far too small; the
intervals here resample instructions and refit. Source: tatsu-lab/alpaca_eval, metrics/winrate.py
and metrics/glm_winrate.py.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.core.records import Interval
from harness.data.forms import instruction_id
from harness.engine.io import read_objects
from harness.stats.bootstrap import (
    NOT_IDENTIFIED,
    percentile_interval,
    replicate_means,
    resample_counts,
)
from harness.suites.alpaca_eval2.length_bootstrap import bootstrap
from harness.suites.alpaca_eval2.length_control import (
    DEFAULT_FORMULA,
    Anchors,
    LengthControlResult,
    Mode,
    Rows,
    fit_board,
    length_identified,
)

Floats = NDArray[np.float64]

GAMED_TABLE = "df_gamed.csv"
INSTRUCTION_TABLE = "instruction_table.csv"
BASELINE_OUTPUTS = "alpaca_eval_gpt4_baseline.json"


@dataclass(frozen=True)
class WinRate:
    """Win rate over judged rows in %, with the counts of the official leaderboard."""

    win_rate: float
    standard_error: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float


@dataclass(frozen=True)
class AlpacaScores:
    """All scores of one model in %, with intervals over instructions.

    Attributes:
        interval: None for a single judged row.
        lc_interval: None for a single judged row.
        bounds: win rate if all failed rows were lost, and if all were won; None if none failed.
        n_expected: number of prompts; n_scored: number of judged rows.
        extreme_change: length control changed the win rate so much that the fit should be checked,
            see `extreme_change`.
        replicates, lc_replicates: bootstrap replicates (rounds,).
    """

    raw: WinRate
    length_controlled: LengthControlResult
    interval: Interval | None
    lc_interval: Interval | None
    bounds: tuple[float, float] | None
    n_expected: int
    n_scored: int
    extreme_change: bool
    replicates: Floats = field(repr=False, compare=False)
    lc_replicates: Floats = field(repr=False, compare=False)

    @property
    def lc_identified(self) -> bool:
        """Whether the lengths can carry the length control, see `length_identified`."""
        return self.lc_interval is None or self.lc_interval.kind != NOT_IDENTIFIED


@dataclass(frozen=True)
class Reference:
    """Published reference data of the evaluation set, in its standard order.

    Attributes:
        ids: `instruction_id` of each instruction.
        difficulty: difficulty of each instruction (n,).
        anchors: rows of the gamed models.
    """

    ids: tuple[str, ...]
    difficulty: Floats
    anchors: Anchors


def win_rate(preferences: ArrayLike) -> WinRate:
    """Win rate of preferences, probabilities in [0, 1]; NaN rows are left out.

    >>> win_rate([0.0, 0.5, 1.0, 1.0]).win_rate
    62.5

    Raises:
        BadData: no judged row, or a preference outside [0, 1].
    """
    array = np.asarray(preferences, dtype=np.float64)
    p = array[~np.isnan(array)]
    if p.size == 0:
        raise BadData("no judged row; a win rate needs at least one preference")
    if p.min() < 0.0 or p.max() > 1.0:
        raise BadData(f"preferences range from {p.min()} to {p.max()}; expected 0 to 1")
    n = p.size
    wins, losses = int((p > 0.5).sum()), int((p < 0.5).sum())
    draws = n - wins - losses
    spread = float(p.std(ddof=1)) if n > 1 else 0.0
    return WinRate(
        win_rate=float(100.0 * p.mean()),
        standard_error=100.0 * spread / math.sqrt(n),
        n_wins=wins,
        n_wins_base=losses,
        n_draws=draws,
        n_total=n,
        discrete_win_rate=100.0 * (wins + draws / 2) / n,
    )


def average_length(outputs: Iterable[str | int]) -> int:
    """Mean length of answers (texts, or their lengths) in code points, rounded down.

    >>> average_length(["abc", "ab"])
    2
    """
    lengths = [len(item) if isinstance(item, str) else int(item) for item in outputs]
    if not lengths:
        raise BadData("no answers; an average length needs at least one")
    return int(sum(lengths) / len(lengths))


def extreme_change(raw: float, controlled: float) -> bool:
    """Criterion of the original's warning, for win rate WR and length-controlled LC in %.

    LC < min(WR - WR/4, WR - 10) or LC > max(WR + (100 - WR)/4, WR + 10).
    """
    too_small = controlled < min(raw - raw / 4, raw - 10)
    too_large = controlled > max(raw + (100 - raw) / 4, raw + 10)
    return too_small or too_large


def evaluate_board(
    models: Sequence[Rows],
    prompt_set: str,
    *,
    anchors: Anchors | None = None,
    mode: Mode = "exact",
    formula: str = DEFAULT_FORMULA,
    results: Sequence[LengthControlResult] | None = None,
    rounds: int = 1000,
    level: float = 0.95,
) -> list[AlpacaScores]:
    """Scores of several models on one prompt set.

    Args:
        models: per model one row per prompt, in the order of the set; NaN preference = no judgment.
        results: existing length controls (the baseline against itself), used instead of a fit.
        rounds: number of bootstrap resamples of the instructions, shared by all models.
        level: level of the intervals.

    Raises:
        BadData: models with different numbers of rows, or without a judged row.
    """
    sizes = {len(rows.preferences) for rows in models}
    if len(sizes) > 1:
        raise BadData(f"models have {sorted(sizes)} rows; expected one row per prompt")
    if results is None:
        results = fit_board(models, anchors=anchors, mode=mode, formula=formula)
    counts = resample_counts(prompt_set, sizes.pop(), rounds) if models else None
    scores = []
    for rows, result in zip(models, results, strict=True):
        assert counts is not None
        raw = win_rate(rows.preferences)
        replicates = 100.0 * replicate_means(rows.preferences, counts)
        controlled = bootstrap(rows, result, counts, anchors=anchors)
        n = len(rows.preferences)
        failed = n - raw.n_total
        total = raw.win_rate * raw.n_total
        # The baseline against itself is 50 by definition, without a sampling error.
        span = None if result.strength is None else (0.0, 100.0)
        if span is None or length_identified(rows):
            lc_interval = percentile_interval(
                controlled, level, point=result.lc_win_rate, units=raw.n_total, span=span
            )
        else:
            lc_interval = Interval(low=0.0, high=100.0, level=level, kind=NOT_IDENTIFIED)
        scores.append(
            AlpacaScores(
                raw=raw,
                length_controlled=result,
                interval=percentile_interval(
                    replicates, level, point=raw.win_rate, units=raw.n_total, span=span
                ),
                lc_interval=lc_interval,
                bounds=(total / n, (total + 100.0 * failed) / n) if failed else None,
                n_expected=n,
                n_scored=raw.n_total,
                extreme_change=extreme_change(raw.win_rate, result.lc_win_rate),
                replicates=replicates,
                lc_replicates=controlled,
            )
        )
    return scores


def lc_bounds(
    models: Sequence[Rows],
    results: Sequence[LengthControlResult],
    *,
    anchors: Anchors | None = None,
    mode: Mode = "exact",
    formula: str = DEFAULT_FORMULA,
) -> list[tuple[float, float] | None]:
    """Length-controlled win rate if all failed rows were lost, and if all were won, by model.

    None for a model without failed rows. The penalised fit may be discontinuous: the bounds always
    include the score itself.
    """
    failed = [place for place, rows in enumerate(models) if not rows.scored.all()]
    ends = [
        replace(
            models[place],
            preferences=np.where(models[place].scored, models[place].preferences, end),
        )
        for place in failed
        for end in (0.0, 1.0)
    ]
    fits = iter(fit_board(ends, anchors=anchors, mode=mode, formula=formula))
    bounds: list[tuple[float, float] | None] = [None] * len(models)
    for place in failed:
        values = [found.lc_win_rate for found in (next(fits), next(fits), results[place])]
        bounds[place] = (min(values), max(values))
    return bounds


def read_reference(folder: Path) -> Reference:
    """Read the anchors, and the instructions' order and difficulty, from a folder.

    df_gamed.csv (hub data set tatsu-lab/alpaca_eval) contains two gamed models; its first half also
    lists the difficulties. The order of the instructions is read from instruction_table.csv, or
    else from the baseline's outputs, alpaca_eval_gpt4_baseline.json.

    Raises:
        BadData: a file or a column is missing, or an instruction is repeated or has no difficulty.
    """
    anchors, _ = _read_anchors(folder / GAMED_TABLE)
    table, outputs = folder / INSTRUCTION_TABLE, folder / BASELINE_OUTPUTS
    if table.exists():
        with table.open(newline="", encoding="utf-8") as stream:
            lines = sorted(csv.DictReader(stream), key=lambda line: int(line["index"]))
        try:
            ids = tuple(line["instruction_sha256_16"] for line in lines)
            difficulty = np.array([float(line["instruction_difficulty"]) for line in lines])
        except (KeyError, ValueError) as error:
            raise BadData(f"{table}: cannot read column {error}") from None
    elif outputs.exists():
        texts = [row["instruction"] for row in read_objects(outputs)]
        return reference_of(folder / GAMED_TABLE, texts)
    else:
        raise BadData(
            f"{folder} contains neither {INSTRUCTION_TABLE} nor {BASELINE_OUTPUTS}; one of them is "
            "needed for the order of the instructions"
        )
    return _checked(Reference(ids, difficulty, anchors), folder)


def reference_of(gamed_table: Path, instructions: Sequence[str]) -> Reference:
    """Anchors and difficulties from df_gamed.csv, for the instructions in their standard order.

    Raises:
        BadData: a column is missing, or an instruction is repeated or has no difficulty.
    """
    anchors, indexes = _read_anchors(gamed_table)
    by_index = dict(zip(indexes[::-1], anchors.difficulty[::-1].tolist()))
    difficulty = np.array([by_index.get(place, math.nan) for place in range(len(instructions))])
    ids = tuple(instruction_id(text) for text in instructions)
    return _checked(Reference(ids, difficulty, anchors), gamed_table)


def _checked(found: Reference, where: Path) -> Reference:
    ids = found.ids
    if not ids or len(set(ids)) != len(ids) or np.isnan(found.difficulty).any():
        raise BadData(f"{where}: {len(ids)} instructions, some repeated or without a difficulty")
    return found


def _read_anchors(path: Path) -> tuple[Anchors, list[int]]:
    if not path.exists():
        raise BadData(f"{path} not found; it contains the anchors of length control")
    with path.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    try:
        anchors = Anchors(
            preferences=np.array([float(line["preference"]) for line in lines]),
            length_gaps=np.array([float(line["std_delta_len"]) for line in lines]),
            difficulty=np.array([float(line["instruction_difficulty"]) for line in lines]),
        )
        return anchors, [int(line["index"]) for line in lines]
    except (KeyError, ValueError) as error:
        raise BadData(f"{path}: cannot read column {error}") from None
