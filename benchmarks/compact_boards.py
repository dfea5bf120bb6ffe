"""Size of a committed board, and the time that its check takes, on synthetic cells of five seeds.

    python benchmarks/compact_boards.py [--systems 11] [--seeds 5] [--alpaca 800] [--arena 400]
        [--mt-bench 160] [--out FOLDER]

Preferences, verdicts, ratings, lengths and style counts are random with prompts and systems of
different difficulty and skill; the cells come from the suites' own statistics. Bars: 500,000 bytes
for the folder, and a check within 20 s.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.hashing import digest, seed_from
from harness.core.records import Cell, Resampled
from harness.stats.bootstrap import resample_counts
from harness.suites.alpaca_eval2.length_control import Anchors, Rows
from harness.suites.alpaca_eval2.metrics import evaluate_board
from harness.suites.arena_hard.equal_style import equal_style
from harness.suites.arena_hard.metrics import GamePair, tabulate
from harness.suites.scoring import CellMaker, CellParams, Tally, sample_of
from leaderboards.claims import Claim
from leaderboards.files import check_board, write_board
from leaderboards.spec import BoardSpec

BAR_BYTES, BAR_SECONDS = 500_000, 20.0
LABELS = ("B>>A", "B>A", "A=B", "A>B", "A>>B")
FEATURES = ("length", "header", "list", "bold")


def maker(suite: str, system: str, seed: int) -> CellMaker:
    links = {role: digest([suite, system, seed, role]) for role in ("generations", "judgments")}
    links["checkpoint"] = digest([system, seed])
    params = CellParams(
        suite=suite,
        system=system,
        scale="nano",
        seed=seed,
        judge="nano:oracle",
        judge_fingerprint="5ccad2a287cb383b",
        decode_fingerprint="75999e7361d4116a",
    )
    return CellMaker(params, digest(suite), links)


def outcomes(suite: str, system: str, seed: int, n: int) -> np.ndarray[Any, Any]:
    """Latent quality of each answer: prompt, skill of the system, and chance."""
    prompts = np.random.default_rng(seed_from(suite, n)).normal(size=n)
    skill = np.random.default_rng(seed_from(system)).normal()
    return (
        prompts + 0.4 * skill + np.random.default_rng(seed_from(suite, system, seed)).normal(size=n)
    )


def alpaca(system: str, seed: int, n: int) -> Iterator[Cell]:
    own, rng = maker("alpaca_eval2", system, seed), np.random.default_rng(seed_from(system, seed))
    prompts = np.random.default_rng(n)
    level = prompts.integers(1, 5, n) - 2.5
    preferences = np.round(1 / (1 + np.exp(-outcomes("alpaca", system, seed, n))), 7)
    rows = Rows(preferences, rng.integers(8, 80, n) + 0.0, prompts.integers(8, 60, n) + 0.0, level)
    anchors = Anchors(prompts.uniform(0, 1, 2 * n), prompts.normal(size=2 * n), np.tile(level, 2))
    (found,) = evaluate_board([rows], own.prompt_set, anchors=anchors)
    sample = sample_of(100 * preferences, range(n), span=(0.0, 100.0))
    fit = found.length_controlled
    details = dict(zip((f"weight:{c}" for c in fit.columns), fit.coefficients, strict=True))
    yield own.cell(
        "lc_win_rate",
        fit.lc_win_rate,
        Tally(n, n),
        interval=found.lc_interval,
        replicates=found.lc_replicates,
        resampled=Resampled(units=n, span=(0.0, 100.0)),
        details={"C": fit.strength, "formula": fit.formula, **details},
    )
    yield own.cell(
        "win_rate",
        found.raw.win_rate,
        Tally(n, n),
        replicates=found.replicates,
        resampled=sample,
        details={"n_wins": found.raw.n_wins, "standard_error": found.raw.standard_error},
    )


def arena(system: str, seed: int, n: int) -> Iterator[Cell]:
    own, rng = (
        maker("arena_hard", system, seed),
        np.random.default_rng(seed_from("s", system, seed)),
    )
    quality = outcomes("arena", system, seed, n)
    games = np.clip(np.rint(2 + quality + 0.7 * rng.normal(size=(2, n))), 0, 4).astype(int)
    names = [f"{place:04}" for place in range(n)]
    flipped = dict(zip(LABELS, LABELS[::-1], strict=True))
    pairs = [
        GamePair(name, system, (flipped[LABELS[a]], LABELS[b]))
        for name, a, b in zip(names, *games, strict=True)
    ]
    table = tabulate(pairs, weight=3, uids=names)
    wins, weights = 100 * table.wins[0], table.rows[0].astype(float)
    counts = resample_counts(own.prompt_set, n)
    sample, value = sample_of(wins, names, weights, (0.0, 100.0)), wins.sum() / weights.sum()
    draws = (counts @ wins) / (counts @ weights)
    for metric in ("score", "bt_win_rate"):
        yield own.cell(
            metric,
            value,
            Tally(n, n),
            replicates=draws,
            resampled=sample,
            primary=metric == "score",
        )
    values = [float(a == b) for a, b in zip(*games, strict=True)]
    yield own.mean_cell("contradiction_rate", values, names, factor=100.0, primary=False)
    style = np.stack([rng.integers(3, 40, n), *rng.poisson(0.5, (3, n))], axis=1) + 0.0
    other = np.random.default_rng(n)
    base = np.stack([other.integers(3, 40, n), *other.poisson(0.5, (3, n))], axis=1) + 0.0
    found = equal_style(table, style, base, FEATURES, counts)
    yield own.cell(
        "style_controlled",
        100 * found.win_rate,
        Tally(n, n),
        replicates=100 * found.replicates,
        resampled=Resampled(units=n, span=(0.0, 100.0)),
        primary=False,
        details={f"slope:{name}": slope for name, slope in found.slopes.items()},
    )


def mt_bench(system: str, seed: int, n: int) -> Iterator[Cell]:
    own = maker("mt_bench", system, seed)
    ratings = np.clip(np.rint(2 * (5.5 + 1.5 * outcomes("mt", system, seed, 2 * n))) / 2, 1, 10)
    units = [place // 2 for place in range(2 * n)]
    kinds = [unit % 8 for unit in units]
    parts = {"score": [True] * (2 * n)}
    parts |= {f"turn_{turn + 1}": [p % 2 == turn for p in range(2 * n)] for turn in (0, 1)}
    parts |= {f"category:{kind}": [own_kind == kind for own_kind in kinds] for kind in range(8)}
    for metric, among in parts.items():
        yield own.mean_cell(
            metric,
            ratings.tolist(),
            units,
            among,
            span=(1, 10),
            unit="points",
            primary=metric == "score",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("systems", 11), ("seeds", 5), ("alpaca", 800), ("arena", 400), ("mt-bench", 160),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="Also write the compact board here.")
    given = parser.parse_args()
    cells = [
        cell
        for system in (f"system-{number}" for number in range(given.systems))
        for seed in range(given.seeds)
        for cell in (
            *alpaca(system, seed, given.alpaca),
            *arena(system, seed, given.arena),
            *mt_bench(system, seed, given.mt_bench),
        )
    ]
    claims = tuple(
        Claim(id=f"{metric}-{number}", better=f"system-{number}", worse="system-0", suite=suite,
              metric=metric)
        for number in range(1, given.systems)
        for suite, metric in (("alpaca_eval2", "lc_win_rate"), ("mt_bench", "score"))
    )  # fmt: skip
    spec = BoardSpec(name="synthetic", title="Synthetic", claims=claims)
    if given.out is not None:
        write_board(given.out, spec.model_copy(update={"compact": True, "layout": "blocks"}), cells)
    with tempfile.TemporaryDirectory() as place:
        sizes = {}
        for name, more in (("plain", {}), ("sheets", {"compact": True}),
                           ("blocks", {"compact": True, "layout": "blocks"})):  # fmt: skip
            folder = Path(place) / name
            write_board(folder, spec.model_copy(update=more), cells)
            sizes[name] = sum(path.stat().st_size for path in folder.iterdir())
            print(f"{name:<7} {sizes[name]:>10,} bytes", flush=True)
        began = time.process_time()
        assert check_board(folder) == ""
        seconds = time.process_time() - began
    print(f"check   {seconds:>10.1f} s of processor time; {len(cells)} cells")
    assert sizes["blocks"] <= BAR_BYTES, "a committed board is too large"
    assert seconds <= BAR_SECONDS, "the check of a board is too slow"


if __name__ == "__main__":
    main()
