"""Transfer of a source's top-k predictions to the base's positions and vocabulary.

Input: log-probabilities and ids (N, k) at the source's positions, `Alignment.step` (M,), and a
mapping (source vocabulary,) to base ids. Output (M, k): row j is the prediction of source position
step[j] with each token replaced by its counterpart, most probable first; unused entries have id -1
and log-probability -inf.

The mass of tokens without a counterpart is lost. The mass of tokens with the same counterpart adds
up,

    log q(t) = log sum over source tokens s mapped to t of exp(log p(s)),

or, with duplicates="first", is that of the first. Nothing is renormalised: sum(exp(logps)) plus
`lost` is the mass that was stored. A position without a step is one-hot on the base token that
follows it.

Departures (arXiv 2401.10491 and 2408.07990 as released): FuseLLM's one-hot is the position's own
token, one position too early (onehot_target="current"); both papers' code keeps only the first
source token per base id (duplicates="first"). `harness.distillation.align.legacy` reproduces the
released code completely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.distillation.align.dtw import Ints

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions in the base's vocabulary.

    Attributes:
        logps, ids: (M, k) log-probabilities and base ids.
        lost: (M,) probability of the source's k tokens that have no counterpart.
        transferred: (M,) whether the position has a source prediction.
    """

    logps: Floats
    ids: Ints
    lost: Floats
    transferred: NDArray[np.bool_]


def transfer(
    logps: NDArray[np.floating],
    ids: Ints,
    step: Ints,
    mapping: Ints,
    base_ids: Ints,
    *,
    onehot_target: Literal["next", "current", "none"] = "next",
    duplicates: Literal["sum", "first"] = "sum",
    beyond_vocabulary: Literal["refuse", "mask"] = "refuse",
) -> Predictions:
    """Transfer predictions to the base's positions, as the module docstring defines.

    Args:
        logps, ids: (N, k) of the source; id -1 where fewer than k are stored.
        step: (M,) source position of each base position, -1 where there is none.
        mapping: (source vocabulary,) base id of each source token, -1 where there is none.
        base_ids: (M,).
        onehot_target: token of positions without a step; "next" leaves the last position empty,
            "none" leaves all of them empty.
        beyond_vocabulary: handling of ids that the source's tokenizer lacks, which padded output
            layers produce: an error ("refuse"), or their mass counts as lost ("mask").

    Raises:
        BadData: shapes do not match, an id is outside the vocabulary, or a log-probability is NaN.
    """
    _check_shapes(logps, ids, step, base_ids)
    rows = np.flatnonzero(step >= 0)
    values, tokens = np.asarray(logps[step[rows]], np.float64), ids[step[rows]]
    bad = np.flatnonzero(np.isnan(values).any(1))
    if len(bad):
        raise BadData(
            f"log-probability NaN at source position {step[rows[bad[0]]]}; run that model on this "
            "text in a wider dtype, or omit the document"
        )
    if beyond_vocabulary == "refuse" and tokens.max(initial=-1) >= len(mapping):
        raise BadData(
            f"the source predicts token id {tokens.max()}, but its tokenizer has {len(mapping)} "
            'tokens, as with padded output layers; beyond_vocabulary="mask" counts it as lost'
        )
    mass = np.where(tokens >= 0, np.exp(values), 0.0)
    known = (tokens >= 0) & (tokens < len(mapping))
    tokens = np.where(known, mapping[np.where(known, tokens, 0)], -1)
    values, tokens = _merged(values, tokens, mass, duplicates)
    shape = (len(step), logps.shape[1])
    found = Predictions(
        np.full(shape, -np.inf, np.float32),
        np.full(shape, -1, np.int64),
        np.zeros(len(step), np.float32),
        step >= 0,
    )
    found.logps[rows], found.ids[rows] = values, tokens
    found.lost[rows] = np.maximum(mass.sum(1) - np.exp(values).sum(1), 0)
    if onehot_target != "none":
        ahead = int(onehot_target == "next")
        alone = np.flatnonzero(step[: len(step) - ahead] < 0)
        found.ids[alone, 0], found.logps[alone, 0] = base_ids[alone + ahead], 0.0
    return found


def _check_shapes(logps: NDArray[np.floating], ids: Ints, step: Ints, base_ids: Ints) -> None:
    if logps.shape != ids.shape or logps.ndim != 2 or len(step) != len(base_ids):
        raise BadData(
            f"log-probabilities {logps.shape} and ids {ids.shape} must be one (positions, k); "
            f"{len(step)} steps and {len(base_ids)} base ids must be equally many"
        )
    if step.max(initial=-1) >= len(ids):
        raise BadData(
            f"the alignment reaches source position {step.max()}, but predictions are stored for "
            f"{len(ids)}; was the source's text cut?"
        )


def _merged(
    values: NDArray[np.float64], tokens: Ints, mass: NDArray[np.float64], duplicates: str
) -> tuple[NDArray[np.float64], Ints]:
    """One entry per token, most probable first."""
    same = (tokens[:, :, None] == tokens[:, None, :]) & (tokens >= 0)[:, None, :]
    if duplicates == "sum":
        # Only for tokens that coincide, so that all other values stay bit-identical.
        shared = same.sum(2) > 1
        total = np.einsum("rij,rj->ri", same, mass)
        values = np.where(shared, np.log(np.where(shared, total, 1.0)), values)
    dropped = (tokens < 0) | np.tril(same, -1).any(2)
    values, tokens = np.where(dropped, -np.inf, values), np.where(dropped, -1, tokens)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(values, order, 1), np.take_along_axis(tokens, order, 1)
