"""Estimates of distillation on pairs: the student's training and passes of live teachers."""

from __future__ import annotations

from typing import Any

import pytest

from harness.distillation.advantage import operations
from harness.distillation.advantage.operations import _cache_cost, _sum, _times, _training_cost
from harness.distillation.advantage.settings import CacheTeachersParams, TrainOnPairsParams
from harness.engine import costs
from harness.engine.operations import Estimate

ROWS, MODEL = Estimate(rows=10, responses=2), Estimate(parameters_b=1.0)
TEACHER, REFERENCE = Estimate(parameters_b=8.0), Estimate(parameters_b=3.0)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes 100 GiB and 1000 s; reading takes GiB and seconds of the size of a model."""

    def training(params: Any, rows: Any, model: Any) -> Estimate:
        assert (rows, model) == (ROWS, MODEL)
        return Estimate(rows=10, gpu_gib=100.0, gpu_seconds=1000.0)

    def reference(params: Any, rows: Any, model: Any) -> Estimate:
        assert rows == ROWS
        return Estimate(gpu_gib=model.parameters_b, gpu_seconds=model.parameters_b)

    monkeypatch.setattr(costs, "training", training)
    monkeypatch.setattr(costs, "reference", reference)
    assert operations.costs is costs


def params(epochs: float = 3.0) -> TrainOnPairsParams:
    return TrainOnPairsParams(learning_rate=1e-3, epochs=epochs, loss={})


def test_every_live_teacher_is_read_once_per_epoch(fixed: None) -> None:
    both = _training_cost(params(), ROWS, MODEL, TEACHER, REFERENCE)
    assert (both.rows, both.gpu_gib, both.gpu_seconds) == (10, 111.0, 1033.0)
    one = _training_cost(params(), ROWS, MODEL, TEACHER)
    assert (one.gpu_gib, one.gpu_seconds) == (108.0, 1024.0)
    for none in (
        _training_cost(params(), ROWS, MODEL),
        _training_cost(params(), ROWS, MODEL, TEACHER, REFERENCE, cache=Estimate()),
    ):
        assert (none.gpu_gib, none.gpu_seconds) == (100.0, 1000.0)


def test_an_unknown_teacher_makes_the_sum_unknown(fixed: None) -> None:
    found = _training_cost(params(), ROWS, MODEL, Estimate(), REFERENCE)
    assert (found.gpu_gib, found.gpu_seconds) == (None, None)
    assert (_sum([1.0, 2.5]), _sum([1.0, None]), _sum([])) == (3.5, None, 0)
    assert (_times(2.0, 1.5), _times(2.0, None)) == (3.0, None)


def test_a_cache_costs_a_pass_of_the_teacher(fixed: None) -> None:
    how = CacheTeachersParams(sides=("answer",), values="logps", form="lists")
    assert _cache_cost(how, ROWS, TEACHER, REFERENCE, MODEL).gpu_seconds == 8.0
