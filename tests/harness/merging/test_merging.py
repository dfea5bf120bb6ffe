"""Streaming merges: equal to merges in memory, whole or absent, with cards, through the engine."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.core.errors import BadData, StoreProblem, UserError
from harness.core.hashing import folder_digest
from harness.engine.operations import Estimate
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.merging import pieces
from harness.merging.merge import merge_checkpoints
from harness.merging.pieces import joined, stack
from harness.merging.sce import sce
from harness.merging.settings import LinearSettings, MergeParams, SceSettings, VarmSettings
from harness.merging.varm import group_of, linear, varm
from harness.models.references import model_identity

Make = Callable[..., Any]
VARM, SCE = MergeParams(rule=VarmSettings()), MergeParams(rule=SceSettings())
RULES = {
    **{level: VarmSettings(level=level) for level in ("element", "module", "layer", "model")},
    "mean": LinearSettings(weights=(1.0, 3.0, 2.0)),
    "sce": SceSettings(),
    "selected": SceSettings(select_topk=0.3),
    "fork": SceSettings(select_topk=0.3, select_applies_to="coefficients"),
}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def in_memory(base: Path, targets: list[Path], rule: Any) -> dict[str, torch.Tensor]:
    first, *others = (weights_of(path) for path in (base, *targets))
    groups: dict[str, dict[str, Any]] = {}
    for name in first:
        tensor = stack(first[name], [other[name] for other in others])
        level = getattr(rule, "level", "tensor")
        groups.setdefault(group_of(name, level), {})[name] = tensor
    made = {}
    for group, members in groups.items():
        if rule.method == "linear":
            merged = linear(members, rule)
        else:
            merged = sce(members, rule) if rule.method == "sce" else varm(members, rule, group)
        for name, _, parts in merged:
            made[name] = joined(parts, first[name].shape)
    return made


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_streamed_merge_equals_one_in_memory(family: Make, tmp_path: Path, rule: Any) -> None:
    base, targets = family(dtype=torch.bfloat16, shards=3)
    expected = in_memory(base, targets, rule)
    torch.set_num_threads(2)
    merge_checkpoints(base, targets, tmp_path / "out", MergeParams(rule=rule, shard_gb=1e-7))
    found = weights_of(tmp_path / "out")
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, expected[name].bfloat16())
    assert torch.get_num_threads() == 2


def test_bytes_depend_on_neither_threads_nor_time(family: Make, tmp_path: Path) -> None:
    base, targets = family()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        merge_checkpoints(base, targets, tmp_path / f"{threads}", SCE)
    assert folder_digest(tmp_path / "1") == folder_digest(tmp_path / "3")


def test_files_have_the_size_asked_for_and_an_index(family: Make, tmp_path: Path) -> None:
    base, targets = family()
    merge_checkpoints(
        base, targets, tmp_path / "out", MergeParams(rule=SceSettings(), shard_gb=2e-7)
    )
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert [file.name[-14:] for file in files] == [f"{len(files):05}.safetensors"[-14:]] * len(
        files
    )
    assert len(files) > 1
    for file in files:
        held = load_file(file)
        assert len(held) == 1 or sum(value.nbytes for value in held.values()) <= 200
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert {name: file.name for file in files for name in load_file(file)} == index["weight_map"]
    assert index["metadata"]["total_size"] == sum(v.nbytes for v in weights_of(base).values())
    single = tmp_path / "single"
    merge_checkpoints(base, targets, single, SCE)
    assert not list(single.glob("*.index.json"))


def test_a_merged_file_has_the_rights_of_any_new_file(family: Make, tmp_path: Path) -> None:
    base, targets = family()
    before = os.umask(0o022)
    try:
        merge_checkpoints(base, targets, tmp_path / "out", SCE)
    finally:
        os.umask(before)
    mode = (tmp_path / "out" / "model.safetensors").stat().st_mode
    assert mode & 0o777 == 0o644


def test_dtypes_stay_or_are_as_asked(write: Make, tensors: Make, tmp_path: Path) -> None:
    base = tensors(0)
    base["odd"] = torch.ones(3)
    folders = [
        write(name, value, half="odd", dtype=torch.float32, torch_dtype="float32", ids=None)
        for name, value in (("b", base), ("t", tensors(1) | {"odd": torch.ones(3) * 2}))
    ]
    merge_checkpoints(folders[0], folders[1:], tmp_path / "out", VARM)
    assert {n: v.dtype for n, v in weights_of(tmp_path / "out").items()} == {
        n: v.dtype for n, v in weights_of(folders[0]).items()
    }
    params = MergeParams(rule=VarmSettings(), dtype="bfloat16")
    merge_checkpoints(folders[0], folders[1:], tmp_path / "half", params)
    assert {v.dtype for v in weights_of(tmp_path / "half").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "half/config.json").read_text())["torch_dtype"] == "bfloat16"
    large = [write(n, {"w": torch.full((9,), 1e5)}) for n in ("l0", "l1")]
    with pytest.raises(BadData, match='"w": merged entries are not finite'):
        merge_checkpoints(
            large[0], large[1:], tmp_path / "x", MergeParams(rule=VarmSettings(), dtype="float16")
        )
    assert not (tmp_path / "x").exists()


def test_buffers_that_are_not_floats_are_copied(write: Make, tensors: Make, tmp_path: Path) -> None:
    ids = {"ids": torch.arange(9), "flag": torch.tensor([True])}
    folders = [write(f"m{n}", {**tensors(n), **ids}) for n in range(2)]
    halved = VARM.model_copy(update={"dtype": "bfloat16"})
    merge_checkpoints(folders[0], folders[1:], tmp_path / "out", halved)
    found = weights_of(tmp_path / "out")
    assert torch.equal(found["ids"], ids["ids"])
    assert found["flag"].tolist() == [True]
    assert (found["ids"].dtype, found["flag"].dtype) == (torch.int64, torch.bool)


def test_small_files_are_the_bases_and_cards_say_what_was_done(
    family: Make, tmp_path: Path
) -> None:
    base, targets = family(2, rope_theta=1e6)
    (base / "generation_config.json").write_text('{"do_sample": true}')
    out = tmp_path / "out"
    merge_checkpoints(base, targets, out, VARM)
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    config = json.loads((out / "config.json").read_text())
    assert config == json.loads((base / "config.json").read_text())
    card = json.loads((out / "merge.json").read_text())
    assert [model["name"] for model in card["models"]] == ["base", "t1", "t2"]
    assert card["models"][1]["identity"] == model_identity(targets[0])
    assert card["settings"] == VARM.model_dump(mode="json")
    assert card["weights"].keys() == weights_of(base).keys()
    assert all(sum(listed) == pytest.approx(1) for listed in card["weights"].values())
    readme = (out / "README.md").read_text()
    assert "| 2 x model.layers.*.mlp.up_proj.weight | 0." in readme
    assert card["models"][0]["identity"] in readme
    assert json.dumps(card["settings"], sort_keys=True) in readme, "in one order for all merges"
    assert {path.name for path in out.iterdir()} == {
        "README.md", "chat_template.jinja", "config.json", "generation_config.json",
        "merge.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_bad_input_leaves_nothing(family: Make, write: Make, tensors: Make, tmp_path: Path) -> None:
    base, targets = family(1)
    with pytest.raises(UserError, match="no targets to merge; expected at least one"):
        merge_checkpoints(base, [], tmp_path / "out", VARM)
    params = MergeParams(rule=LinearSettings(weights=(1.0, 2.0)))
    with pytest.raises(UserError, match="2 weights for 1 targets"):
        merge_checkpoints(base, targets, tmp_path / "out", params)
    with pytest.raises(ValueError, match="sum above 0"):
        LinearSettings(weights=(1.0, -1.0))
    ill = tensors(1)
    ill["model.norm.weight"][2] = torch.nan
    before = {path.name for path in tmp_path.iterdir()} | {"ill"}
    with pytest.raises(BadData, match=r'ill: tensor "model\.norm\.weight" contains NaN'):
        merge_checkpoints(base, [*targets, write("ill", ill)], tmp_path / "out", VARM)
    assert {path.name for path in tmp_path.iterdir()} == before
    with pytest.raises(UserError, match="exists already"):
        merge_checkpoints(base, targets, base, VARM)


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """A disk that is full, as the kernel tells it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_leaves_nothing(
    family: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, targets = family()
    before = {path.name for path in tmp_path.iterdir()}
    with files_end_at(1200), pytest.raises(StoreProblem, match="ulimit -f"):
        merge_checkpoints(base, targets, tmp_path / "out", SCE)
    assert {path.name for path in tmp_path.iterdir()} == before

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("harness.merging.writing.os.pwrite", full)
        with pytest.raises(StoreProblem, match=r"no space left for .*nothing of it was kept"):
            merge_checkpoints(base, targets, tmp_path / "out", SCE)
    assert {path.name for path in tmp_path.iterdir()} == before
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("harness.merging.writing.shutil.disk_usage", lambda _: usage)
    with pytest.raises(StoreProblem, match=r"has 0\.00 GB free"):
        merge_checkpoints(base, targets, tmp_path / "out", SCE)
    assert {path.name for path in tmp_path.iterdir()} == before


def killed_half_way(done: int, total: int, unit: str) -> None:
    if done == total // 2:
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_merge_leaves_cannot_be_loaded_and_is_cleared(
    family: Make, tmp_path: Path
) -> None:
    base, (target,) = family(1)
    out, left = tmp_path / "out", tmp_path / ".out.partial"
    merging = multiprocessing.get_context("fork").Process(
        target=merge_checkpoints, args=(base, [target], out, SCE, killed_half_way)
    )
    merging.start()
    merging.join()
    assert merging.exitcode == -signal.SIGKILL
    assert not out.exists()
    assert (left / "model.safetensors").exists()
    assert not (left / "config.json").exists()
    with pytest.raises(UserError, match="contains no model"):
        model_identity(left)
    (left / "rubbish").mkdir()
    merge_checkpoints(base, [target], out, SCE)
    assert not left.exists()
    assert not (out / "rubbish").exists()


def test_everything_is_flushed_before_the_folder_appears(
    family: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, targets = family()
    flushed, out = set(), tmp_path / "out"
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        if not out.exists():
            flushed.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    merge_checkpoints(base, targets, out, VARM)
    assert {path.stat().st_ino for path in (out, *out.iterdir())} <= flushed


@pytest.mark.parametrize("kind", ["llama", "neox", "tied"])
def test_transformers_loads_the_result(
    make_tiny_model: Make,
    make_byte_tokenizer: Make,
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setattr(pieces, "PIECE", 1000)
    options = {"tie_word_embeddings": True} if kind == "tied" else {}
    family = "qwen" if kind == "tied" else kind
    folders = [tmp_path / f"{kind}{seed}" for seed in range(3)]
    for seed, folder in enumerate(folders):
        make_tiny_model(family, seed=seed, **options).save_pretrained(folder)
    make_byte_tokenizer().save_pretrained(folders[0])
    params = MergeParams(rule=VarmSettings(level="module"), shard_gb=2e-5)
    merge_checkpoints(folders[0], folders[1:], tmp_path / "out", params)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())
    expected = in_memory(folders[0], folders[1:], VarmSettings(level="module"))
    state = model.state_dict()
    same = [torch.equal(state[name], expected[name]) for name in expected.keys() & state.keys()]
    assert all(same)
    assert len(same) >= len(expected) - 1  # neox calls its head otherwise in memory
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


class Reports:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int, str]] = []
        self.notes: list[str] = []

    def begin(self, *_: Any) -> None: ...
    def note(self, stage: Any, text: str) -> None:
        self.notes.append(text)

    def end(self, *_: Any) -> None: ...
    def progress(self, stage: Any, done: int, total: int, unit: str) -> None:
        self.seen.append((done, total, unit))


