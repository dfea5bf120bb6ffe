"""Arena-Hard: scores from judged games (lmarena/arena-hard-auto, v0.1 and v2.0).

Each answer is compared with the baseline's twice: in game 0 the baseline is assistant A, in game 1
the model is. A label gives one row of score 1, 1/2 or 0 for A, or three rows if it is emphatic
(">>"):

    rows(model, prompt) = rows(label of game 1) ++ (1 - rows(label of game 0))
    score = mean of the rows = Bradley-Terry win rate against the single baseline (v0.1 and v2.0)

A prompt with a missing game is left out, as in the original, and counted as failed. Intervals
resample prompts; the original resamples rows within a model, which gives too narrow intervals
(`resample="rows"`). Scores are in [0, 1]; boards show percent. Style control: `style`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData, unknown
from harness.core.hashing import seed_from
from harness.core.records import Interval
from harness.judging.labels import EMPHASIS, LABEL_STATES
from harness.stats.bootstrap import cluster_counts, percentile_interval, resample_counts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MISSING = 5  # state of a game without a label; 0..4 are indexes of labels in `LABEL_STATES`


@dataclass(frozen=True)
class GamePair:
    """The two games of one model on one prompt; a game is a label, or None if missing.

    Any text that is not a valid label ("NULL_SCORE", "[[A]]") counts as missing.
    """

    uid: str
    model: str
    games: tuple[str | None, str | None]


@dataclass(frozen=True)
class GameTable:
    """All judgments of a board as counts, for M models and Q prompts in sorted order.

    Attributes:
        weight: rows of an emphatic label.
        counts: rows with score 0, 1/2 and 1 (M, Q, 3); 0 for absent or incomplete judgments.
        expected: a judgment is expected (M, Q); complete: both games have a label (M, Q).
        missing: number of games without a label, by game (M, 2).
        conflicts: prompts whose two games have different winners, a sign of position bias (M,).
        first_wins: games of complete prompts won by the answer shown first (M,).
        decided: games of complete prompts with a winner (M,).
    """

    models: tuple[str, ...]
    uids: tuple[str, ...]
    weight: int
    counts: Ints
    expected: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    missing: Ints
    conflicts: Ints
    first_wins: Ints
    decided: Ints

    @property
    def rows(self) -> Ints:
        """Number of rows of each cell (M, Q)."""
        total: Ints = self.counts.sum(axis=2)
        return total

    @property
    def wins(self) -> Floats:
        """Sum of the scores of each cell (M, Q)."""
        return self.counts[:, :, 2] + 0.5 * self.counts[:, :, 1]


@dataclass(frozen=True)
class ArenaScore:
    """One line of the board; shares are in [0, 1], None without a scored prompt.

    Attributes:
        score: mean of the rows.
        n_rows: number of rows.
        missing_games: number of games without a label, for game 0 and game 1.
        contradiction_rate: share of complete prompts whose two games have different winners.
        first_share: share of decided games won by the answer shown first; 1/2 means unbiased.
        bounds: score if all incomplete prompts were lost emphatically, and if all were won so;
            None if none is incomplete.
        replicates: bootstrap replicates of the score (rounds,).
    """

    model: str
    score: float | None
    interval: Interval | None
    n_expected: int
    n_scored: int
    n_failed: int
    n_rows: int
    missing_games: tuple[int, int]
    contradiction_rate: float | None
    first_share: float | None
    bounds: tuple[float, float] | None
    replicates: Floats = field(repr=False, compare=False)


def tabulate(
    judgments: Iterable[GamePair],
    *,
    weight: int = EMPHASIS,
    uids: Sequence[str] | None = None,
) -> GameTable:
    """Count the rows of every (model, prompt).

    Args:
        weight: rows of an emphatic label; 1 gives the plain mean of verdicts.
        uids: the prompt set. If given, prompts without a judgment count as failed for every model,
            and judgments of other prompts are refused.

    Raises:
        BadData: no judgments, a (model, prompt) judged twice, or a prompt outside `uids`.
    """
    records = list(judgments)
    if not records:
        raise BadData("no judgments to tabulate; expected at least one")
    models = sorted({record.model for record in records})
    prompts = sorted({record.uid for record in records} if uids is None else set(uids))
    place = {uid: index for index, uid in enumerate(prompts)}
    row = {model: index for index, model in enumerate(models)}
    states = np.full((len(models), len(prompts), 2), MISSING, dtype=np.int64)
    seen = np.zeros((len(models), len(prompts)), dtype=bool)
    for record in records:
        if record.uid not in place:
            raise BadData(f"prompt {record.uid} of {record.model} is not in the prompt set")
        cell = row[record.model], place[record.uid]
        if seen[cell]:
            raise BadData(f"{record.model} has two judgments of prompt {record.uid}; expected one")
        seen[cell] = True
        states[cell] = [LABEL_STATES.get(game or "", MISSING) for game in record.games]
    expected = seen if uids is None else np.ones_like(seen)
    return _count(tuple(models), tuple(prompts), weight, states, expected)


def _count(
    models: tuple[str, ...],
    uids: tuple[str, ...],
    weight: int,
    states: Ints,
    expected: NDArray[np.bool_],
) -> GameTable:
    complete: NDArray[np.bool_] = np.all(states != MISSING, axis=2, keepdims=False)
    # Rows (score 0, 1/2, 1) for A by state; those for B are mirrored.
    for_a = np.array([[0, 0, weight], [0, 0, 1], [0, 1, 0], [1, 0, 0], [weight, 0, 0], [0, 0, 0]])
    for_b = for_a[:, ::-1]
    counts = np.where(complete[:, :, None], for_b[states[..., 0]] + for_a[states[..., 1]], 0)
    first_won = (states < 2) & complete[..., None]  # A won the game
    second_won = (states > 2) & complete[..., None]
    # If the same side wins both games, different answers win.
    conflicts = first_won.all(axis=2) | second_won.all(axis=2)
    return GameTable(
        models=models,
        uids=uids,
        weight=weight,
        counts=counts,
        expected=expected,
        complete=complete,
        missing=((states == MISSING) & expected[..., None]).sum(axis=1),
        conflicts=conflicts.sum(axis=1),
        first_wins=first_won.sum(axis=(1, 2)),
        decided=(first_won | second_won).sum(axis=(1, 2)),
    )


def point_scores(table: GameTable) -> dict[str, float]:
    """Mean of the rows by model, NaN without rows: the v2.0 score and the v0.1 win rate."""
    rows, wins = table.rows.sum(axis=1), table.wins.sum(axis=1)
    shares = np.divide(wins, rows, out=np.full(len(rows), np.nan), where=rows > 0)
    return {model: float(share) for model, share in zip(table.models, shares)}


def leaderboard(
    table: GameTable,
    prompt_set: str,
    *,
    rounds: int = 1000,
    level: float = 0.95,
    resample: str = "prompts",
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[ArenaScore]:
    """Scores with intervals, best first.

    Args:
        resample: "prompts" (draws shared by all models), or "rows", the original's bootstrap over
            single rows within each model (its board uses rounds=100, level=0.9).
        clusters: topic by prompt; if given, whole topics are drawn instead of single prompts.
        seed: seed of the row bootstrap; draws of prompts depend only on the prompt set.

    Raises:
        BadData: a prompt without a cluster.
        UnknownName: unknown `resample`.
    """
    if resample == "prompts":
        replicates = prompt_replicates(table, prompt_set, rounds, clusters)
    elif resample == "rows":
        replicates = row_replicates(table, rounds, seed)
    else:
        raise unknown("resampling unit", resample, ("prompts", "rows"))
    scores = point_scores(table)
    lines = [
        _line(table, index, scores[model], replicates[:, index], level, resample, clusters)
        for index, model in enumerate(table.models)
    ]
    return sorted(lines, key=lambda line: (line.score is None, -(line.score or 0.0), line.model))


def prompt_counts(
    table: GameTable, prompt_set: str, rounds: int, clusters: Mapping[str, str] | None = None
) -> NDArray[np.int32]:
    """Number of times each prompt is drawn (rounds, Q), as single prompts or in whole clusters.

    Raises:
        BadData: a prompt without a cluster.
    """
    if clusters is None:
        return resample_counts(prompt_set, len(table.uids), rounds)
    missing = [uid for uid in table.uids if uid not in clusters]
    if missing:
        raise BadData(f"{len(missing)} prompts have no cluster, the first is {missing[0]}")
    return cluster_counts(prompt_set, [clusters[uid] for uid in table.uids], rounds)


def prompt_replicates(
    table: GameTable,
    prompt_set: str,
    rounds: int = 1000,
    clusters: Mapping[str, str] | None = None,
) -> Floats:
    """Scores in shared resamples of the prompts (rounds, M).

    A resample without any scored prompt of a model gets the model's score.
    """
    drawn = prompt_counts(table, prompt_set, rounds, clusters).astype(np.float64)
    rows = drawn @ table.rows.T.astype(np.float64)
    wins = drawn @ table.wins.T
    return np.divide(wins, rows, out=_fallback(table, rounds), where=rows > 0)


def row_replicates(table: GameTable, rounds: int = 100, seed: int = 0) -> Floats:
    """Scores in the original's bootstrap, which resamples the rows of each model (rounds, M).

    The mean of n rows depends only on the number of rows with each of the three values, so one
    multinomial draw over (0, 1/2, 1) replaces n draws.
    """
    generator = np.random.Generator(np.random.PCG64(seed_from("arena rows", seed)))
    replicates = _fallback(table, rounds)
    for index, values in enumerate(table.counts.sum(axis=1)):
        n = int(values.sum())
        if n:
            drawn = generator.multinomial(n, values / n, size=rounds)
            replicates[:, index] = (drawn[:, 2] + 0.5 * drawn[:, 1]) / n
    return replicates


def _fallback(table: GameTable, rounds: int) -> Floats:
    """Replicates (rounds, M) equal to the scores, for resamples without a scored prompt."""
    return np.tile(np.array(list(point_scores(table).values())), (rounds, 1))


def scored_units(table: GameTable, index: int, clusters: Mapping[str, str] | None) -> int:
    """Number of prompts, or of their topics, that one model has a score on."""
    scored = [uid for uid, done in zip(table.uids, table.complete[index]) if done]
    return len(scored) if clusters is None else len({clusters[uid] for uid in scored})


def _line(
    table: GameTable,
    index: int,
    score: float,
    replicates: Floats,
    level: float,
    unit: str,
    clusters: Mapping[str, str] | None,
) -> ArenaScore:
    expected, scored = int(table.expected[index].sum()), int(table.complete[index].sum())
    rows = int(table.rows[index].sum())
    failed = expected - scored
    lost_rows = 2 * table.weight * failed
    wins = float(table.wins[index].sum())
    bounds = None
    if failed:
        bounds = (wins / (rows + lost_rows), (wins + lost_rows) / (rows + lost_rows))
    decided = int(table.decided[index])
    interval = None
    if scored:
        by_prompts = unit == "prompts"  # the original's rows keep its plain quantiles
        interval = percentile_interval(
            replicates,
            level,
            point=score,
            kind=f"bootstrap over {unit}",
            units=scored_units(table, index, clusters) if by_prompts else None,
            span=(0.0, 1.0),
        )
    return ArenaScore(
        model=table.models[index],
        score=score if scored else None,
        interval=interval,
        n_expected=expected,
        n_scored=scored,
        n_failed=failed,
        n_rows=rows,
        missing_games=(int(table.missing[index, 0]), int(table.missing[index, 1])),
        contradiction_rate=float(table.conflicts[index] / scored) if scored else None,
        first_share=float(table.first_wins[index] / decided) if decided else None,
        bounds=bounds,
        replicates=replicates,
    )


def category_scores(table: GameTable, categories: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Scores by category of prompts, {category: {model: share}}; NaN without rows.

    Raises:
        BadData: a prompt without a category.
    """
    missing = [uid for uid in table.uids if uid not in categories]
    if missing:
        raise BadData(f"{len(missing)} prompts have no category, the first is {missing[0]}")
    names = np.array([categories[uid] for uid in table.uids])
    result: dict[str, dict[str, float]] = {}
    for name in sorted(set(names.tolist())):
        rows = table.rows[:, names == name].sum(axis=1)
        wins = table.wins[:, names == name].sum(axis=1)
        shares = np.divide(wins, rows, out=np.full(len(rows), np.nan), where=rows > 0)
        result[name] = {model: float(share) for model, share in zip(table.models, shares)}
    return result
