"""Merges through mergekit: linear, task arithmetic, TIES, DARE, SLERP, and SCE to compare with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.core.errors import BadData, MissingExtra, UserError
from harness.engine.operations import Estimate
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.merging import pieces
from harness.merging.merge import merge_checkpoints
from harness.merging.settings import LinearSettings, MergekitParams, MergeParams, SceSettings
from harness.merging.with_mergekit import configuration, run_mergekit

State = dict[str, torch.Tensor]
Merge = Callable[..., State]


@pytest.fixture(autouse=True)
def larger_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1000)


@pytest.fixture(scope="module")
def llamas(
    tmp_path_factory: pytest.TempPathFactory,
    make_tiny_model: Callable[..., Any],
    make_byte_tokenizer: Callable[..., Any],
) -> list[Path]:
    pytest.importorskip("mergekit")
    root = tmp_path_factory.mktemp("llamas")
    folders = [root / str(seed) for seed in range(3)]
    for seed, folder in enumerate(folders):
        make_tiny_model(seed=seed).save_pretrained(folder)
    make_byte_tokenizer().save_pretrained(folders[0])
    return folders


@pytest.fixture
def merge(llamas: list[Path], tmp_path: Path) -> Merge:
    def run(method: str, name: str = "out", **params: Any) -> State:
        settings = MergekitParams(method=method, **params)
        run_mergekit(llamas[0], llamas[1:], tmp_path / name, settings)
        return load_file(tmp_path / name / "model.safetensors")

    return run


@pytest.fixture
def states(llamas: list[Path]) -> list[State]:
    return [load_file(folder / "model.safetensors") for folder in llamas]


def test_linear_and_task_arithmetic_are_weighted_sums(merge: Merge, states: list[State]) -> None:
    base, one, two = states
    linear = merge("linear", weights=(1.0, 3.0))
    arithmetic = merge("task_arithmetic", "ta", weights=(0.3, 0.5))
    for name in base:
        torch.testing.assert_close(linear[name], (one[name] + 3 * two[name]) / 4)
        moved = 0.3 * (one[name] - base[name]) + 0.5 * (two[name] - base[name])
        torch.testing.assert_close(arithmetic[name], base[name] + moved, rtol=1e-5, atol=1e-6)


def test_ties_and_slerp_have_their_limits(merge: Merge, states: list[State]) -> None:
    base, one, two = states
    name = "model.layers.0.mlp.up_proj.weight"
    ties = merge("ties", weights=(1.0, 1.0), parameters={"density": 1.0, "normalize": True})
    deltas = torch.stack([one[name] - base[name], two[name] - base[name]])
    keep = deltas.sign() == deltas.sum(0).sign()
    expected = base[name] + (deltas * keep).sum(0) / keep.sum(0)
    torch.testing.assert_close(ties[name], expected, rtol=1e-4, atol=1e-5)
    for t, end in ((0.0, one), (1.0, two)):
        turned = merge("slerp", f"slerp{t}", parameters={"t": t})
        torch.testing.assert_close(turned[name], end[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["dare_ties", "dare_linear"])
def test_dare_depends_on_its_seed_alone(merge: Merge, method: str) -> None:
    params: dict[str, Any] = {"weights": (0.5, 0.5), "parameters": {"density": 0.5}}
    before = torch.get_rng_state()
    first = merge(method, "first", seed=1, **params)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    again = merge(method, "again", seed=1, **params)
    other = merge(method, "other", seed=2, **params)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("weights", [(), (1.0, 3.0)])
def test_our_mean_is_mergekits(
    weights: tuple[float, ...], merge: Merge, llamas: list[Path], tmp_path: Path
) -> None:
    theirs = merge("linear", weights=weights or (1.0, 1.0))
    params = MergeParams(rule=LinearSettings(weights=weights))
    merge_checkpoints(llamas[0], llamas[1:], tmp_path / "ours", params)
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("tau", [1.0, 0.2])
def test_our_sce_in_mergekits_reading_is_mergekits(
    merge: Merge, llamas: list[Path], tmp_path: Path, tau: float
) -> None:
    theirs = merge("sce", parameters={"select_topk": tau})
    rule = SceSettings(select_topk=tau, zero_threshold="mergekit")
    merge_checkpoints(llamas[0], llamas[1:], tmp_path / "ours", MergeParams(rule=rule))
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)


def test_the_result_is_a_checkpoint_with_cards(
    merge: Merge, llamas: list[Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merge("linear", weights=(1.0, 1.0), dtype="bfloat16")
    out = tmp_path / "out"
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert {path.name for path in out.iterdir()} >= {"merge.json", "README.md", "tokenizer.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_does_not_fit_is_refused_and_leaves_nothing(
    llamas: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [Path("a"), Path("b")]
    with pytest.raises(UserError, match="1 weights for 2 targets"):
        configuration(paths[0], paths, MergekitParams(method="linear", weights=(1.0,)))
    with pytest.raises(UserError, match="slerp with 1 targets; expected two"):
        configuration(paths[0], paths[:1], MergekitParams(method="slerp"))
    with pytest.raises(UserError, match="mergekit slerp: "):
        run_mergekit(llamas[0], llamas[1:], tmp_path / "out", MergekitParams(method="slerp"))

    def stacked(config: Any, out: str, options: Any) -> None:
        from safetensors.torch import save_file

        state = load_file(llamas[0] / "model.safetensors")
        state["model.norm.weight"] = state["model.norm.weight"].repeat(2, 1)
        Path(out).mkdir()
        (Path(out) / "config.json").write_text("{}")
        save_file(state, Path(out) / "model.safetensors")

    monkeypatch.setattr("mergekit.merge.run_merge", stacked)
    with pytest.raises(BadData, match=r'"model\.norm\.weight" has shape \[2, 32\]'):
        run_mergekit(llamas[0], llamas[1:], tmp_path / "out", MergekitParams(method="sce"))
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "mergekit.config", None)
    with pytest.raises(MissingExtra, match=r"crucible-bench\[merge\]"):
        run_mergekit(llamas[0], llamas[1:], tmp_path / "out", MergekitParams(method="linear"))


def test_a_model_may_be_a_target_twice(merge: Merge, llamas: list[Path], tmp_path: Path) -> None:
    settings = MergekitParams(method="linear", weights=(1.0, 1.0, 2.0))
    run_mergekit(llamas[0], [llamas[1], llamas[1], llamas[2]], tmp_path / "thrice", settings)
    expected = merge("linear", weights=(1.0, 1.0))
    for name, value in load_file(tmp_path / "thrice" / "model.safetensors").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-7)


def test_a_plan_merges_through_mergekit(llamas: list[Path], tmp_path: Path) -> None:
    store, plan = Store(tmp_path), Plan()
    models = [
        plan.stage("import_model", ref=str(path), hint=Estimate(parameters_b=1.0))
        for path in llamas
    ]
    merged = plan.stage(
        "merge_by_mergekit",
        base=models[0],
        targets=models[1:],
        method="ties",
        weights=(0.5, 0.5),
        parameters={"density": 0.5},
    )
    InlineExecutor().execute(plan, [merged], store)
    assert store.artifact(merged.id).read_json("merge.json")["settings"]["method"] == "ties"
