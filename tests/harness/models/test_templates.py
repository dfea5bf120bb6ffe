"""Chat templates for base models: rendering, masks, and what training saves."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.engine.operations import Artifact
from harness.models import chat
from harness.models.checkpoints import load_causal_lm, load_tokenizer
from harness.models.templates import TEMPLATES, alpaca_message
from harness.training.sft import SftParams, train_sft
from tests.tiny_models import checkpoint, context, rows_artifact

__all__ = ["checkpoint", "context", "rows_artifact"]

Make = Callable[..., Any]
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)


def tokenizer_with(template: str | None) -> Any:
    made = copy.deepcopy(load_tokenizer("nano:target"))
    made.chat_template = template
    return made


def test_vicuna_renders_as_published() -> None:
    made = tokenizer_with(TEMPLATES["vicuna_v1.1"])
    said = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": " Hello."},
        {"role": "user", "content": "2+2?"},
    ]
    text = chat.render(made, said)
    assert text == f"<s>{SYSTEM} USER: Hi ASSISTANT: Hello.<|end|> USER: 2+2? ASSISTANT:"
    assert chat.response_ids(made, "4")[-1] == made.eos_token_id
    own = [{"role": "system", "content": "Be brief."}, *said[2:]]
    assert chat.render(made, own) == "<s>Be brief. USER: 2+2? ASSISTANT:"


ALPACA = "Below is an instruction that describes a task"
REQUEST = ". Write a response that appropriately completes the request.\n\n### Instruction:\n"


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ("", f"<s>{ALPACA}{REQUEST}Translate.\n\n### Response:"),
        (
            "Hund",
            f"<s>{ALPACA}, paired with an input that provides further context{REQUEST}Translate."
            "\n\n### Input:\nHund\n\n### Response:",
        ),
    ],
)
def test_alpaca_renders_as_published(context: str, text: str) -> None:
    made = tokenizer_with(TEMPLATES["alpaca"])
    asked = [{"role": "user", "content": alpaca_message("Translate.", context)}]
    assert chat.render(made, asked) == text
    found = chat.answered(made, asked, "dog")
    assert made.decode(found.prompt) == text
    assert made.decode(found.answer) == "dog<|end|>"


def test_alpaca_holds_a_dialogue_and_a_system_message() -> None:
    made = tokenizer_with(TEMPLATES["alpaca"])
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "2+2?"},
    ]
    first = "<s>Be brief.\n\n### Instruction:\nHi\n\n### Response:Hello.<|end|>"
    assert chat.render(made, said) == f"{first}\n\n### Instruction:\n2+2?\n\n### Response:"


@pytest.mark.parametrize("name", ["vicuna_v1.1", "alpaca"])
def test_training_sets_the_template_of_a_base_model_and_saves_it(
    name: Any, checkpoint: Make, rows_artifact: Make, context: Make, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("llama").path, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    model = Artifact("base", folder)
    asked = [{"role": "user", "content": alpaca_message("add", "2+2")}]
    rows = rows_artifact([{"id": "a", "messages": asked, "response": "4"}])
    settings: dict[str, Any] = {"learning_rate": 1e-3, "max_steps": 1, "max_length": 400}
    with pytest.raises(UserError, match="no chat template"):
        train_sft(context("without"), SftParams(**settings), rows=rows, model=model)
    run = context("with")
    train_sft(run, SftParams(**settings, chat_template=name), rows=rows, model=model)
    _, tokenizer = load_causal_lm(run.directory)
    assert tokenizer.chat_template == TEMPLATES[name]


def test_the_setting_is_left_out_of_ids_at_its_default() -> None:
    plain = SftParams(learning_rate=1e-3).model_dump()
    assert not {"chat_template", "prompt_mask"} & set(plain)
