"""VaRM: golden merges of the released scripts, their defects, and the laws of the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from harness.core.errors import BadRecord
from harness.core.records import parse
from harness.merging.pieces import joined, stack
from harness.merging.sce import sce
from harness.merging.settings import SceSettings, VarmSettings
from harness.merging.varm import combine, element_weights, group_of, mean, varm
from harness.merging.varm_released import varm_released
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]
State = dict[str, Tensor]

LEVELS = {
    "avg_item": "element",
    "avg_param": "tensor",
    "avg_module": "module",
    "avg_layer": "layer",
    "avg_model": "model",
    "avg_weight": "weight",
}
STATISTICS = {"square": "square", "abs": "abs", "default": "signed"}
FEW = examples(max_examples=15)
AS_ANALYSED = ("equal_on_zero", "signed_model", "item_sums", "bfloat16_sums")


def merge_all(
    base: State, targets: list[State], settings: VarmSettings
) -> tuple[State, dict[str, list[float] | None]]:
    groups: dict[str, State] = {}
    for name in base:
        tensor = stack(base[name], [target[name] for target in targets])
        groups.setdefault(group_of(name, settings.level), {})[name] = tensor
    made, weights = {}, {}
    for group, members in groups.items():
        merge = varm_released if settings.released else varm
        for name, listed, pieces in merge(members, settings, group):
            made[name], weights[name] = joined(pieces, base[name].shape), listed
    return made, weights


def load(golden: Golden) -> tuple[dict[str, Any], dict[str, State]]:
    data = vectors(golden("fusechat/varm.json"))
    states = {
        model: {name: torch.tensor(value) for name, value in state.items()}
        for model, state in data["state_dicts"].items()
    }
    return data, states


def settings_of(record: dict[str, Any], **changes: Any) -> VarmSettings:
    return VarmSettings(
        level=LEVELS[record["method"]],
        statistic=STATISTICS[record.get("merge_type", "square")],
        normalisation="softmax" if record.get("use_softmax") else "sum",
        temperature=record.get("temp", 1.0),
        exclude=tuple(record.get("excluded", ())),
        **{"released": AS_ANALYSED, **changes},
    )


def close_to(found: State, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], torch.tensor(value), rtol=1e-2, atol=1e-6)


def test_golden_weights_and_merges_of_every_level_statistic_and_normalisation(
    golden: Golden,
) -> None:
    data, states = load(golden)
    for record in data["per_model_analysis"]:
        targets = [states[model] for model in record["models"]]
        made, weights = merge_all(states["base"], targets, settings_of(record))
        close_to(made, record.get("merged", {}))
        for name, expected in (record.get("weights_per_parameter") or {}).items():
            assert weights[name] == pytest.approx(expected, rel=1e-6), (record["method"], name)
        if record.get("weights_global"):
            assert weights[next(iter(weights))] == pytest.approx(record["weights_global"], rel=1e-6)


def test_golden_released_defects_first_model_and_one_analysis(golden: Golden) -> None:
    data, states = load(golden)
    record = data["as_released_default_arguments"]
    targets = [states[model] for model in record["models"]]
    made, _ = merge_all(states["base"], targets, settings_of(record, released=("first_model",)))
    same = all(torch.equal(made[n], targets[0][n].bfloat16().float()) for n in made)
    assert same == record["merged_equals_first_model"]
    record = data["as_released_single_file"]
    targets = [states[model] for model in record["models"]]
    released = ("one_analysis", "bfloat16_sums")
    made, weights = merge_all(states["base"], targets, settings_of(record, released=released))
    close_to(made, record["merged"])
    assert weights == {n: pytest.approx(w) for n, w in record["weights_per_parameter"].items()}


def test_a_target_that_moved_twice_as_far_weighs_four_times_as_much() -> None:
    base = torch.tensor([1.0, 2.0])
    targets = [base + torch.tensor([0.1, -0.1]), base + torch.tensor([-0.2, 0.2])]
    ((_, weights, pieces),) = varm({"m": stack(base, targets)}, VarmSettings())
    assert weights == pytest.approx([0.2, 0.8])
    torch.testing.assert_close(joined(pieces, (2,)), base + torch.tensor([-0.14, 0.14]))


@pytest.mark.parametrize(
    ("name", "module", "layer"),
    [
        ("model.layers.11.self_attn.q_proj.weight", "model.layers.11.self_attn", "model.layers.11"),
        ("gpt_neox.layers.0.mlp.dense.bias", "gpt_neox.layers.0.mlp", "gpt_neox.layers.0"),
        ("model.layers.3.mlp.experts.7.w.weight", "model.layers.3.mlp", "model.layers.3"),
        ("h.2.ln_1.weight", "h.2.ln_1", "h.2"),
        ("model.embed_tokens.weight", "model.embed_tokens", ""),
        ("scale", "scale", ""),
    ],
)
def test_modules_and_layers_by_name(name: str, module: str, layer: str) -> None:
    assert group_of(name, "module") == module
    assert group_of(name, "layer") == layer
    assert group_of(name, "tensor") == group_of(name, "element") == name


def test_defaults_follow_the_equation_where_the_released_code_does_not() -> None:
    base = torch.zeros(2)
    targets = [torch.zeros(2), torch.tensor([0.5, 0.0])]
    tensor = {"m": stack(base, targets)}

    def merged(**options: Any) -> tuple[list[float] | None, list[float]]:
        merge = varm_released if "released" in options else varm
        ((_, weights, pieces),) = merge(tensor, VarmSettings(**options))
        return weights, joined(pieces, (2,)).tolist()

    assert merged() == ([0.0, 1.0], [0.5, 0.0])
    assert merged(released=("equal_on_zero",)) == ([0.5, 0.5], [0.25, 0.0])
    tensor = {"m": stack(torch.ones(2), [torch.tensor([1.0, 1.5]), torch.tensor([1.0, 1.0])])}
    assert merged(level="element")[1] == [1.0, 1.5]
    assert merged(level="element", released=("item_sums",))[1] == [0.0, 1.5]  # was unchanged
    tensor = {"m": stack(base, [torch.tensor([0.3, 0.0]), torch.tensor([-0.1, 0.0])])}
    assert merged(level="model", statistic="signed")[0] == pytest.approx([0.75, 0.25])
    kept = merged(level="model", statistic="signed", released=("signed_model",))[0]
    assert kept == pytest.approx([1.5, -0.5])


def test_the_misspelt_statistic_is_refused_as_released() -> None:
    wrong = {"level": "element", "statistic": "square", "released": ["misspelt_square"]}
    with pytest.raises(BadRecord, match='expected statistic "abs" or "signed"'):
        parse(VarmSettings, wrong, "test")
    parse(VarmSettings, {**wrong, "level": "tensor"}, "test")


LEVEL = st.sampled_from(list(LEVELS.values()))
STATISTIC = st.sampled_from(["square", "abs", "signed"])


@st.composite
def problems(draw: st.DrawFn, targets: int | None = None) -> tuple[State, list[State]]:
    """Two tensors of a module and one outside layers, and targets at different distances."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shapes = {"h.0.a.q": (3, 5), "h.0.a.k": (4,), "head.weight": (2, 3)}
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return base, [
        {n: v + 0.1**j * torch.randn(v.shape, generator=generator) for n, v in base.items()}
        for j in range(draw(st.integers(1, 4)) if targets is None else targets)
    ]


