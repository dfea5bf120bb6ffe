"""Agreement of the judges of a board with a column for each: ranks of systems, and verdicts.

Everything follows from the cells: ranks from the scores of the systems that both judges scored,
Cohen's kappa from the verdicts on the prompts that both judged: wins, ties and losses, or ratings
with quadratic weights. Intervals resample prompts, which all systems share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from harness.core.records import Cell, Interval, Record
from harness.stats import agreement as stats
from harness.stats.bootstrap import cluster_counts
from leaderboards.by_judge import base, judge_in

FEWEST_SYSTEMS = 3  # for a correlation of ranks
_ROUNDS = 1000


class JudgePair(Record):
    """Two judges on one metric.

    Attributes:
        systems: that both scored.
        spearman, kendall: of the scores of these systems; None for fewer than FEWEST_SYSTEMS.
        verdicts: prompts of all systems with a verdict of both judges.
        kappa: of these verdicts; None for a metric that is no mean of verdicts.
        equal: share of equal verdicts, in %.
    """

    suite: str
    metric: str
    first: str
    second: str
    systems: int
    spearman: float | None = None
    spearman_interval: Interval | None = None
    kendall: float | None = None
    verdicts: int = 0
    kappa: float | None = None
    kappa_interval: Interval | None = None
    equal: float | None = None


def judge_pairs(cells: Iterable[Cell]) -> tuple[JudgePair, ...]:
    """Every two judges of every suite, on its primary metrics, in a fixed order."""
    groups: dict[tuple[str, str], dict[str, dict[tuple[str, int], Cell]]] = {}
    for cell in cells:
        if judge_in(cell.suite) and cell.primary and cell.value is not None:
            judges = groups.setdefault((base(cell.suite), cell.metric), {})
            judges.setdefault(judge_in(cell.suite), {})[cell.system, cell.seed] = cell
    found = []
    for (suite, metric), judges in sorted(groups.items()):
        for first, second in combinations(sorted(judges), 2):
            common = sorted(judges[first].keys() & judges[second].keys())
            pairs = [(judges[first][key], judges[second][key]) for key in common]
            pairs = [(a, b) for a, b in pairs if a.prompt_set == b.prompt_set]
            if pairs:
                found.append(_pair(suite, metric, first, second, pairs))
    return tuple(found)


def _pair(
    suite: str, metric: str, first: str, second: str, pairs: Sequence[tuple[Cell, Cell]]
) -> JudgePair:
    made = JudgePair(
        suite=suite,
        metric=metric,
        first=first,
        second=second,
        systems=len({a.system for a, _ in pairs}),
    )
    return made.model_copy(update={**_ranks(pairs), **_verdicts(pairs)})


def _ranks(pairs: Sequence[tuple[Cell, Cell]]) -> dict[str, object]:
    """Correlations of the scores, averaged over seeds, with the prompts' replicates."""
    systems = sorted({a.system for a, _ in pairs})
    if len(systems) < FEWEST_SYSTEMS:
        return {}
    sides = []
    rounds = {len(cell.replicates) for pair in pairs for cell in pair}
    draws = rounds.pop() if len(rounds) == 1 else 0
    for side in (0, 1):
        columns = []
        for name in systems:
            own = [pair[side] for pair in pairs if pair[side].system == name]
            rows = [[cell.value or 0.0, *cell.replicates[:draws]] for cell in own]
            columns.append(np.mean(rows, axis=0))
        sides.append(np.stack(columns, axis=1))
    ranks = stats.estimate(stats.spearman(*sides), span=(-1.0, 1.0))
    return {
        "spearman": _round(ranks.value),
        "spearman_interval": _rounded(ranks.interval),
        "kendall": _round(stats.estimate(stats.kendall(*sides)).value),
    }


def _verdicts(pairs: Sequence[tuple[Cell, Cell]]) -> dict[str, object]:
    """Kappa of the verdicts on rows that both judges have."""
    a, b, units = [], [], []
    kept = [pair for pair in pairs if _rows(pair)]
    if not kept:
        return {}
    sample = kept[0][0].resampled
    assert sample is not None
    size = len(sample.values)
    clusters = sample.clusters or tuple(range(size))
    for one, other in kept:
        if one.prompt_set != kept[0][0].prompt_set or one.resampled is None:
            continue
        assert other.resampled is not None
        rows = zip(one.resampled.values, other.resampled.values, strict=True)
        for place, (x, y) in enumerate(rows):
            if x is not None and y is not None:
                a.append(x)
                b.append(y)
                units.append(place)
    if not a:
        return {}
    counts = stats.with_point(cluster_counts(kept[0][0].prompt_set, clusters, _ROUNDS))
    places = np.array(units)
    span = sample.span
    if span == (0.0, 100.0):
        won, also_won = (np.sign(np.array(side) - 50.0) for side in (a, b))
        tables = stats.tables(won, also_won, places, counts)
        kappas, equal = stats.kappa(tables), float(stats.agreement(tables)[0])
    else:
        kappas = stats.quadratic_kappa(a, b, places, counts)
        equal = float(np.mean(np.equal(a, b)))
    found = stats.estimate(kappas, units=len(set(clusters)), span=(-1.0, 1.0))
    return {
        "verdicts": len(a),
        "kappa": _round(found.value),
        "kappa_interval": _rounded(found.interval),
        "equal": _round(100 * equal),
    }


def _rows(pair: tuple[Cell, Cell]) -> bool:
    """Whether both cells are means over the same rows."""
    samples = [cell.resampled for cell in pair]
    values = [() if one is None or one.weights else one.values for one in samples]
    return bool(values[0]) and len(values[0]) == len(values[1])


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6) + 0.0


def _rounded(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return interval.model_copy(update={"low": _round(interval.low), "high": _round(interval.high)})
