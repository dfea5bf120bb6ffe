"""Tiny models with tokenizers made on the spot, and a stage context without an engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.engine.operations import Artifact, Row

LETTERS = "abcdefghijklmnopqrstuvwxyz 0123456789"
SPECIAL = ["<pad>", "<s>", "</s>", "<u>", "<a>", "<unk>"]
TEMPLATE = (
    "<s>{% for m in messages %}{{ '<u>' if m['role'] == 'user' else '<a>' }}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


@dataclass
class FakeContext:
    """`harness.engine.operations.Context` without an engine."""

    directory: Path
    scratch: Path
    device: str = "cpu"
    reports: list[tuple[int, int, str]] = field(default_factory=list)
    tokens: int = 0
    gpus: int = 1
    notes: list[str] = field(default_factory=list)

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        self.reports.append((done, total, unit))

    def count(
        self, *, tokens_in: int = 0, tokens_out: int = 0, requests: int = 0, gpus: int = 1
    ) -> None:
        self.tokens += tokens_in
        self.gpus = max(self.gpus, gpus)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # tiny matrices: threads only wait for each other


@pytest.fixture
def tokenizer() -> Any:
    return make_tokenizer()


def make_tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {token: place for place, token in enumerate([*SPECIAL, *LETTERS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<u>", "<a>"],
        chat_template=TEMPLATE,
    )


def make_model(kind: str, seed: int = 0, vocabulary: int | None = None, **changes: Any) -> Any:
    """A random model of a few thousand parameters: llama, tied, neox, gemma2, cohere, granite."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = {"tied": "llama", "neox": "gpt_neox"}.get(kind, kind)
    options: dict[str, Any] = {
        "vocab_size": vocabulary or len(SPECIAL) + len(LETTERS),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "tie_word_embeddings": kind in ("tied", "gemma2", "cohere"),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    options.update(
        {"granite": {"logits_scaling": 4.0}, "cohere": {"logit_scale": 0.25}}.get(kind, {})
    )
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[family](**{**options, **changes})
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # the default initialisation is almost uniform
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture
def model_of() -> Callable[..., Any]:
    return make_model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """A saved model artifact of a kind."""
    made: dict[str, Artifact] = {}

    def save(kind: str) -> Artifact:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            make_model(kind).save_pretrained(folder)
            make_tokenizer().save_pretrained(folder)
            made[kind] = Artifact(kind, folder)
        return made[kind]

    return save


@pytest.fixture
def context(tmp_path: Path) -> Callable[[str], FakeContext]:
    def make(name: str) -> FakeContext:
        made = FakeContext(tmp_path / name / "out", tmp_path / name / "scratch")
        made.directory.mkdir(parents=True, exist_ok=True)
        made.scratch.mkdir(parents=True, exist_ok=True)
        return made

    return make


@pytest.fixture
def rows_artifact(tmp_path: Path) -> Callable[..., Artifact]:
    def write(rows: list[Row], name: str = "rows") -> Artifact:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text(text, encoding="utf-8")
        return Artifact(name, folder)

    return write


@pytest.fixture
def preference_rows() -> list[Row]:
    """12 rows whose source answers are the prompt doubled."""
    words = ["ab", "cde", "f", "gh", "ijk", "lm", "n", "op", "qrs", "tu", "vw", "xyz"]
    return [
        {
            "id": f"r{place}",
            "messages": [{"role": "user", "content": word}],
            "responses": {"source": word + word, "target": word, "rejected": word[::-1] + " no"},
            "rewards": {"source": 1.0, "target": 0.8, "rejected": 0.1},
            "source_model": "s",
        }
        for place, word in enumerate(words)
    ]
