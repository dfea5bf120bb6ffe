"""A backend that leads to a fake server, with retries that do not wait long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Message, Request, Response, Sampling
from harness.backends.openai import OpenAIBackend
from harness.engine.calls import CallSettings, Services

ALPACA = Sampling(temperature=1.0, max_tokens=1, top_logprobs=5)
TEXT = Sampling(max_tokens=16)
LONG = Sampling(max_tokens=300)


def ask(id: str, text: str | None = None, how: Sampling = TEXT) -> Request:
    return Request(id=id, messages=(Message(role="user", content=text or id),), sampling=how)


def collect(found: list[Response], answers: Iterator[Response]) -> None:
    """Keeps what came before an error."""
    for response in answers:
        found.append(response)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Callable[..., OpenAIBackend]]:
    """`backend(url, retries=1, ...)`: with a response store; `model`, `key` and so on go along."""
    with ExitStack() as stack:

        def make(url: str, options: dict[str, str] | None = None, **settings: Any) -> OpenAIBackend:
            model = settings.pop("model", "judge-1")
            settings = {"responses": tmp_path / "responses.sqlite", "retries": 1, **settings}
            services = stack.enter_context(Services(CallSettings(**settings)))
            return OpenAIBackend(Endpoint.parse(f"{model}@{url}", options), services)

        yield make
