"""Invented cells with honest replicates: per-prompt outcomes resampled with the shared draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from harness.core.hashing import digest, seed_from
from harness.core.records import Cell
from harness.stats.bootstrap import percentile_interval, replicate_means, resample_counts

PROMPTS = 120
ROUNDS = 200

SKILLS: Mapping[str, float] = {
    "target": 26.0,
    "target-sft": 27.2,
    "target-sft-dpo": 50.7,
    "target-sft-wrpo": 55.9,
}


def make_cell(
    system: str,
    skill: float,
    suite: str = "alpaca_eval2",
    metric: str = "lc_win_rate",
    seed: int = 0,
    failed: int = 0,
    n: int = PROMPTS,
    rounds: int = ROUNDS,
    prompt_set: str = "",
    **changes: object,
) -> Cell:
    """One cell whose prompts succeed with a chance of about `skill` percent.

    Prompts have a difficulty of their own, so that systems are correlated as real ones are.
    """
    prompt_set = prompt_set or digest(["prompts", suite])
    difficulty = np.random.default_rng(seed_from(suite, n)).normal(size=n)
    noise = np.random.default_rng(seed_from(system, suite, metric, seed)).normal(size=n)
    base = np.log(skill / (100.0 - skill))
    wins = 100.0 / (1.0 + np.exp(-(base + 0.8 * difficulty + 0.8 * noise)))
    counts = resample_counts(prompt_set, n, rounds)
    replicates = replicate_means(wins, counts)
    value = float(wins.mean())
    bounds = (value * (n - failed) / n, (value * (n - failed) + 100.0 * failed) / n)
    fields: dict[str, object] = {
        "system": system,
        "suite": suite,
        "metric": metric,
        "value": value,
        "interval": percentile_interval(replicates, point=value),
        "n_expected": n,
        "n_scored": n - failed,
        "n_failed": failed,
        "bounds": bounds if failed else None,
        "seed": seed,
        "scale": "nano",
        "judge": "nano oracle (position bias 0.1)",
        "judge_fingerprint": digest(["judge", suite]),
        "decode_fingerprint": digest(["decode", suite]),
        "prompt_set": prompt_set,
        "artifacts": {
            role: digest([role, system, suite, seed])
            for role in ("checkpoint", "generations", "judgments")
        },
        "replicates": tuple(replicates.tolist()),
        "details": {
            "avg_length": 1200 + int(skill * 10),
            "standard_error": float(wins.std() / n**0.5),
        },
    }
    return Cell.model_validate({**fields, **changes})


def make_cells(
    skills: Mapping[str, float] = SKILLS,
    columns: Sequence[tuple[str, str]] = (
        ("alpaca_eval2", "lc_win_rate"),
        ("alpaca_eval2", "win_rate"),
        ("arena_hard", "win_rate"),
    ),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[Cell]:
    return [
        make_cell(system, skill, suite, metric, seed)
        for system, skill in skills.items()
        for suite, metric in columns
        for seed in seeds
    ]


@pytest.fixture(scope="session")
def cell() -> Callable[..., Cell]:
    """`cell(system, skill, suite, metric, seed, failed, **changes)`."""
    return make_cell


@pytest.fixture(scope="session")
def cells() -> Callable[..., list[Cell]]:
    """`cells(skills, columns, seeds)`: every system in every column with every seed."""
    return make_cells
