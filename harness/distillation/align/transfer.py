"""A source's top-k predictions in the base's tokens and vocabulary, as arrays.

In: log-probabilities and ids (N, k) at the source's positions, `Alignment.step` (M,), and a mapping
(source vocabulary,) of base ids. Out, (M, k): at position j the prediction of source position
step[j] with each token replaced by its counterpart, likeliest first; room that is left has id -1
and log-probability -inf.

Tokens without counterpart lose their mass. Those that share one keep all of it,

    log q(t) = log sum over source tokens s mapped to t of exp(log p(s)),

or with duplicates="first" that of the first. Nothing is renormalised: sum(exp(logps)) arrived,
`lost` is the rest of what was stored. A position without a step has all mass on one token, the one
that follows in the base's text.

Departures (arXiv 2401.10491 and 2408.07990 as released): FuseLLM puts that mass on the position's
own token, one place too early (onehot_target="current"); both drop what comes second to a base id
(duplicates="first"). `harness.distillation.align.legacy` follows them in everything.
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
        logps, ids: (M, k).
        lost: (M,) probability among the source's k tokens that has no counterpart.
        transferred: (M,) False where the source predicts nothing there.
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
    """Carry predictions over; see the module.

    Args:
        ids: -1 where fewer than k are stored.
        onehot_target: "next" leaves the last position empty, "none" all without a step.
        beyond_vocabulary: ids that the source's tokenizer does not have, as padded output layers
            do: refused, or their mass counted as lost ("mask").

    Raises:
        BadData: shapes that do not fit, ids beyond the vocabulary, a log-probability that is NaN.
    """
    _check_shapes(logps, ids, step, base_ids)
    rows = np.flatnonzero(step >= 0)
    values, tokens = np.asarray(logps[step[rows]], np.float64), ids[step[rows]]
    bad = np.flatnonzero(np.isnan(values).any(1))
    if len(bad):
        raise BadData(
            f"log-probability NaN at source position {step[rows[bad[0]]]}; run that model on this "
            "text in a wider dtype, or leave the document out"
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
    """One entry a token, likeliest first."""
    same = (tokens[:, :, None] == tokens[:, None, :]) & (tokens >= 0)[:, None, :]
    if duplicates == "sum":
        # Only where tokens meet, so that what is alone arrives to the last bit.
        meet = same.sum(2) > 1
        total = np.einsum("rij,rj->ri", same, mass)
        values = np.where(meet, np.log(np.where(meet, total, 1.0)), values)
    gone = (tokens < 0) | np.tril(same, -1).any(2)
    values, tokens = np.where(gone, -np.inf, values), np.where(gone, -1, tokens)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(values, order, 1), np.take_along_axis(tokens, order, 1)
