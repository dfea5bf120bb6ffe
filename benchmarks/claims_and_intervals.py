"""Simulations of what boards state: false positives of claims, power, coverage of intervals.

    OMP_NUM_THREADS=1 python benchmarks/claims_and_intervals.py [--simulations 400] [--coverage 200]

Claims: two systems on new prompts and new trainings in each simulation, through cells
(`CellMaker.mean_cell`), scores and `leaderboards.claims`. The share of seed variance is that of the
variance of the difference of one seed each; the rest is half an effect of each prompt on each
system that trainings share, half noise of a training on a prompt. Under the null hypothesis every
verdict but "not shown" is false; for power the true difference is 3 standard errors of the score's
difference. Coverage: samples from populations whose value is known, or is that of 40,000 rows.
Peer: the nominal levels (0.05 and 0.95); each share has a standard error of about 0.011 and 0.015.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np

from harness.core.records import Cell, Interval, Resampled
from harness.stats.bootstrap import percentile_interval, replicate_means, resample_counts
from harness.stats.logistic import sigmoid
from harness.suites.alpaca_eval2.length_control import Rows, fit
from harness.suites.alpaca_eval2.metrics import evaluate_board
from harness.suites.arena_hard.equal_style import equal_style
from harness.suites.arena_hard.metrics import GamePair, leaderboard, tabulate
from harness.suites.lm_eval.measures import measure
from harness.suites.mt_bench.metrics import Rating, aggregate_single
from harness.suites.personality.labels import label_scores
from harness.suites.scoring import CellMaker, CellParams, Tally
from leaderboards.claims import Claim, judge_claim
from leaderboards.scores import combine_all

PROMPTS, SPREAD = 100, 20.0  # per cent; standard deviation of a system's value on a prompt
SHARES = (0.0, 0.5, 0.9)
POPULATION = 40_000
Generator = np.random.Generator
Found = tuple[Interval | None, float]


def maker(system: str, seed: int, prompt_set: str) -> CellMaker:
    params = CellParams(suite="simulated", system=system, scale="nano", seed=seed)
    return CellMaker(params, prompt_set, {})


def simulated_cells(
    generator: Generator, prompt_set: str, seeds: int, share: float, gain: float
) -> Iterator[Cell]:
    """Cells of two systems; `gain` is the true difference in standard errors."""
    over_prompts = 2 * SPREAD**2 / PROMPTS
    over_seeds = over_prompts * share / (1.0 - share)
    difficulty = generator.normal(50.0, SPREAD, PROMPTS)
    error = math.sqrt(0.5 * over_prompts + (0.5 * over_prompts + over_seeds) / seeds)
    for system, better in (("a", 0.5), ("b", -0.5)):
        shared = generator.normal(0.0, SPREAD * math.sqrt(0.5), PROMPTS)
        for seed in range(seeds):
            values = difficulty + shared + better * gain * error
            values += generator.normal(0.0, SPREAD * math.sqrt(0.5), PROMPTS)
            values += generator.normal(0.0, math.sqrt(over_seeds / 2))
            yield maker(system, seed, prompt_set).mean_cell(
                "score", values.tolist(), range(PROMPTS), span=(-1e6, 1e6)
            )


def verdicts(seeds: int, share: float, gain: float, simulations: int) -> dict[str, float]:
    """Share of each verdict on "a beats b"."""
    claim = Claim(id="c", better="a", worse="b", suite="simulated", metric="score")
    generator = np.random.default_rng([seeds, int(100 * share), int(10 * gain)])
    counts: dict[str, float] = {}
    for number in range(simulations):
        cells = simulated_cells(generator, f"{seeds} {share} {number}", seeds, share, gain)
        verdict = judge_claim(claim, combine_all(cells)).verdict
        counts[verdict] = counts.get(verdict, 0.0) + 1.0 / simulations
    return counts


def mean_of_ratings(generator: Generator, n: int, name: str) -> Found:
    skill = generator.normal(6.3, 1.8, n)
    grid = np.clip(np.round(skill[:, None] + generator.normal(0, 1, (n, 2))), 1, 10)
    ratings = [Rating(q, "m", t + 1, float(grid[q, t])) for q, t in np.ndindex(n, 2)]
    kinds: dict[int | str, str] = dict.fromkeys(range(n), "x")
    (line,) = aggregate_single(ratings, kinds, name)
    return line.interval, line.average or 0.0


def preferences(generator: Generator, n: int) -> Rows:
    own, base = generator.lognormal(6.2, 0.5, n), generator.lognormal(6.0, 0.5, n)
    logits = 0.4 + 1.2 * np.tanh((own - base) / 350) + 1.5 * generator.normal(size=n)
    p = sigmoid(3.0 * (logits + generator.logistic(size=n)))
    return Rows(p, np.round(own), np.round(base))


def win_rate(generator: Generator, n: int, name: str) -> Found:
    (found,) = evaluate_board([preferences(generator, n)], name, formula=MINIMAL)
    return found.interval, found.raw.win_rate


def lc_win_rate(generator: Generator, n: int, name: str) -> Found:
    if n == POPULATION:
        return None, fit(preferences(generator, n), formula=MINIMAL).lc_win_rate
    (found,) = evaluate_board([preferences(generator, n)], name, formula=MINIMAL)
    return found.lc_interval, found.length_controlled.lc_win_rate


MINIMAL = "length_controlled_minimal"


def games(generator: Generator, n: int) -> tuple[list[GamePair], np.ndarray, np.ndarray]:
    """Games with five labels, and lengths of both answers, which the judge is drawn to."""
    own, base = generator.integers(80, 240, n), generator.integers(50, 150, n)
    chance = sigmoid(0.2 + 2.0 * (own - base) / (own + base) + generator.normal(0, 1, n))
    wins = generator.random((n, 2)) < chance[:, None]
    strong = generator.random((n, 2)) < 0.25
    pairs = []
    for q in range(n):
        signs = [">>" if emphatic else ">" for emphatic in strong[q]]
        first = f"B{signs[0]}A" if wins[q, 0] else f"A{signs[0]}B"
        second = f"A{signs[1]}B" if wins[q, 1] else f"B{signs[1]}A"
        pairs.append(GamePair(f"{q:05}", "m", (first, second)))
    return pairs, own, base


def arena_score(generator: Generator, n: int, name: str) -> Found:
    line = leaderboard(tabulate(games(generator, n)[0]), name, rounds=_rounds(n))[0]
    return line.interval, line.score or 0.0


def style_controlled(generator: Generator, n: int, name: str) -> Found:
    pairs, own, base = games(generator, n)
    table = tabulate(pairs)
    counts = [np.column_stack([lengths, np.zeros((n, 3))]) for lengths in (own, base)]
    drawn = resample_counts(name, n, _rounds(n))
    found = equal_style(table, counts[0], counts[1], ("length",), drawn)
    cell = maker("m", 0, name).cell(
        "style_controlled",
        found.win_rate,
        Tally(n, n),
        replicates=found.replicates,
        resampled=Resampled(units=n, span=(0.0, 1.0)),
    )
    return cell.interval, found.win_rate


def macro_f1(generator: Generator, n: int, name: str) -> Found:
    gold = (generator.random(n) < 0.4).astype(float)
    labels = np.where(generator.random(n) < 0.65, gold, 1 - gold)
    whole, drawn = label_scores(gold, labels), None
    assert whole is not None
    value = float(whole.macro_f1[0])
    if n < POPULATION:
        drawn = label_scores(gold, labels, counts=resample_counts(name, n))
        assert drawn is not None
        found = percentile_interval(drawn.macro_f1, point=value, units=n, span=(0.0, 1.0))
        return found, value
    return None, value


def accuracy(generator: Generator, n: int, name: str) -> Found:
    values = (generator.random(n) < 0.7).astype(float)
    found = measure("mean", values.tolist(), resample_counts(name, n, _rounds(n)))
    assert found is not None
    assert found.replicates is not None
    assert found.value is not None
    sample = found.sample(1.0)
    return percentile_interval(found.replicates, point=found.value, units=sample.units), found.value


def mean_of_shares(generator: Generator, n: int, name: str) -> Found:
    """A per-prompt suite: shares in [0, 1], many of them at an end."""
    values = np.clip(generator.normal(0.6, 0.5, n), 0, 1)
    replicates = replicate_means(values, resample_counts(name, n, _rounds(n)))
    cell = maker("m", 0, name).cell(
        "share", values.mean(), Tally(n, n), replicates=replicates, resampled=Resampled(units=n)
    )
    return cell.interval, float(values.mean())


def _rounds(n: int) -> int:
    return 1 if n == POPULATION else 1000


KINDS: dict[str, Callable[[Generator, int, str], Found]] = {
    "MT-Bench, mean of ratings": mean_of_ratings,
    "AlpacaEval, win rate": win_rate,
    "AlpacaEval, LC win rate": lc_win_rate,
    "Arena-Hard, score": arena_score,
    "Arena-Hard, style-controlled": style_controlled,
    "personality, macro-F1": macro_f1,
    "lm-eval, accuracy": accuracy,
    "per-prompt suite, mean": mean_of_shares,
}


def truth(kind: Callable[[Generator, int, str], Found]) -> float:
    if kind is win_rate:
        return 100 * float(
            preferences(np.random.default_rng(0), 10 * POPULATION).preferences.mean()
        )
    if kind is mean_of_ratings:
        generator = np.random.default_rng(0)
        skill = generator.normal(6.3, 1.8, 50 * POPULATION)
        return float(np.clip(np.round(skill + generator.normal(0, 1, skill.size)), 1, 10).mean())
    exact = {accuracy: 0.7}
    if kind in exact:
        return exact[kind]
    found = [kind(np.random.default_rng(k), POPULATION, "truth")[1] for k in range(4)]
    return math.fsum(found) / len(found)


def coverage(name: str, n: int, simulations: int) -> float:
    kind = KINDS[name]
    target, generator, hits = truth(kind), np.random.default_rng([n, len(name)]), 0
    for number in range(simulations):
        interval, _ = kind(generator, n, f"{name} {n} {number}")
        assert interval is not None
        hits += interval.low <= target <= interval.high
    return hits / simulations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=400, help="per row of the claims")
    parser.add_argument(
        "--coverage", type=int, default=200, help="per cell of the coverage; 0: none"
    )
    parser.add_argument("--prompts", type=int, nargs="+", default=[20, 80, 200])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    given = parser.parse_args()
    if given.simulations:
        print(f"{'seeds':>5} {'share':>6} {'false':>7} {'power':>7}   (3 standard errors)")
        for seeds, share in [(1, 0.0), *((s, share) for s in (2, 3, 5) for share in SHARES)]:
            null = verdicts(seeds, share, 0.0, given.simulations)
            power = verdicts(seeds, share, 3.0, given.simulations)
            false = null.get("holds", 0.0) + null.get("contradicted", 0.0)
            line = f"{seeds:5} {share:6.2f} {false:7.3f} {power.get('holds', 0.0):7.3f}"
            print(line, flush=True)
    if given.coverage:
        print(f"\n{'coverage at 95 %':32}" + "".join(f"{n:>8}" for n in given.prompts))
        for name in given.kinds:
            shares = [coverage(name, n, given.coverage) for n in given.prompts]
            print(f"{name:32}" + "".join(f"{share:8.3f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
