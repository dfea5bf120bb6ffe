"""Operations of distillation on pairs: caches of teachers, and training with live or cached ones.

pairs + teacher [+ reference] [+ student] ──> cache_teachers ──> rows of scored tokens
pairs + student + teachers, live or cached ──> train_on_pairs ──> checkpoint
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace

from harness.distillation.advantage.settings import CacheTeachersParams, TrainOnPairsParams
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Estimate, operation
from harness.training.fitting import memory
from harness.training.launch import over_processes
from harness.training.settings import libraries_of


def _cache_cost(
    params: CacheTeachersParams,
    rows: Estimate,
    teacher: Estimate,
    reference: Estimate | None = None,
    student: Estimate | None = None,
) -> Estimate:
    return costs.reference(params, rows, teacher)


@operation(
    "cache_teachers",
    version=1,
    params=CacheTeachersParams,
    libraries=("torch", "transformers"),
    estimate=_cache_cost,
)
def cache_teachers(
    context: Context,
    params: CacheTeachersParams,
    *,
    rows: Artifact,
    teacher: Artifact,
    reference: Artifact | None = None,
    student: Artifact | None = None,
) -> None:
    """What teachers say at every scored token of given answers, see `harness.distillation.caches`.

    A killed stage keeps its finished shards. summary.json has bytes per token and, for lists, the
    mass that they leave out, with a student the bound of the resulting error.

    Args:
        student: the model to be trained: its tokenizer decides the tokens; with `student_k` its
            likely ids join the lists.

    Raises:
        BadData: models of different tokenizers, k above the vocabulary, logits that are not finite,
            or no scored token at all.
    """
    from harness.distillation.advantage.making import Maker

    maker = Maker(context, params, rows, teacher, reference, student)
    folder = context.scratch / "cache"
    maker.make(folder)
    hidden = shutil.ignore_patterns(".*")
    shutil.copytree(
        folder, context.directory, copy_function=os.link, dirs_exist_ok=True, ignore=hidden
    )


def _training_cost(
    params: TrainOnPairsParams,
    rows: Estimate,
    model: Estimate,
    teacher: Estimate | None = None,
    reference: Estimate | None = None,
    cache: Estimate | None = None,
    weights: Estimate | None = None,
) -> Estimate:
    """The student's training, and every epoch a forward pass of each live teacher."""
    own = memory.estimate(params, rows, model)
    live = [each for each in (teacher, reference) if each is not None and cache is None]
    passes = [costs.reference(params, rows, each) for each in live]
    return replace(
        own,
        frozen_b=_sum([each.parameters_b for each in live]),
        gpu_gib=_sum([own.gpu_gib, *(each.gpu_gib for each in passes)]),
        gpu_seconds=_sum(
            [own.gpu_seconds, *(_times(params.epochs, each.gpu_seconds) for each in passes)]
        ),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


@operation(
    "train_on_pairs",
    version=1,
    params=TrainOnPairsParams,
    libraries=libraries_of("torch", "transformers"),
    estimate=_training_cost,
)
@over_processes
def train_on_pairs(
    context: Context,
    params: TrainOnPairsParams,
    *,
    rows: Artifact,
    model: Artifact,
    teacher: Artifact | None = None,
    reference: Artifact | None = None,
    cache: Artifact | None = None,
    weights: Artifact | None = None,
) -> None:
    """Train a student on pairs with `harness.distillation.advantage.objective`.

    Args:
        teacher, reference: models. With a `cache` of hidden states only their heads are loaded,
            with one of lists neither.
        cache: artifact of `cache_teachers` for the same rows and limits.
        weights: rows of `span_advantages`, for advantages of spans or sequences.

    Writes a checkpoint with its tokenizer, and training_log.json: per update the loss, and per
    token or row every term without its weight.

    Raises:
        BadData: no rows or no scored token, teachers of another tokenizer, a stale or partial
            cache, or teachers that the loss needs are missing.
    """
    from harness.distillation.advantage.training import PairRun
    from harness.training import runs

    with runs.quiet():
        PairRun(context, params, rows, model, teacher, reference, cache, weights).train()
