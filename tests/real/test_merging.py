"""Merges of perturbed copies of a real model against plain float64 torch; broken copies of it."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.core.errors import BadData
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor, Silent
from harness.engine.store import Store
from harness.merging.merge import merge_checkpoints
from harness.merging.sce import variance
from harness.merging.settings import LinearSettings, MergeParams
from harness.models.chat import prompt_ids
from harness.models.checkpoints import forget_models, load_causal_lm

pytestmark = pytest.mark.real

LOG = logging.getLogger(__name__)  # figures: --log-cli-level=INFO
NOISE = 0.02  # of a tensor's standard deviation
EMBED = "model.embed_tokens.weight"
State = dict[str, Tensor]


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(real_folder: Path) -> Path:
    return real_folder / "smollm2"


def copied(base: Path, folder: Path, state: State, **config: Any) -> Path:
    """A copy of the model's folder with other weights and keys of its config."""
    folder.mkdir()
    for path in base.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    held = {**json.loads((base / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(held))
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def perturbed(state: State, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        made[name] = (value.float() + NOISE * seed * value.float().std() * noise).to(value.dtype)
    return made


@pytest.fixture(scope="module")
def targets(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    state, root = load_file(base / "model.safetensors"), tmp_path_factory.mktemp("targets")
    return [copied(base, root / f"copy{n}", perturbed(state, n)) for n in (1, 2, 3)]


def linear(base: Tensor, targets: Tensor) -> Tensor:
    return targets.mean(0)


def varm(base: Tensor, targets: Tensor) -> Tensor:
    scores = (targets - base).square().flatten(1).mean(1)
    return torch.tensordot(scores / scores.sum(), targets, 1)


def sce(base: Tensor, targets: Tensor, share: float) -> Tensor:
    deltas = (targets - base).flatten(1)
    if share < 1:  # selected by spreads in float32: rounding orders those that are equal
        spread = variance(deltas.float())
        error = (spread - (deltas - deltas.mean(0)).square().mean(0)).abs()
        assert (error <= 1e-6 * deltas.square().mean(0)).all()
        order = spread.sort(descending=True, stable=True).indices
        mask = torch.zeros_like(deltas[0])
        mask[order[: int(share * spread.count_nonzero())]] = 1
        deltas = deltas * mask
    eta = deltas.square().sum(1) / deltas.square().sum()
    kept = deltas * torch.where(deltas.sum(0) >= 0, 1.0, -1.0) > 0
    weights = eta[:, None] * kept
    update = (weights * deltas).sum(0) / weights.sum(0).clamp(min=1e-300)
    return base + update.reshape(base.shape)


def sce_all(base: Tensor, targets: Tensor) -> Tensor:
    return sce(base, targets, 1.0)


def sce_tenth(base: Tensor, targets: Tensor) -> Tensor:
    return sce(base, targets, 0.1)


def merged(
    base: Path, targets: Sequence[Path], root: Path, **params: Any
) -> tuple[Path, list[str]]:
    """Merge through a plan and print time and memory; the folder and the notes."""

    class Heard(Silent):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, stage: object, text: str) -> None:
            self.notes.append(text)

    store, plan, heard = Store(root), Plan(), Heard()
    models = [plan.stage("import_model", ref=str(path)) for path in (base, *targets)]
    stage = plan.stage("merge_models", base=models[0], targets=models[1:], **params)
    before = resident_mib()
    InlineExecutor().execute(plan, [stage], store, heard)
    ledger = store.manifest(stage.id)["ledger"]
    growth = ledger["peak_memory_mib"] - before
    LOG.info("%s: %.1f s, memory grows by %.0f MiB", params, ledger["seconds"], growth)
    return store.artifact(stage.id).path, heard.notes


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        ({"method": "linear"}, linear),
        ({"method": "varm"}, varm),
        ({"method": "sce"}, sce_all),
        ({"method": "sce", "select_topk": 0.1}, sce_tenth),
    ],
    ids=["linear", "varm", "sce", "sce-0.1"],
)
def test_a_merge_equals_plain_torch_in_float64(
    rule: dict[str, Any],
    reference: Callable[[Tensor, Tensor], Tensor],
    base: Path,
    targets: list[Path],
    tmp_path: Path,
) -> None:
    folder, notes = merged(base, targets, tmp_path, rule=rule, dtype="float32")
    assert notes == []
    found, start = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors")
    states = [load_file(path / "model.safetensors") for path in targets]
    assert found.keys() == start.keys()
    worst, bits, entries = 0.0, 0, 0
    for name, value in found.items():
        stack = torch.stack([state[name].double() for state in states])
        expected = reference(start[name].double(), stack)
        scale = stack.abs().amax(0).maximum(start[name].double().abs()).clamp(min=1e-30)
        error = (value.double() - expected).abs() / scale
        worst = max(worst, float(error.max()))
        bits += int((value.bfloat16() != expected.bfloat16()).sum())
        entries += value.numel()
    LOG.info("error %.1e of the largest input; %d of %d differ in bfloat16", worst, bits, entries)
    assert worst < 5e-7
    assert bits == 0 or rule["method"] != "linear"


def test_a_merged_model_answers(base: Path, targets: list[Path], tmp_path: Path) -> None:
    folder, _ = merged(base, targets, tmp_path, rule={"method": "sce"})
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    model, tokenizer = load_causal_lm(folder)
    ids = torch.tensor([prompt_ids(tokenizer, messages)])
    reply = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    text = tokenizer.decode(reply, skip_special_tokens=True)
    LOG.info("%r", text)
    assert "Paris" in text
    forget_models()


def test_permuted_ids_are_refused_or_merged_by_token(
    base: Path, targets: list[Path], tmp_path: Path
) -> None:
    state = load_file(targets[2] / "model.safetensors")
    order = torch.randperm(len(state[EMBED]), generator=torch.Generator().manual_seed(0))
    turned = copied(base, tmp_path / "turned", {**state, EMBED: state[EMBED][order]})
    held = json.loads((base / "tokenizer.json").read_text())
    vocabulary = held["model"]["vocab"]
    tokens = {id: token for token, id in vocabulary.items()}
    place = {int(old): new for new, old in enumerate(order)}
    held["model"]["vocab"] = {tokens[old]: place[old] for old in sorted(tokens, key=place.get)}
    for added in held["added_tokens"]:
        added["id"] = place[added["id"]]
    (turned / "tokenizer.json").write_text(json.dumps(held))
    params = MergeParams(rule=LinearSettings())
    with pytest.raises(BadData, match=r"turned does not fit .* token ids have another token: 0 is"):
        merge_checkpoints(base, [targets[0], turned], tmp_path / "no", params)
    params = MergeParams(rule=LinearSettings(), align_vocabularies=True)
    begun = time.monotonic()
    merge_checkpoints(base, [targets[0], turned], tmp_path / "by_token", params)
    LOG.info("49,152 permuted rows: %.1f s", time.monotonic() - begun)
    merge_checkpoints(base, [targets[0], targets[2]], tmp_path / "by_id", params)
    by_token = (tmp_path / "by_token" / "model.safetensors").read_bytes()
    assert by_token == (tmp_path / "by_id" / "model.safetensors").read_bytes()


def damaged(base: Path, folder: Path, kind: str) -> Path:
    """A copy of the model with a fault of a kind."""
    state = load_file(base / "model.safetensors")
    theta = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    config = {"theta": theta, "heads": {"num_key_value_heads": 9}, "act": {"hidden_act": "gelu"}}
    made = copied(base, folder / kind, state, **config.get(kind, {}))
    held = json.loads((base / "tokenizer.json").read_text())
    if kind == "added":
        one, two = held["added_tokens"][3:5]
        one["content"], two["content"] = two["content"], one["content"]
        words = held["model"]["vocab"]
        for token in (one, two):
            words[token["content"]] = token["id"]
    if kind == "token":
        vocabulary = held["model"]["vocab"]
        vocabulary["Ġnovel_token"] = vocabulary.pop("Ġproperly")
        held["model"]["merges"] = [m for m in held["model"]["merges"] if "".join(m) != "Ġproperly"]
    (made / "tokenizer.json").write_text("{" if kind == "damaged" else json.dumps(held))
    if kind == "rows":
        held = state[EMBED][:49000].clone()
        save_file({**state, EMBED: held}, made / "model.safetensors")
    if kind == "nan":
        state["model.norm.weight"][3] = torch.nan
        save_file(state, made / "model.safetensors")
    if kind == "cut":
        os.truncate(made / "model.safetensors", 10**8)
    return made


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("theta", "rope_theta is 10000.0; expected 100000.0"),
        ("heads", "num_key_value_heads is 9; expected 3"),
        ("act", "hidden_act is gelu; expected silu"),
        ("added", "2 of 49,152 token ids have another token: 3 is '<reponame>'"),
        ("token", "1 of 49,152 token ids have another token"),
        ("damaged", "its tokenizer cannot be read"),
        ("rows", "it lacks 152 tokens"),
        ("nan", 'tensor "model.norm.weight" contains NaN'),
        ("cut", "is missing, damaged or truncated"),
    ],
)
def test_a_broken_copy_is_refused_in_one_sentence(
    kind: str, sentence: str, base: Path, tmp_path: Path
) -> None:
    target = damaged(base, tmp_path, kind)
    with pytest.raises(BadData) as found:
        merge_checkpoints(base, [target], tmp_path / "out", MergeParams(rule=LinearSettings()))
    assert sentence in str(found.value)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_padded_rows_and_old_buffers_change_nothing(
    base: Path, targets: list[Path], tmp_path: Path
) -> None:
    state = load_file(targets[1] / "model.safetensors")
    padding = torch.full((128, state[EMBED].shape[1]), torch.nan, dtype=torch.bfloat16)
    old = {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.ones(32) for n in range(30)}
    state = {**state, **old, EMBED: torch.cat([state[EMBED], padding])}
    padded = copied(base, tmp_path / "padded", state, vocab_size=49280)
    rule = {"method": "varm"}
    plain, _ = merged(base, targets[:2], tmp_path / "one", rule=rule)
    found, notes = merged(base, [targets[0], padded], tmp_path / "two", rule=rule)
    name = "model.safetensors"
    assert (found / name).read_bytes() == (plain / name).read_bytes()
    assert notes == [
        "padded: known buffers are not merged and left out: 30 x "
        "model.layers.*.self_attn.rotary_emb.inv_freq",
        "padded: 49,280 vocabulary rows; the result has 49,152",
    ]
