"""Loading checkpoints by kind, from the cache or fresh, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, EnvironmentProblem, UserError
from harness.models import checkpoints
from harness.models.checkpoints import (
    load_causal_lm,
    load_encoder,
    load_reward_model,
    load_seq2seq,
    load_tokenizer,
)
from tests.tiny_models import make_tokenizer

SMALL = {"vocab_size": 64, "pad_token_id": 0, "eos_token_id": 2}
T5 = SMALL | {
    "decoder_start_token_id": 0,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
}
BART = SMALL | {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
BART |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64}
BERT = SMALL | {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {"intermediate_size": 32, "max_position_embeddings": 64}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5_encoder": ("T5EncoderModel", "T5Config", T5),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART),
    "bart_classifier": ("BartForSequenceClassification", "BartConfig", BART),
    "bert": ("BertModel", "BertConfig", BERT),
    "bert_masked": ("BertForMaskedLM", "BertConfig", BERT),
    "bert_classifier": ("BertForSequenceClassification", "BertConfig", BERT),
}


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    checkpoints.forget_models()
    yield
    checkpoints.forget_models()


@pytest.fixture(scope="module")
def saved(
    tmp_path_factory: pytest.TempPathFactory, llama_folder: Path, reward_folder: Path
) -> Callable[[str], Path]:
    """Folder of a tiny random model of a kind of `MODELS`, "causal" or "reward"."""
    made = {"causal": llama_folder, "reward": reward_folder}

    def folder_of(name: str) -> Path:
        import transformers

        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            kind, config, options = MODELS[name]
            torch.manual_seed(0)
            model = getattr(transformers, kind)(getattr(transformers, config)(**options))
            model.save_pretrained(made[name])
            make_tokenizer().save_pretrained(made[name])
        return made[name]

    return folder_of


@pytest.mark.parametrize(
    ("load", "name", "kind"),
    [
        (load_causal_lm, "causal", "LlamaForCausalLM"),
        (load_seq2seq, "t5", "T5ForConditionalGeneration"),
        (load_seq2seq, "bart", "BartForConditionalGeneration"),
        (load_reward_model, "reward", "LlamaForSequenceClassification"),
        (load_reward_model, "bart_classifier", "BartForSequenceClassification"),
        (load_encoder, "bert", "BertModel"),
        (load_encoder, "bert_masked", "BertModel"),
        (load_encoder, "bert_classifier", "BertModel"),
        (load_encoder, "t5_encoder", "T5EncoderModel"),
    ],
)
def test_models_load_by_kind(
    load: Callable[[Path], Any], name: str, kind: str, saved: Callable[[str], Path]
) -> None:
    model, tokenizer = load(saved(name))
    assert type(model).__name__ == kind
    assert not model.training
    assert model.dtype == torch.float32
    assert load(saved(name))[0] is model
    assert load(saved(name), fresh=True)[0] is not model  # type: ignore[call-arg]
    assert len(load_tokenizer(saved(name))) == len(tokenizer)


@pytest.mark.parametrize(
    ("load", "name", "found", "wanted"),
    [
        (load_causal_lm, "t5", "a sequence-to-sequence model", "a causal language model"),
        (load_causal_lm, "reward", "a sequence classifier", "a causal language model"),
        (load_causal_lm, "bert_masked", "an encoder", "a causal language model"),
        (load_seq2seq, "causal", "a causal language model", "a sequence-to-sequence model"),
        (load_seq2seq, "bert", "of another kind", "a sequence-to-sequence model"),
        (load_seq2seq, "t5_encoder", "an encoder", "a sequence-to-sequence model"),
        (load_reward_model, "causal", "a causal language model", "a sequence classifier"),
        (load_encoder, "causal", "a causal language model", "an encoder"),
        (load_encoder, "bart", "a sequence-to-sequence model", "an encoder"),
    ],
)
def test_another_kind_is_refused(
    load: Callable[[Path], Any], name: str, found: str, wanted: str, saved: Callable[[str], Path]
) -> None:
    with pytest.raises(BadData, match=rf"is {found} \(\w+\); this step needs {wanted}$"):
        load(saved(name))


def test_a_sequence_to_sequence_model_gives_what_was_saved(saved: Callable[[str], Path]) -> None:
    import transformers

    model, _ = load_seq2seq(saved("t5"))
    direct = transformers.T5ForConditionalGeneration.from_pretrained(saved("t5")).eval()
    batch = {"input_ids": torch.tensor([[3, 4, 5]]), "labels": torch.tensor([[6, 7]])}
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, direct(**batch).logits)


def test_an_encoder_gets_a_new_head(saved: Callable[[str], Path]) -> None:
    for name in ("bert", "bert_masked", "bert_classifier"):
        model, _ = load_encoder(saved(name), labels=5)
        assert model.config.problem_type == "multi_label_classification"
        assert model.classifier.out_features == 5
    with pytest.raises(BadData, match="this step needs an encoder"):
        load_encoder(saved("causal"), labels=5)


def test_parts_of_a_folder_load_by_name(saved: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(saved("t5"), tmp_path / "generator")
    shutil.copytree(saved("bert"), tmp_path / "retriever")
    generator, _ = load_seq2seq(tmp_path, part="generator")
    retriever, _ = load_encoder(tmp_path, part="retriever")
    assert type(generator).__name__ == "T5ForConditionalGeneration"
    assert type(retriever).__name__ == "BertModel"
    assert len(load_tokenizer(tmp_path, "retriever")) == len(make_tokenizer())
    with pytest.raises(UserError, match=r"several checkpoints \(generator, retriever\)"):
        load_causal_lm(tmp_path)


def test_loaded_models_are_kept_and_fresh_ones_are_not(llama_folder: Path) -> None:
    first = load_causal_lm(llama_folder)
    assert load_causal_lm(llama_folder)[0] is first[0]
    assert load_causal_lm(llama_folder, fresh=True)[0] is not first[0]
    assert load_causal_lm(llama_folder)[0] is first[0]


def test_the_cache_is_small(llama_folder: Path, tmp_path: Path) -> None:
    for number in range(6):
        copy = tmp_path / str(number)
        shutil.copytree(llama_folder, copy)
        load_causal_lm(copy)
    assert len(checkpoints._LOADED) == checkpoints._KEEP["cpu"]


def test_reward_models(reward_folder: Path) -> None:
    model, tokenizer = load_reward_model(reward_folder)
    assert model.config.num_labels == 1
    assert len(tokenizer) == 300


def test_a_hub_model_without_network_says_what_to_do() -> None:
    with pytest.raises(EnvironmentProblem, match="path of a local copy instead, or unset HF_HUB"):
        load_causal_lm("crucible-bench/not-here")


def test_a_broken_checkpoint(llama_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(llama_folder, copy)
    (copy / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(BadData, match="cannot be loaded as a model"):
        load_causal_lm(copy)


def test_code_in_a_checkpoint_is_not_run_unasked(llama_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(llama_folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "own"
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match="set trust_remote_code = true"):
        load_causal_lm(copy)
