"""Merges by token, over padded rows and old buffers, with models and tokenizers of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.errors import BadData
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.merging import pieces
from harness.merging.merge import merge_checkpoints
from harness.merging.settings import (
    LinearSettings,
    MergekitParams,
    MergeParams,
    SceSettings,
    VarmSettings,
)
from harness.merging.with_mergekit import run_mergekit
from tests.harness.merging.conftest import write_tokenizer
from tests.harness.merging.test_merging import Reports, weights_of

KINDS = ("llama", "tied", "neox", "gpt2", "gemma2", "qwen3", "phi", "bart")
ROWS = 40
TOKENS = [f"t{id}" for id in range(ROWS)]
ORDER = [0, 1, 2, *reversed(range(3, ROWS))]  # of the rows in a permuted copy
SIZES = {
    "vocab_size": ROWS, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
OF_KIND = {
    "gpt2": {"vocab_size": ROWS, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": ROWS},
    "bart": {"vocab_size": ROWS, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2,
             "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": ROWS},
}  # fmt: skip


@pytest.fixture(autouse=True)
def larger_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 50)  # no multiple of a row


def model_of(kind: str) -> Any:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = {"tied": "llama", "neox": "gpt_neox"}.get(kind, kind)
    sizes = {**OF_KIND.get(kind, SIZES)} | ({"tie_word_embeddings": True} if kind == "tied" else {})
    config = CONFIG_MAPPING[family](**sizes)
    auto = "AutoModelForSeq2SeqLM" if kind == "bart" else "AutoModelForCausalLM"
    torch.manual_seed(0)
    return getattr(transformers, auto).from_config(config)


def save(model: Any, folder: Path, seed: int, tokens: list[str] = TOKENS) -> Path:
    """A checkpoint with its weights, changed at random."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in (*model.parameters(), *model.buffers()):
            if parameter.is_floating_point():
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    write_tokenizer(folder, tokens)
    return folder