@FEW
@given(problems(), LEVEL, STATISTIC, st.sampled_from([None, 0.1, 10.0]))
def test_weights_are_shares(problem: Any, level: str, statistic: str, temp: float | None) -> None:
    base, targets = problem
    soft: dict[str, Any] = {} if temp is None else {"normalisation": "softmax", "temperature": temp}
    settings = VarmSettings(level=level, statistic=statistic, **soft)
    made, weights = merge_all(base, targets, settings)
    for name, listed in weights.items():
        values = torch.stack([target[name] for target in targets])
        if listed is None:
            shares = element_weights((values - base[name]).flatten(1), settings)
            torch.testing.assert_close(shares.sum(0), torch.ones(base[name].numel()))
            assert bool((shares >= 0).all())
        else:
            assert sum(listed) == pytest.approx(1)
            assert min(listed) >= 0
        between = (made[name] >= values.amin(0) - 1e-6) & (made[name] <= values.amax(0) + 1e-6)
        assert bool(between.all())


@FEW
@given(problems(), LEVEL, STATISTIC)
def test_one_target_equal_targets_and_the_base_itself_come_out_unchanged(
    problem: Any, level: str, statistic: str
) -> None:
    base, targets = problem
    settings = VarmSettings(level=level, statistic=statistic)
    for given_targets in ([targets[0]], [targets[0]] * 3, [base, base]):
        made, weights = merge_all(base, given_targets, settings)
        for name in base:
            assert torch.equal(made[name], given_targets[0][name])
            if weights[name] is not None:
                assert weights[name] == pytest.approx([1 / len(given_targets)] * len(given_targets))


