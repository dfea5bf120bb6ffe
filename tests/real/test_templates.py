"""Real tokenizers and templates: trained ids are the rendered ids, own answers keep theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from harness.backends.base import Request, Sampling, messages_of
from harness.backends.hf import HFBackend
from harness.models import chat
from harness.models.answers import dialogue
from harness.models.checkpoints import load_causal_lm
from harness.models.tokenize import tokenize_row, tokenizer_digest

pytestmark = pytest.mark.real

USER = [{"role": "user", "content": "What is 2+2?"}]
TURNS = [
    *USER,
    {"role": "assistant", "content": "It is 4, naïvely – surely."},
    {"role": "user", "content": "And 1+3?\n\nBriefly."},
]
ANSWERS = [
    "Four.",
    "\n\n* one\n* two",
    "def f(x):\n    return x",
    "«Äh» 日本 🙂",
    "<s> [INST] </s>",
]
NAMES = ["smollm2", "tok_llama2", "tok_mistral", "tok_llama3"]


@pytest.mark.parametrize("messages", [USER, TURNS], ids=["one turn", "two turns"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", NAMES)
def test_trained_ids_are_the_rendered_ids(
    real_folder: Path, name: str, answer: str, messages: list[dict[str, str]]
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(real_folder / name)
    found = chat.answered(tokenizer, messages, answer)
    ids = [*found.prompt, *found.answer]
    if "</s>" in answer and name in ("tok_llama2", "tok_mistral"):  # spelled, so not a token
        assert ids.count(tokenizer.eos_token_id) == len(messages) // 2 + 1
        return
    whole = [*messages, {"role": "assistant", "content": answer}]
    expected = list(tokenizer.apply_chat_template(whole, return_dict=False))
    assert ids == expected[: len(ids)]
    assert not tokenizer.decode(expected[len(ids) :]).strip()
    prompt = chat.prompt_ids(tokenizer, messages)
    if not answer.startswith("\n"):  # one token may cover line breaks of prompt and answer
        assert found.prompt == prompt
    assert found.prompt == prompt[: len(found.prompt)]
    both, places = dialogue(tokenizer, messages, answer)
    assert both == ids
    assert all(both[stop - 1] == chat.end_of_turn_id(tokenizer) for _, stop in places)
    assert len(places) == len(messages) // 2 + 1


def test_llama_2_keeps_its_spaces(real_folder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(real_folder / "tok_llama2")
    answer = chat.answered(tokenizer, USER, "Four.").answer
    assert tokenizer.convert_ids_to_tokens(answer) == ["▁Four", ".", "▁", "</s>"]


def test_own_answers_keep_their_ids(real_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = load_causal_lm(real_folder / "smollm2")
    backend = HFBackend(model, tokenizer, identity="smollm2")
    prompts = ["Name a colour.", "Was ist Äther?", "Write a haiku about 🙂.", "Sort 3, 1, 2."]
    sampling = Sampling(temperature=1.2, max_tokens=32, n=6, seed=1)
    requests = [
        Request(
            id=text, messages=messages_of([{"role": "user", "content": text}]), sampling=sampling
        )
        for text in prompts
    ]
    changed, total = 0, 0
    for response in backend.generate(requests):
        messages = [{"role": "user", "content": response.id}]
        for completion in response.completions:
            row = {
                "id": response.id,
                "messages": messages,
                "responses": {"own": completion.text},
                "finish": {"own": completion.finish},
                "response_ids": {"own": list(completion.token_ids or ())},
                "tokenizer": tokenizer_digest(tokenizer),
            }
            limits = {"max_length": 512, "max_prompt_length": 256}
            kept = tokenize_row(tokenizer, row, ["own"], **limits)["own"]
            end = [chat.end_of_turn_id(tokenizer)] if completion.finish == "stop" else []
            assert [label for label in kept.labels if label >= 0] == [*completion.token_ids, *end]
            assert kept.input_ids[: -kept.length] == list(response.prompt_ids or ())
            again = tokenize_row(tokenizer, {**row, "response_ids": None}, ["own"], **limits)["own"]
            changed, total = changed + (again != kept), total + 1
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{changed} of {total} own answers would change if they were tokenised again"
        )
