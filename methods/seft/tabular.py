"""Self-evolution on a table: a policy over the answers to one prompt, and a reviser as a kernel.

    q_k      = pi_k R                                 R[i, j]: source i is revised to j
    pi_{k+1} = (1 - step) pi_k + step q_k             step 1: a round fitted exactly

The exact counterpart of the method's rounds, in which its laws can be checked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData

Floats = NDArray[np.float64]
ROUNDING = 1e-12


def evolve(policy: Floats, kernel: Floats, rounds: int, *, step: float = 1.0) -> Floats:
    """The policies pi_0 to pi_K, (K + 1, answers).

    Args:
        policy: probabilities of the answers, (answers,).
        kernel: row-stochastic, (answers, answers).

    Raises:
        BadData: shapes that do not fit, or rows that are no distributions.
    """
    start, matrix = _distributions(np.atleast_2d(policy))[0], _distributions(kernel)
    if matrix.shape != (len(start), len(start)):
        raise BadData(
            f"a kernel of shape {matrix.shape} for {len(start)} answers; expected a square one"
        )
    if not 0 <= step <= 1:
        raise BadData(f"step is {step}; expected a share in [0, 1]")
    policies = [start]
    for _ in range(rounds):
        policies.append((1 - step) * policies[-1] + step * policies[-1] @ matrix)
    return np.array(policies)


def expected_rewards(policies: Floats, rewards: Floats) -> Floats:
    """Expected reward of each policy."""
    found: Floats = policies @ np.asarray(rewards, float)
    return found


def is_improving(kernel: Floats, rewards: Floats) -> bool:
    """Whether every source is revised to an expected reward at least its own."""
    values = np.asarray(rewards, float)
    return bool((np.asarray(kernel, float) @ values - values).min() >= -ROUNDING)


def accepted_kernel(kernel: Floats, rewards: Floats, min_gain: float, *, drop: bool) -> Floats:
    """The kernel behind a gate: rejected revisions are replaced by their source, or dropped.

    With `drop`, rows are conditioned on acceptance (a source without accepted revisions keeps
    itself); a copy is no revision and always kept.
    """
    values = np.asarray(rewards, float)
    kept = np.where(values[None, :] - values[:, None] >= min_gain, kernel, 0.0)
    copies = np.diag(np.diag(np.asarray(kernel, float)))
    kept = kept - np.diag(np.diag(kept)) + copies
    rejected = 1 - kept.sum(axis=1)
    if not drop:
        return kept + np.diag(rejected)
    mass = kept.sum(axis=1, keepdims=True)
    return np.where(mass > 0, kept / np.where(mass > 0, mass, 1), np.eye(len(values)))


def _distributions(table: Floats) -> Floats:
    found = np.asarray(table, float)
    if (found < -ROUNDING).any() or not np.allclose(found.sum(axis=-1), 1, atol=1e-6):
        raise BadData("a row is no probability distribution; expected shares that sum to 1")
    return found
