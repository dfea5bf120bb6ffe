"""Arena-Hard boards: our implementation compared with the original algorithm.

    python benchmarks/arena_hard.py [--golden FOLDER] [--case twelve_models] [--rounds 100]

Input: the golden vectors (12 models x 500 prompts). Peer: our re-implementation of the original
(lmarena/arena-hard-auto, show_result.py): rows resampled one by one for the plain score, and for
style control a torch LBFGS fit (learning rate 0.1, 50 iterations, start 0.5) per resample of rows.
The style peer runs `--peer-rounds` bootstraps and is extrapolated to `--rounds`, as printed. Ours
resamples prompts and solves every fit to the optimum. Times are medians of several runs; counting
the judgments is timed separately. Set OMP_NUM_THREADS=1 for one thread each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.stats.bootstrap import resample_counts
from harness.suites.arena_hard.metrics import (
    GamePair,
    GameTable,
    point_scores,
    prompt_replicates,
    row_replicates,
    tabulate,
)
from harness.suites.arena_hard.style import StyleCounts, style_board, style_differences

GOLDEN = Path(os.environ.get("CRUCIBLE_GOLDEN") or Path(__file__).parents[1] / "tests/golden/data")


def timed(name: str, run: Callable[[], object], repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    middle = statistics.median(seconds)
    print(f"{name:58} {1000 * middle:10.2f} ms  (fastest {1000 * min(seconds):.2f})")
    return middle


def long_rows(table: GameTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Model, prompt and score of every row of the board, the original's representation."""
    models, prompts, scores = [], [], []
    for (m, q), counts in zip(np.ndindex(table.rows.shape), table.counts.reshape(-1, 3)):
        for score, count in zip((0.0, 0.5, 1.0), counts):
            models += [m] * int(count)
            prompts += [q] * int(count)
            scores += [score] * int(count)
    return np.array(models), np.array(prompts), np.array(scores)


def peer_plain(models: np.ndarray, scores: np.ndarray, rounds: int) -> np.ndarray:
    """Mean score per model under resamples of its rows, drawn one by one with pandas."""
    import pandas as pd

    frame = pd.DataFrame({"model": models, "score": scores})
    groups = [group["score"] for _, group in frame.groupby("model")]
    return np.array(
        [[g.sample(frac=1.0, replace=True).mean() for g in groups] for _ in range(rounds)]
    )


def peer_style(design: np.ndarray, scores: np.ndarray, rounds: int) -> None:
    """LBFGS fit of all rows, once per resample."""
    import torch

    torch.set_num_threads(1)
    features = torch.tensor(design, dtype=torch.float32)
    labels = torch.tensor(scores, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for _ in range(rounds):
        drawn = torch.randint(len(labels), (len(labels),), generator=generator)
        x, y = features[drawn], labels[drawn]
        weights = torch.full((x.shape[1],), 0.5, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], lr=0.1, max_iter=50)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()  # noqa: B023 - used within this round only
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                x @ weights,  # noqa: B023
                y,  # noqa: B023
                reduction="sum",
            )
            loss.backward()
            return loss

        optimizer.step(closure)


def style_design(
    table: GameTable, styles: dict[str, dict[str, StyleCounts]], baseline: str
) -> tuple[np.ndarray, np.ndarray]:
    """The original's design matrix: one-hot model minus one-hot baseline, and z-scored style."""
    counts = np.array(
        [
            [[s.length, s.header, s.list, s.bold] for s in (styles[name][u] for u in table.uids)]
            for name in (*table.models, baseline)
        ]
    )
    differences = style_differences(counts[:-1], counts[-1])
    models, prompts, scores = long_rows(table)
    features = differences[models, prompts]
    features = (features - features.mean(axis=0)) / features.std(axis=0, ddof=1)
    players = np.zeros((len(models), len(table.models) + 1))
    players[np.arange(len(models)), models] = 1.0
    players[:, -1] = -1.0
    return np.concatenate([players, features], axis=1), scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--golden", type=Path, default=GOLDEN)
    parser.add_argument("--case", default="twelve_models")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--peer-rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with gzip.open(options.golden / "arena_hard" / f"{options.case}_input.json.gz", "rt") as stream:
        data = json.load(stream)
    judgments = [GamePair(j["uid"], j["model"], tuple(j["games"])) for j in data["judgments"]]
    styles = {
        model: {uid: StyleCounts(*counts) for uid, counts in rows.items()}
        for model, rows in data["style_metadata"].items()
    }
    table = tabulate(judgments, weight=data["weight"])
    rounds = options.rounds
    print(
        f"{len(table.models)} models, {len(table.uids)} prompts, {int(table.rows.sum())} rows, "
        f"{rounds} bootstraps"
    )

    def plain() -> None:
        resample_counts.cache_clear()
        point_scores(table)
        prompt_replicates(table, "benchmark", rounds)

    def styled() -> None:
        resample_counts.cache_clear()
        style_board(table, styles, data["baseline"], "benchmark", rounds=rounds)

    timed("counting the judgments", lambda: tabulate(judgments), options.repeats)
    own = timed("ours, plain, prompts resampled", plain, options.repeats)
    timed("ours, plain, rows resampled", lambda: row_replicates(table, rounds), options.repeats)
    models, _, scores = long_rows(table)
    peer = timed(
        "peer, plain (re-implemented, rows resampled)",
        lambda: peer_plain(models, scores, rounds),
        max(1, options.repeats // 2),
    )
    print(f"    ratio peer / ours, plain: {peer / own:.0f}")
    own = timed("ours, style-controlled, prompts resampled, exact", styled, options.repeats)
    design, scores = style_design(table, styles, data["baseline"])
    few = options.peer_rounds
    peer = timed(
        f"peer, style-controlled (LBFGS), {few} bootstraps",
        lambda: peer_style(design, scores, few),
        1,
    )
    print(
        f"    ratio peer / ours, style-controlled: {peer / few * rounds / own:.0f} "
        f"(peer extrapolated from {few} to {rounds} bootstraps: {peer / few * rounds:.1f} s)"
    )


if __name__ == "__main__":
    main()
