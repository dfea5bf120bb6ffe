"""Names of models in replies."""

from __future__ import annotations

import pytest

from harness.backends.api.served import other_model


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4-1106-preview", "gpt-4-1106-preview"),
        ("openai/gpt-4o", "gpt-4o-2024-08-06"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("mistral-large-latest", "mistral-large-2411"),
        ("gemini-1.5-pro", "models/gemini-1.5-pro-002"),
        ("deepseek/deepseek-chat:free", "deepseek/deepseek-chat"),
        ("/models/my-judge", "my-judge"),
    ],
)
def test_names_of_the_same_model(asked: str, named: str) -> None:
    assert other_model(asked, {"model": named}) is None


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4-1106-preview", "gpt-4-0613"),
        ("gpt-4", "gpt-4-32k"),
        ("m", "some-fallback-model"),
        ("llama-3-8b", "llama-3-70b"),
        ("claude-3-5-sonnet", "claude-3-5-haiku"),
    ],
)
def test_names_of_another_model(asked: str, named: str) -> None:
    assert other_model(asked, {"model": named}) == named


def test_no_name_says_nothing() -> None:
    assert [other_model("m", reply) for reply in ({}, {"model": None}, {"model": ""})] == [None] * 3
