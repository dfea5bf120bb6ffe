"""MT-Bench: scores from ratings and pairwise verdicts (lm-sys/FastChat, llm_judge).

Single grading: every turn of 80 two-turn questions is rated 1..10; the score is the mean over all
graded rows (not the mean of the two turn means, which differs if ratings are missing unevenly).
Pairwise: game 1 shows model_1 first, game 2 swaps; a record is a win only if both games agree.
Missing ratings are counted; the original drops them silently, which favours a model whose hard
questions fail. Standard errors are clustered by question: the two turns are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.core.records import Interval
from harness.judging.verdicts import RATING_SCALE
from harness.stats.bootstrap import cluster_counts, percentile_interval, replicate_means

CATEGORIES = (
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
)
MISSING = -1.0  # how the original files spell a reply without a rating
OVER_QUESTIONS = "bootstrap over questions"


@dataclass(frozen=True)
class Rating:
    """One graded turn; `score` is None, -1, NaN or outside 1..10 if there is no valid rating."""

    question_id: int | str
    model: str
    turn: int
    score: float | None


@dataclass(frozen=True)
class SingleScore:
    """Aggregated ratings of one model; None for a score without any rating.

    Attributes:
        average: mean over all graded rows.
        turns: mean by turn.
        mean_of_turns: mean of the turn means.
        categories: mean by category; category_turns: mean by "category/turn".
        standard_error: standard error of the average, clustered by question.
        bounds: average if every missing rating were 1, and 10; None if none is missing.
        grid: rating by question and turn (Q, T), NaN if missing.
        replicates: average in shared resamples of the questions (rounds,).
    """

    model: str
    average: float | None
    turns: dict[int, float | None]
    mean_of_turns: float | None
    categories: dict[str, float | None]
    category_turns: dict[str, float | None]
    standard_error: float | None
    interval: Interval | None
    n_expected: int
    n_scored: int
    n_missing: int
    bounds: tuple[float, float] | None
    grid: NDArray[np.float64] = field(repr=False, compare=False)
    replicates: NDArray[np.float64] = field(repr=False, compare=False)


@dataclass(frozen=True)
class PairRecord:
    """Two games of model_1 against model_2; a winner is "model_1", "model_2", "tie" or "error"."""

    question_id: int | str
    model_1: str
    model_2: str
    g1_winner: str
    g2_winner: str
    turn: int


@dataclass(frozen=True)
class PairScore:
    """Results of one model against the baseline; rates are shares of scored records.

    Attributes:
        n_failed: records with an "error" in a game.
        win_rate_adjusted: (win + tie / 2) / (win + loss + tie).
    """

    model: str
    win: int
    loss: int
    tie: int
    n_failed: int
    win_rate: float | None
    loss_rate: float | None
    win_rate_adjusted: float | None


def aggregate_single(
    ratings: Iterable[Rating],
    categories: Mapping[int | str, str],
    prompt_set: str,
    *,
    questions: Sequence[int | str] | None = None,
    turns: Sequence[int] = (1, 2),
    rounds: int = 1000,
    level: float = 0.95,
) -> list[SingleScore]:
    """Scores of every model, best first.

    Args:
        categories: category by question.
        questions: the prompt set; default: the questions on which any model was graded.
        turns: turns of every question.
        rounds: resamples of the questions, shared by all models; 0 computes no intervals.

    A repeated rating with the same score is counted once.

    Raises:
        BadData: no ratings, contradictory ratings of a turn, a question outside `questions` or
            without a category, or a turn outside `turns`.
    """
    scores = _unique(ratings)
    known = sorted({key[1] for key in scores} if questions is None else set(questions), key=_order)
    foreign = sorted({key[1] for key in scores} - set(known), key=_order)
    if foreign:
        raise BadData(f"question {foreign[0]} is not in the prompt set ({len(foreign)} like it)")
    strays = {key[2] for key in scores} - set(turns)
    if strays:
        raise BadData(f"found turn {min(strays)}; expected one of {list(turns)}")
    without = [question for question in known if question not in categories]
    if without:
        raise BadData(f"question {without[0]} has no category ({len(without)} like it)")
    if not known:
        raise BadData("no ratings to aggregate; expected at least one")
    clusters = [question for question in known for _ in turns]
    counts = cluster_counts(prompt_set, clusters, rounds) if rounds else None
    names = [categories[question] for question in known]
    results = []
    for model in sorted({key[0] for key in scores}):
        grid = [[scores.get((model, q, turn), math.nan) for turn in turns] for q in known]
        results.append(_single(model, np.array(grid), names, tuple(turns), counts, level))
    return sorted(
        results, key=lambda line: (line.average is None, -(line.average or 0), line.model)
    )


def aggregate_pairs(records: Iterable[PairRecord], baseline: str) -> dict[str, PairScore]:
    """Wins, losses and ties of every model against `baseline`, see `pair_outcome`.

    Repeated records are counted once.

    Raises:
        BadData: a record without the baseline, an unknown winner, or contradictory records.
    """
    seen: dict[tuple[str, str, str, int], PairRecord] = {}
    outcomes: dict[str, dict[str, int]] = {}
    for record in records:
        if (record.model_1 == baseline) == (record.model_2 == baseline):
            raise BadData(
                f"pair {record.model_1} - {record.model_2}; expected {baseline} on one side"
            )
        key = (str(record.question_id), record.model_1, record.model_2, record.turn)
        if key in seen:
            if seen[key] != record:
                raise BadData(f"question {key[0]} turn {key[3]} of {key[1]} has two verdicts")
            continue
        seen[key] = record
        model_first = record.model_2 == baseline
        model = record.model_1 if model_first else record.model_2
        tally = outcomes.setdefault(model, dict.fromkeys(("win", "loss", "tie", "error"), 0))
        tally[pair_outcome(record.g1_winner, record.g2_winner, model_first=model_first)] += 1
    return {model: _pair_score(model, tally) for model, tally in sorted(outcomes.items())}


def pair_outcome(g1_winner: str, g2_winner: str, *, model_first: bool) -> str:
    """Outcome for the model: "win", "loss", "tie" or "error".

    "tie" if game 1 is a tie or the games disagree, also if only game 2 is a tie; "error" if either
    game is one.

    >>> pair_outcome("model_1", "model_1", model_first=True)
    'win'
    >>> pair_outcome("model_1", "tie", model_first=True)
    'tie'
    """
    for winner in (g1_winner, g2_winner):
        if winner not in ("model_1", "model_2", "tie", "error"):
            raise BadData(f'winner is "{winner}"; expected model_1, model_2, tie or error')
    if "error" in (g1_winner, g2_winner):
        return "error"
    if g1_winner == "tie" or g1_winner != g2_winner:
        return "tie"
    return "win" if (g1_winner == "model_1") == model_first else "loss"


def _unique(ratings: Iterable[Rating]) -> dict[tuple[str, int | str, int], float]:
    scores: dict[tuple[str, int | str, int], float] = {}
    for rating in ratings:
        legal = rating.score is not None and RATING_SCALE[0] <= rating.score <= RATING_SCALE[1]
        score = float(rating.score) if legal and rating.score is not None else math.nan
        key = (rating.model, rating.question_id, rating.turn)
        before = scores.setdefault(key, score)
        if before != score and not (math.isnan(before) and math.isnan(score)):
            raise BadData(
                f"{key[0]} has two ratings of question {key[1]} turn {key[2]}: {before} and {score}"
            )
    return scores


def _single(
    model: str,
    grid: NDArray[np.float64],
    names: Sequence[str],
    turns: tuple[int, ...],
    counts: NDArray[np.int32] | None,
    level: float,
) -> SingleScore:
    """Aggregate ratings (Q, T), NaN if missing."""
    graded = ~np.isnan(grid)
    n, scored = grid.size, int(graded.sum())
    average = _mean(grid)
    interval, replicates = None, np.empty(0)
    if average is not None and counts is not None:
        replicates = replicate_means(grid.reshape(-1), counts)
        interval = percentile_interval(
            replicates,
            level,
            point=average,
            kind=OVER_QUESTIONS,
            units=int(graded.any(axis=1).sum()),
            span=RATING_SCALE,
        )
    bounds = None
    if scored < n:
        total = float(np.nansum(grid))
        bounds = (
            (total + RATING_SCALE[0] * (n - scored)) / n,
            (total + RATING_SCALE[1] * (n - scored)) / n,
        )
    by_turn = {turn: _mean(grid[:, place]) for place, turn in enumerate(turns)}
    present = [mean for mean in by_turn.values() if mean is not None]
    labels = np.array(names)
    kinds = list(dict.fromkeys(names))
    return SingleScore(
        model=model,
        average=average,
        turns=by_turn,
        mean_of_turns=sum(present) / len(present) if len(present) == len(turns) else None,
        categories={kind: _mean(grid[labels == kind]) for kind in kinds},
        category_turns={
            f"{kind}/{turn}": _mean(grid[labels == kind, place])
            for kind in kinds
            for place, turn in enumerate(turns)
        },
        standard_error=_clustered_error(grid),
        interval=interval,
        n_expected=n,
        n_scored=scored,
        n_missing=n - scored,
        bounds=bounds,
        grid=grid,
        replicates=replicates,
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else None


def _clustered_error(grid: NDArray[np.float64]) -> float | None:
    """Standard error of the mean of ratings (Q, T), clustered by question.

    sqrt( G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 ) / n over G questions with n ratings.
    """
    graded = ~np.isnan(grid)
    mean = _mean(grid)
    groups = int(graded.any(axis=1).sum())
    if mean is None or groups < 2:
        return None
    residual = np.where(graded, grid - mean, 0.0).sum(axis=1)
    return float(math.sqrt(groups / (groups - 1) * float(residual @ residual)) / graded.sum())


def _order(question: int | str) -> tuple[bool, int, str]:
    return isinstance(question, str), question if isinstance(question, int) else 0, str(question)


def _pair_score(model: str, tally: Mapping[str, int]) -> PairScore:
    total = tally["win"] + tally["loss"] + tally["tie"]
    return PairScore(
        model=model,
        win=tally["win"],
        loss=tally["loss"],
        tie=tally["tie"],
        n_failed=tally["error"],
        win_rate=tally["win"] / total if total else None,
        loss_rate=tally["loss"] / total if total else None,
        win_rate_adjusted=(tally["win"] + tally["tie"] / 2) / total if total else None,
    )