def test_a_plan_merges_models_once(family: Make, tmp_path: Path) -> None:
    store, reports = Store(tmp_path / "store"), Reports()
    base, targets = family(2)
    plan = Plan()
    models = [
        plan.stage("import_model", ref=str(path), hint=Estimate(parameters_b=7.0))
        for path in (base, *targets)
    ]
    rule = {"method": "varm", "level": "layer"}
    merged = plan.stage("merge_models", base=models[0], targets=models[1:], rule=rule)
    assert plan.estimates()[merged.id] == Estimate(parameters_b=7.0)
    first = InlineExecutor().execute(plan, [merged], store, reports)
    assert (len(first.executed), reports.seen[-1]) == (4, (9, 9, "tensors"))
    artifact = store.artifact(merged.id)
    expected = in_memory(base, targets, VarmSettings(level="layer"))
    assert all(torch.equal(weights_of(artifact.path)[n], v) for n, v in expected.items())
    assert artifact.read_json("merge.json")["models"][0]["name"] == "base"
    assert not list(store.root.glob("partial/*"))
    assert InlineExecutor().execute(plan, [merged], store).executed == ()
    turned = plan.stage("merge_models", base=models[0], targets=models[:0:-1], rule=rule)
    assert turned.id != merged.id


def test_the_identity_of_a_merged_model_is_that_of_its_weights(
    family: Make, tmp_path: Path
) -> None:
    base, targets = family(1)
    for out, rule in (("a", VarmSettings()), ("b", SceSettings(erase=False))):
        merge_checkpoints(base, targets, tmp_path / out, MergeParams(rule=rule))
    assert model_identity(tmp_path / "a") == model_identity(tmp_path / "b")
