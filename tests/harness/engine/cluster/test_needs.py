"""What stages need of nodes: GPUs from the size of models, one core for everything else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.errors import EnvironmentProblem
from harness.engine.cluster.needs import Need, Node, check_fits, need_of
from harness.engine.operations import Estimate
from harness.engine.plan import Handle

PLAIN = Node("a", "a", 8, 0, 32.0)
LARGE = Node("b", "b", 32, 8, 512.0, 80.0)


def needed(
    node: Node, model_b: float | None, gib: float | None, ref: str | None = None, **stage: Any
) -> Need:
    """The need of a stage that asks a model."""
    inputs = stage.pop("inputs", {"rows": Handle("r"), "model": Handle("m")})
    kind = SimpleNamespace(rows=stage.pop("rows", "rows"))
    made = SimpleNamespace(id="s", inputs=inputs, operation=kind, params=SimpleNamespace(**stage))
    estimates = {"s": Estimate(gpu_gib=gib), "m": Estimate(parameters_b=model_b), "r": Estimate()}
    return need_of(made, estimates, ref, [node])  # type: ignore[arg-type]


@pytest.mark.parametrize(("gib", "gpus"), [(18.0, 1), (80.0, 1), (81.0, 2), (168.0, 3)])
def test_a_model_gets_the_gpus_that_its_memory_needs(gib: float, gpus: int) -> None:
    assert needed(LARGE, gib / 2.4, gib) == Need("m", 1, gpus)


def test_without_gpus_a_model_needs_its_memory_in_the_node() -> None:
    assert needed(PLAIN, 8.0, 18.0) == Need("m", 1, 0, 18.0)


def test_tiny_models_and_stages_without_one_need_a_core() -> None:
    assert needed(LARGE, 0.001, None) == Need()
    assert needed(LARGE, None, None, inputs={"rows": Handle("r")}) == Need()
    assert needed(LARGE, None, None, "nano:oracle", inputs={"rows": Handle("r")}) == Need()


def test_a_model_of_unknown_size_gets_a_gpu_where_there_is_one() -> None:
    assert needed(LARGE, None, None, "org/model") == Need("org/model", 1, 1)
    assert needed(PLAIN, None, None, "org/model") == Need()


def test_a_judge_is_shared_by_its_reference_and_a_training_by_nothing() -> None:
    assert needed(LARGE, None, None, "vllm:judge", inputs={"rows": Handle("r")}).key == "vllm:judge"
    assert needed(LARGE, 8.0, 144.0, rows=None) == Need("s", 1, 1)


@pytest.mark.parametrize(
    ("node", "need"), [(LARGE, Need("s", 1, 4, machines=2)), (PLAIN, Need("s", 4, 0, machines=2))]
)
def test_a_launch_needs_its_processes_on_each_machine(node: Node, need: Need) -> None:
    launch = SimpleNamespace(processes=8, machines=2)
    assert needed(node, 8.0, 144.0, rows=None, launch=launch) == need


def test_stages_that_fit_no_node_are_named_with_what_there_is() -> None:
    check_fits({"fits": Need("m", 1, 8)}, [PLAIN, LARGE])
    needs = {"large": Need("m", 1, 9), "both": Need("t", 1, 8, machines=2), "fits": Need()}
    with pytest.raises(EnvironmentProblem) as caught:
        check_fits(needs, [PLAIN, LARGE])
    text = str(caught.value)
    assert (
        "too small for 2 stages: large needs 9 GPUs, 1 core; both needs 8 GPUs, 1 core on each"
        in text
    )
    assert "8 GPUs of 80 GiB, 32 cores, 512 GiB of memory; no GPU, 8 cores" in text
