"""Tiny random models of several architectures and tokenizers of several kinds, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LLAMA3_TEMPLATE = (
    "{{- bos_token }}{%- for m in messages %}"
    "{{- '<|start|>' + m['role'] + '<|stop|>\n\n' + m['content'] | trim + '<|eot|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start|>assistant<|stop|>\n\n' }}"
    "{%- endif %}"
)
ZEPHYR_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}"
    "{{ '<|start|>' + m['role'] + '\n' + m['content'] + '<|eot|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
TEXT = [
    "What is the sum of 12 and 30? The sum of 12 and 30 is 42.",
    "Name three colours, please: red, green and blue.",
    "assistant user system\n\nHello there! <b>bold</b> text (with brackets) and so on...",
]


def byte_tokenizer(template: str | None = LLAMA3_TEMPLATE, eos: str = "<|end|>") -> Any:
    """Byte-level BPE that, like Llama-3's, adds a BOS whenever it is asked for special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|bos|>", "<|end|>", "<|eot|>", "<|start|>", "<|stop|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", core.token_to_id("<|bos|>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|bos|>",
        eos_token=eos,
        additional_special_tokens=special[1:],
    )
    tokenizer.chat_template = template
    return tokenizer


def metaspace_tokenizer(scheme: str = "first") -> Any:
    """Sentencepiece-like: marks the start of a text; specials spelled like HTML tags."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    core.decoder = decoders.Metaspace(prepend_scheme=scheme)
    alphabet = [chr(code) for code in (10, *range(33, 127))]
    core.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=200,
            special_tokens=["<unk>", "<s>", "</s>"],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = ZEPHYR_TEMPLATE
    return tokenizer


def tiny_config(kind: str, vocabulary: int) -> Any:
    import transformers

    common = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,  # wide, so that random models have opinions
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    if kind == "neox":
        return transformers.GPTNeoXConfig(**common)
    if kind == "mistral":
        return transformers.MistralConfig(**common, num_key_value_heads=2, sliding_window=12)
    if kind == "qwen":
        return transformers.Qwen2Config(**common, num_key_value_heads=2)
    return transformers.LlamaConfig(**common, num_key_value_heads=2)


def tiny_model(kind: str = "llama", vocabulary: int = 300, seed: int = 0, **extra: Any) -> Any:
    import torch
    import transformers

    config = tiny_config(kind, vocabulary)
    for key, value in extra.items():
        setattr(config, key, value)
    torch.manual_seed(seed)
    auto = (
        transformers.AutoModelForSequenceClassification
        if "num_labels" in extra
        else transformers.AutoModelForCausalLM
    )
    return auto.from_config(config).eval()


@pytest.fixture(scope="session")
def make_byte_tokenizer() -> Callable[..., Any]:
    return byte_tokenizer


@pytest.fixture(scope="session")
def make_metaspace_tokenizer() -> Callable[..., Any]:
    return metaspace_tokenizer


@pytest.fixture(scope="session")
def gemma_template() -> str:
    return GEMMA_TEMPLATE


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., Any]:
    return tiny_model


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = byte_tokenizer()
    tiny_model("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama classifier with one label and no pad token."""
    folder = tmp_path_factory.mktemp("reward")
    tokenizer = byte_tokenizer()
    tiny_model("llama", len(tokenizer), num_labels=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
