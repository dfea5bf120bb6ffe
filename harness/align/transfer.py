"""A source's top-k predictions in the base's tokens and vocabulary, as arrays.

Input: the source's log-probabilities and ids (N, k) at each of its positions, `Alignment.step` (M,),
and a mapping (source vocabulary,) of base ids. Output (M, k): position j holds the prediction of
source position step[j], each token replaced by its counterpart, highest first; room that is left
has id -1 and log-probability -inf.

Tokens without counterpart lose their mass. Those that share one keep all of it,

    log q(t) = log sum over source tokens s mapped to t of exp(log p(s)),

or, with duplicates="first", that of the first alone. Nothing is renormalised: sum(exp(logps)) is
the mass that arrived, `lost` the rest of what the source had stored. A position with no step gets
all mass on one token: the one that follows in the base's text.

Departures (arXiv 2401.10491 and 2408.07990 as released): FuseLLM puts that mass on the position's
own token, one place too early (onehot_target="current"), and both drop what comes second to a base
id (duplicates="first"). `harness.align.legacy` follows them in everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.align.dtw import Ints
from harness.errors import BadData

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions in the base's vocabulary; (M, k) sorted from the likeliest, (M,) of positions.

    Attributes:
        lost: probability that the source had among its k tokens and that has no counterpart.
        transferred: False where the source predicts nothing: one token, or none at the end.
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
            do: refused, or "mask", which counts their mass as lost.

    Raises:
        BadData: shapes that do not fit, ids beyond the vocabulary, a log-probability that is NaN.
    """
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
    rows = np.flatnonzero(step >= 0)
    values, places = np.asarray(logps[step[rows]], np.float64), ids[step[rows]]
    _check(values, places, step[rows], len(mapping) if beyond_vocabulary == "refuse" else None)
    known = (places >= 0) & (places < len(mapping))
    targets = np.where(known, mapping[np.where(known, places, 0)], -1)
    mass = np.where(places >= 0, np.exp(values), 0.0)
    values = np.where(targets >= 0, values, -np.inf)
    same = (targets[:, :, None] == targets[:, None, :]) & (targets >= 0)[:, None, :]
    later = np.tril(same, -1).any(2)
    if duplicates == "sum":
        # Only where tokens meet, so that what is alone arrives to the last bit.
        meet = same.sum(2) > 1
        total = np.einsum("rij,rj->ri", same, mass)
        values = np.where(meet, np.log(total, where=meet, out=np.zeros_like(total)), values)
    values[later], targets[later] = -np.inf, -1
    order = np.argsort(-values, axis=1, kind="stable")
    values, targets = (np.take_along_axis(x, order, 1) for x in (values, targets))
    k = logps.shape[1]
    found = Predictions(
        np.full((len(step), k), -np.inf, np.float32),
        np.full((len(step), k), -1, np.int64),
        np.zeros(len(step), np.float32),
        step >= 0,
    )
    found.logps[rows], found.ids[rows] = values, targets
    found.lost[rows] = np.maximum(mass.sum(1) - np.exp(values).sum(1), 0)
    alone = np.flatnonzero(step < 0)
    if onehot_target == "next":
        alone = alone[alone < len(step) - 1]
    if onehot_target != "none":
        found.ids[alone, 0] = base_ids[alone + (onehot_target == "next")]
        found.logps[alone, 0] = 0.0
    return found


def _check(values: NDArray[np.float64], places: Ints, rows: Ints, size: int | None) -> None:
    bad = np.flatnonzero(np.isnan(values).any(1))
    if len(bad):
        raise BadData(
            f"log-probability NaN at source position {rows[bad[0]]}; run that model on this text "
            "in a wider dtype, or leave the document out"
        )
    if size is not None and places.max(initial=-1) >= size:
        raise BadData(
            f"the source predicts token id {places.max()}, but its tokenizer has {size} tokens, "
            'as with padded output layers; beyond_vocabulary="mask" counts such mass as lost'
        )