@FEW
@given(problems(targets=3), LEVEL, STATISTIC)
def test_permuting_targets_permutes_weights_only(problem: Any, level: str, statistic: str) -> None:
    base, targets = problem
    settings = VarmSettings(level=level, statistic=statistic)
    made, weights = merge_all(base, targets, settings)
    turned, others = merge_all(base, [targets[2], targets[0], targets[1]], settings)
    for name in base:
        torch.testing.assert_close(turned[name], made[name], rtol=1e-5, atol=1e-6)
        if weights[name] is not None:
            assert [*others[name][1:], others[name][0]] == pytest.approx(weights[name])


@FEW
@given(problems(targets=2), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_scaling_a_change_by_c_scales_its_ratio_by_c_squared(problem: Any, c: float) -> None:
    base, (first, second) = problem
    zero = {name: torch.zeros_like(value) for name, value in base.items()}  # no rounding of deltas
    scaled = {name: c * value for name, value in second.items()}
    _, weights = merge_all(zero, [first, second], VarmSettings())
    _, others = merge_all(zero, [first, scaled], VarmSettings())
    for name in base:
        a, b = weights[name], others[name]
        assert b[1] / b[0] == pytest.approx(c**2 * a[1] / a[0], rel=1e-5)


@FEW
@given(problems(targets=2))
def test_squares_and_absolutes_rank_alike_where_changes_have_one_size(problem: Any) -> None:
    base, targets = problem
    signs = [{n: v.sign() * (j + 1) for n, v in t.items()} for j, t in enumerate(targets)]
    zero = {name: torch.zeros_like(value) for name, value in base.items()}
    for statistic, expected in (("square", 0.8), ("abs", 2 / 3)):
        _, weights = merge_all(zero, signs, VarmSettings(statistic=statistic))
        assert all(listed[1] == pytest.approx(expected) for listed in weights.values())


@FEW
@given(problems(targets=3))
def test_tensor_level_is_sce_without_selection_and_erasure(problem: Any) -> None:
    base, targets = problem
    made, weights = merge_all(base, targets, VarmSettings())
    for name in base:
        tensor = stack(base[name], [target[name] for target in targets])
        ((_, found, pieces),) = sce({name: tensor}, SceSettings(erase=False))
        other = joined(pieces, base[name].shape)
        torch.testing.assert_close(made[name], other, rtol=1e-5, atol=1e-6)
        assert found == pytest.approx(weights[name])


def test_softmax_goes_from_the_largest_to_the_mean() -> None:
    base, targets = torch.zeros(4), [torch.full((4,), 0.1), torch.full((4,), 0.2)]
    tensor = {"m": stack(base, targets)}
    for temperature, expected in ((1e-6, [0.0, 1.0]), (1e6, [0.5, 0.5])):
        settings = VarmSettings(normalisation="softmax", temperature=temperature)
        ((_, weights, _),) = varm(tensor, settings)
        assert weights == pytest.approx(expected, abs=1e-6)


def test_empty_tensors_and_single_weights() -> None:
    empty = {"m": stack(torch.empty(0, 4), [torch.empty(0, 4)] * 2)}
    ((_, weights, pieces),) = varm(empty, VarmSettings())
    assert weights == [0.5, 0.5]
    assert joined(pieces, (0, 4)).shape == (0, 4)
    targets = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert combine(targets, torch.tensor([0.5, 0.5])).tolist() == [2.0, 4.0]


def test_the_mean_is_rounded_once() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(3, 999, generator=generator).bfloat16().float()
    found = mean(targets, torch.ones(3, dtype=torch.float64))
    assert torch.equal(found, targets.double().mean(0).float())
    same = mean(targets[:1].repeat(3, 1), torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64))
    assert torch.equal(same, targets[0])
