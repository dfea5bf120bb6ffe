"""Arena-Hard: from judged games to scores (lmarena/arena-hard-auto, v0.1 and v2.0).

Each answer meets the baseline's twice: in game 0 the baseline is assistant A, in game 1 the model
is. A label gives one row of score 1, 1/2 or 0 for A, or three rows when it is emphatic (">>"):

    rows(model, prompt) = rows(label of game 1) ++ (1 - rows(label of game 0))
    score = mean of the rows = Bradley-Terry win rate against the single baseline (v0.1 and v2.0)

A prompt with a missing game is left out, as in the original, but counted. Intervals resample
prompts; the original resamples rows within a model, which is too narrow (`rows="compat"`).
Scores are shares in [0, 1]; boards show percent. Style control: `harness.suites.arena_hard.style`.
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

MISSING = 5  # state of a game without a label; 0..4 are the places in ARENA_LABELS


@dataclass(frozen=True)
class GamePair:
    """The two games of one model on one prompt; a game is a label, or None when missing.

    Anything that is no legal label (None, "NULL_SCORE", "[[A]]") counts as missing.
    """

    uid: str
    model: str
    games: tuple[str | None, str | None]


@dataclass(frozen=True)
class GameTable:
    """All judgments of a board as counts; models and prompts in sorted order.

    counts (M, Q, 3): rows of score 0, 1/2 and 1; zero where the record is absent or incomplete.
    expected (M, Q): the pair was judged at all; complete (M, Q): both games have a label.
    missing (M, 2): lost verdicts per game. conflicts (M,): prompts whose two games name
    different winners, the sign of position bias. first_wins, decided (M,): games of complete
    prompts won by the answer shown first, and games with a winner.
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
    """One line of the board; shares in [0, 1]. `score` is None when nothing could be scored.

    `contradiction_rate`: share of complete prompts whose two games name different winners;
    `first_share`: share of decided games won by the answer shown first (1/2 = unbiased).
    `bounds`: the score if all incomplete prompts were lost or won emphatically.
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
    """Count rows of every (model, prompt).

    Args:
        weight: rows of an emphatic label; 1 gives the plain mean of verdicts.
        uids: the prompt set, if known: prompts without a record then count as failed for every
            model, and foreign ones are refused.

    Raises:
        BadData: no judgments, a pair judged twice, or a prompt outside `uids`.
    """
    records = list(judgments)
    if not records:
        raise BadData("no judgments to tabulate")
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
    # Rows (score 0, 1/2, 1) for A per state; the view of B is the mirror image.
    for_a = np.array([[0, 0, weight], [0, 0, 1], [0, 1, 0], [1, 0, 0], [weight, 0, 0], [0, 0, 0]])
    for_b = for_a[:, ::-1]
    counts = np.where(complete[:, :, None], for_b[states[..., 0]] + for_a[states[..., 1]], 0)
    first_won = (states < 2) & complete[..., None]  # A won the game
    second_won = (states > 2) & complete[..., None]
    # The same side winning both games means different answers won.
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
    """Mean of the rows of each model, NaN without any: the v2.0 score and the v0.1 win rate."""
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
        resample: "prompts" (default; draws shared by all models) or "rows", the original's
            bootstrap over single rows within each model (its board uses rounds=100, level=0.9).
        clusters: topic of each prompt; whole topics are then drawn instead of single prompts.
        seed: of the row bootstrap only; prompt draws depend on the prompt set alone.
    """
    if resample == "prompts":
        replicates = prompt_replicates(table, prompt_set, rounds, clusters)
    elif resample == "rows":
        replicates = row_replicates(table, rounds, seed)
    else:
        raise unknown("resampling unit", resample, ("prompts", "rows"))
    scores = point_scores(table)
    lines = [
        _line(table, index, scores[model], replicates[:, index], level, resample)
        for index, model in enumerate(table.models)
    ]
    return sorted(lines, key=lambda line: (line.score is None, -(line.score or 0.0), line.model))


def prompt_counts(
    table: GameTable, prompt_set: str, rounds: int, clusters: Mapping[str, str] | None = None
) -> NDArray[np.int32]:
    """How often each prompt is drawn (rounds, Q): single prompts, or whole topics.

    Raises:
        BadData: a prompt without a topic.
    """
    if clusters is None:
        return resample_counts(prompt_set, len(table.uids), rounds)
    homeless = [uid for uid in table.uids if uid not in clusters]
    if homeless:
        raise BadData(f"{len(homeless)} prompts have no cluster, the first is {homeless[0]}")
    return cluster_counts(prompt_set, [clusters[uid] for uid in table.uids], rounds)


def prompt_replicates(
    table: GameTable,
    prompt_set: str,
    rounds: int = 1000,
    clusters: Mapping[str, str] | None = None,
) -> Floats:
    """Scores under shared resamples of the prompts (rounds, M).

    A resample that drew no scored prompt of a model has its plain score.
    """
    drawn = prompt_counts(table, prompt_set, rounds, clusters).astype(np.float64)
    rows = drawn @ table.rows.T.astype(np.float64)
    wins = drawn @ table.wins.T
    return np.divide(wins, rows, out=_fallback(table, rounds), where=rows > 0)


def row_replicates(table: GameTable, rounds: int = 100, seed: int = 0) -> Floats:
    """The original's bootstrap (rounds, M): rows of each model drawn with replacement.

    The mean of n rows of three values depends on how often each value is drawn only, so one
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
    """Replicates of resamples that drew no scored prompt: the score itself."""
    return np.tile(np.array(list(point_scores(table).values())), (rounds, 1))


def _line(
    table: GameTable, index: int, score: float, replicates: Floats, level: float, unit: str
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
        interval = percentile_interval(
            replicates, level, point=score, kind=f"bootstrap over {unit}"
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
    """Point scores of each category of prompts: {category: {model: share}}, NaN without rows.

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
