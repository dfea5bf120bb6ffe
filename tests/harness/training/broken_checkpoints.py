"""Changes to a tiny checkpoint, each a fault that real ones have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.tiny_models import TEMPLATE, make_model, make_tokenizer

Change = Callable[[Path], object]


def edit(name: str, **changes: Any) -> Change:
    """Set keys of a JSON file; `...` removes one."""

    def apply(folder: Path) -> None:
        found = json.loads((folder / name).read_text()) | changes
        kept = {key: value for key, value in found.items() if value is not ...}
        (folder / name).write_text(json.dumps(kept))

    return apply


def generation(**changes: Any) -> Change:
    return edit("generation_config.json", **changes)


def config(**changes: Any) -> Change:
    return edit("config.json", **changes)


def text(name: str, content: str) -> Change:
    return lambda folder: (folder / name).write_text(content)


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def apply(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def tokenizer(change: Callable[[Any], object]) -> Change:
    def apply(folder: Path) -> None:
        made = make_tokenizer()
        change(made)
        made.save_pretrained(folder)

    return apply


def template(value: Any) -> Change:
    def apply(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        edit("tokenizer_config.json", chat_template=value)(folder)

    return apply


def cut_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shards(folder: Path) -> list[Path]:
    (folder / "model.safetensors").unlink()
    make_model("llama").save_pretrained(folder, max_shard_size="5KB")
    return sorted(folder.glob("model-*.safetensors"))


def missing_shard(folder: Path) -> None:
    shards(folder)[1].unlink()


def index_without_a_tensor(folder: Path) -> None:
    for path in shards(folder):
        tensors_of = load_file(path)
        tensors_of.pop("model.layers.0.mlp.up_proj.weight", None)
        save_file(tensors_of, path, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    del table["weight_map"]["model.layers.0.mlp.up_proj.weight"]
    index.write_text(json.dumps(table))


def other_weights_file(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")


def tied_apart(folder: Path) -> None:
    make_model("tied").save_pretrained(folder)
    apart = {"lm_head.weight": torch.randn(len(make_tokenizer()), 16)}
    tensors(lambda state: state.update(apart))(folder)


def adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    text("adapter_config.json", '{"base_model_name_or_path": "org/base"}')(folder)


def pad_beyond(made: Any) -> None:
    made.add_special_tokens({"pad_token": "<new>"})


def template_with_a_new_token(made: Any) -> None:
    made.add_special_tokens({"additional_special_tokens": ["<u>", "<a>", "<new>"]})
    made.chat_template = TEMPLATE.replace("'<u>'", "'<new>'")


def without_end(made: Any) -> None:
    made.eos_token = None
    made.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def of_another_model(folder: Path) -> None:
    from tests.harness.conftest import byte_tokenizer

    byte_tokenizer().save_pretrained(folder)


UP = "model.layers.1.mlp.up_proj.weight"
EIGHT = {UP: torch.ones(32, 16, dtype=torch.int8)}
SCALED = {UP: torch.ones(32, 16, dtype=torch.bfloat16), f"{UP}_scale_inv": torch.ones(1)}
FP8 = {UP: torch.ones(32, 16).to(torch.float8_e4m3fn)}

# Contradictions of a generation_config.json that loads: the flags, and those that are named.
CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "temperature": {"do_sample": False, "temperature": 0.6},
    "top_p": {"top_p": 0.9},
    "top_k": {"do_sample": False, "top_k": 20},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.5},
    "epsilon_cutoff": {"epsilon_cutoff": 0.1},
    "early_stopping": {"num_beams": 1, "early_stopping": True},
    "length_penalty": {"length_penalty": 2.0},
    "cache_implementation": {"use_cache": False, "cache_implementation": "static"},
    "output_scores": {"output_scores": True},
    "pad_token_id": {"pad_token_id": -1},
}

# Checkpoints that no training starts from: the change, and words of the sentence.
REFUSED: dict[str, tuple[Change, str]] = {
    "early stopping of a third kind": (
        generation(early_stopping="maybe"),
        "its generation_config.json is invalid: `early_stopping` must be",
    ),
    "unknown cache": (generation(cache_implementation="no"), "generation_config.json is invalid"),
    "several greedy answers": (generation(num_return_sequences=3), "json is invalid: Greedy"),
    "no new tokens": (generation(max_new_tokens=-1), "is invalid: `max_new_tokens`"),
    "end token as text": (generation(eos_token_id="</s>"), "json is '</s>'; expected a token id"),
    "generation config cut": (text("generation_config.json", "{"), "generation_config.json, line"),
    "generation config a list": (text("generation_config.json", "[]"), "json is invalid"),
    "no model type": (config(model_type=...), "`model_type` key"),
    "no hidden size": (config(hidden_size=...), "in its files, but .* by its config.json"),
    "no number of heads": (config(num_attention_heads=...), "not a multiple of the number of"),
    "heads as text": (config(num_attention_heads="two"), "expected int, got str"),
    "unknown activation": (config(hidden_act="nope"), "cannot be loaded as a model: KeyError"),
    "a layer too many": (config(num_hidden_layers=3), "no weights for model.layers.2.* 6 more"),
    "a layer too few": (config(num_hidden_layers=1), "no place for model.layers.1.* and 6 more"),
    "vocabulary too large": (config(vocab_size=100), "43 x 16 in its files, but 100 x 16 by its"),
    "vocabulary too small": (config(vocab_size=20), "43 x 16 in its files, but 20 x 16 by its"),
    "pad beyond the rows": (config(pad_token_id=43), "Padding_idx must be within"),
    "config cut": (text("config.json", "{"), "not a valid JSON file"),
    "an encoder": (config(architectures=["BertForMaskedLM"]), "is an encoder .BertForMaskedLM"),
    "file cut off": (cut_file, "cannot be loaded as a model: SafetensorError: .* not fully cov"),
    "file empty": (text("model.safetensors", ""), "SafetensorError: .* header too small"),
    "shard missing": (missing_shard, "No such file or directory: .*model-00002-of"),
    "tensor missing": (tensors(lambda state: state.pop(UP)), f"no weights for {UP}, which would"),
    "tensor not in the index": (index_without_a_tensor, "no weights for model.layers.0.mlp.up"),
    "head missing": (tensors(lambda state: state.pop("lm_head.weight")), "no weights for lm_head"),
    "weights in another file": (other_weights_file, "no weights for lm_head.* and 18 more"),
    "not a number": (tensors(lambda state: state[UP].fill_(torch.nan)), f"{UP} contains NaN or"),
    "infinite": (tensors(lambda state: state[UP].fill_(torch.inf)), f"{UP} contains NaN or inf"),
    "integers": (tensors(lambda state: state.update(EIGHT)), f"{UP} is stored as I8, but config"),
    "eight-bit floats": (tensors(lambda state: state.update(FP8)), f"{UP} is stored as F8_E4M3"),
    "scales": (tensors(lambda state: state.update(SCALED)), "quantised .model.layers.1.mlp.*scale"),
    "quantised": (
        config(quantization_config={"quant_method": "other"}),
        "weights quantised with other cannot be trained",
    ),
    "library for quantised weights": (
        config(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128}),
        "cannot be loaded as a model: ImportError: .*optimum",
    ),
    "adapter": (adapter, r"is an adapter \(LoRA\) of org/base, without the model itself"),
    "needs code": (
        config(model_type="own", auto_map={"AutoConfig": "own.Config"}),
        "set trust_remote_code = true",
    ),
    "tokenizer of another model": (of_another_model, "300 tokens before .* embedding 43 rows"),
    "template with a new token": (
        tokenizer(template_with_a_new_token),
        r'token "<new>" has id 43, but the embedding has 43 rows \(ids 0 to 42\)',
    ),
    "tokenizer cut": (text("tokenizer.json", '{"a":'), "cannot be loaded as a tokenizer"),
    "no end token": (tokenizer(without_end), "set eos_token in its tokenizer_config.json"),
    "no template": (template(...), "has no chat template"),
    "template with an error": (template("{% for %}"), "its chat template refuses"),
    "template of a number": (template(7), "its chat template refuses"),
    "two BOS": (template("<s>" + TEMPLATE), "starts with two BOS tokens"),
    "no default template": (
        template([{"name": name, "template": TEMPLATE} for name in ("rag", "tools")]),
        "multiple chat templates with no default",
    ),
}  # fmt: skip

# Checkpoints that are odd and train: the change, and words of the note.
TRAINED: dict[str, tuple[Change, str]] = {
    "as it was": (lambda folder: None, ""),
    "no architecture": (config(architectures=...), ""),
    "tied weights apart": (tied_apart, "ties the output head .* saved apart"),
    "pad token added later": (tokenizer(pad_beyond), ""),
    "no pad token": (tokenizer(lambda made: setattr(made, "pad_token", None)), ""),
    "named templates": (
        template([{"name": name, "template": TEMPLATE} for name in ("default", "tools")]),
        "",
    ),
    "template without answers": (
        template(
            "{% for m in messages if m['role'] != 'user' %}{{ raise_exception('no') }}{% endfor %}a"
        ),
        "",
    ),
    "unknown tokenizer class": (edit("tokenizer_config.json", tokenizer_class="Nope"), ""),
    "settings nobody knows": (generation(own_setting=3), ""),
}