def reordered(source: Path, folder: Path, rows: list[str]) -> Path:
    """A copy with permuted ids: the same model in other words."""
    folder.mkdir()
    state = load_file(source / "model.safetensors")
    for name in rows:
        value = state[name]
        state[name] = (value[:, ORDER] if value.shape[0] == 1 else value[ORDER]).contiguous()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text((source / "config.json").read_text())
    write_tokenizer(folder, [TOKENS[id] for id in ORDER])
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_permuted_ids_are_refused_or_merged_by_token(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    base, one, two = (save(model, tmp_path / str(seed), seed) for seed in range(3))
    state = load_file(base / "model.safetensors")
    rows = [name for name, value in state.items() if ROWS in value.shape and "posit" not in name
            and "wpe" not in name and "mlp" not in name]  # fmt: skip
    turned = reordered(two, tmp_path / "turned", rows)
    params = MergeParams(rule=VarmSettings())
    with pytest.raises(BadData, match=r"turned does not fit .* 36 of 40 token ids have another"):
        merge_checkpoints(base, [one, turned], tmp_path / "no", params)
    notes: list[str] = []
    params = MergeParams(rule=VarmSettings(), align_vocabularies=True)
    merge_checkpoints(base, [one, turned], tmp_path / "by_token", params, note=notes.append)
    merge_checkpoints(base, [one, two], tmp_path / "by_id", params)
    expected = weights_of(tmp_path / "by_id")
    for name, value in weights_of(tmp_path / "by_token").items():
        assert torch.equal(value, expected[name]), name
    assert notes == ["turned: vocabulary rows permuted by token, 36 had another id"]
    assert notes[0] in (tmp_path / "by_token" / "README.md").read_text()


@pytest.mark.parametrize(
    "rule", [LinearSettings(), VarmSettings(level="model"), SceSettings(select_topk=0.5)]
)
def test_padding_changes_no_weight(rule: Any, tmp_path: Path) -> None:
    model = model_of("llama")
    base, one, two = (save(model, tmp_path / str(seed), seed) for seed in range(3))
    merge_checkpoints(base, [one, two], tmp_path / "plain", MergeParams(rule=rule))
    model.resize_token_embeddings(64)
    padded = save(model, tmp_path / "padded", 3)
    state, wide = load_file(two / "model.safetensors"), load_file(padded / "model.safetensors")
    for name, value in state.items():
        wide[name] = torch.cat([value, wide[name][len(value) :]])
    save_file(wide, padded / "model.safetensors", {"format": "pt"})
    merge_checkpoints(base, [one, padded], tmp_path / "from", MergeParams(rule=rule))
    expected = weights_of(tmp_path / "plain")
    assert all(torch.equal(expected[n], v) for n, v in weights_of(tmp_path / "from").items())
    merge_checkpoints(padded, [one, two], tmp_path / "onto", MergeParams(rule=rule))
    onto = weights_of(tmp_path / "onto")
    assert torch.equal(onto["lm_head.weight"][ROWS:], wide["lm_head.weight"][ROWS:])
    assert json.loads((tmp_path / "onto" / "config.json").read_text())["vocab_size"] == 64


@pytest.fixture
def awkward(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """A base and two targets, plain; and the same with buffers, padding and permuted ids."""
    model = model_of("llama")
    plain = [save(model, tmp_path / str(seed), seed) for seed in range(3)]
    rows = ["model.embed_tokens.weight", "lm_head.weight"]
    turned = reordered(plain[2], tmp_path / "turned", rows)
    for number, folder in enumerate((plain[0], plain[1])):
        (tmp_path / f"old{number}").mkdir()
        for path in folder.iterdir():
            (tmp_path / f"old{number}" / path.name).write_bytes(path.read_bytes())
    for name in ("old0", "turned"):
        state = load_file(tmp_path / name / "model.safetensors")
        state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4).double()
        save_file(state, tmp_path / name / "model.safetensors", {"format": "pt"})
    state = load_file(tmp_path / "old1" / "model.safetensors")
    for name in rows:
        state[name] = torch.cat([state[name], torch.full((24, 16), torch.nan)])
    save_file(state, tmp_path / "old1" / "model.safetensors", {"format": "pt"})
    return plain, [tmp_path / "old0", tmp_path / "old1", turned]


def test_mergekit_gets_the_same_rows(awkward: Any, tmp_path: Path) -> None:
    pytest.importorskip("mergekit")
    (base, *targets), (old, *others) = awkward
    params: dict[str, Any] = {"method": "ties", "parameters": {"weight": 0.5, "density": 0.7}}
    run_mergekit(base, targets, tmp_path / "plain", MergekitParams(**params))
    with pytest.raises(BadData, match=r"turned does not fit .* token ids have another token"):
        run_mergekit(old, others, tmp_path / "no", MergekitParams(**params))
    notes: list[str] = []
    settings = MergekitParams(**params, align_vocabularies=True)
    run_mergekit(old, others, tmp_path / "aligned", settings, notes.append)
    found, expected = weights_of(tmp_path / "aligned"), weights_of(tmp_path / "plain")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(notes) == 4
    assert json.loads((tmp_path / "aligned" / "merge.json").read_text())["notes"] == notes
    assert not [path for path in (tmp_path / "aligned").iterdir() if path.is_dir()]


def test_notes_are_said_by_the_stage(awkward: Any, tmp_path: Path) -> None:
    store, reports, plan = Store(tmp_path / "store"), Reports(), Plan()
    models = [plan.stage("import_model", ref=str(path)) for path in awkward[1]]
    inputs: dict[str, Any] = {"base": models[0], "targets": models[1:]}
    rule = {"method": "linear"}
    aligned = plan.stage("merge_models", **inputs, rule=rule, align_vocabularies=True)
    plain = plan.stage("merge_models", **inputs, rule=rule)
    assert plain.id != aligned.id
    assert "align_vocabularies" not in plan.stages[plain.id].params.model_dump()
    InlineExecutor().execute(plan, [aligned], store, reports)
    assert len(reports.notes) == 4
    assert store.manifest(aligned.id)["notes"] == reports.notes
    with pytest.raises(BadData, match="Set align_vocabularies = true"):
        InlineExecutor().execute(plan, [plain], store, reports)
