"""The base class of backends: what a subclass gets, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from harness.backends.base import Backend, Completion, Request, Response, ScoreRequest, messages_of
from harness.backends.hosted import open_backend
from harness.core.errors import EnvironmentProblem, UserError
from harness.engine import registry
from harness.engine.calls import Services


class Counting(Backend):
    """The smallest backend: it answers with the number of requests in the call."""

    fingerprint = "counting"

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        for request in requests:
            text = Completion(text=str(len(requests)), finish="stop")
            yield Response(id=request.id, completions=(text,))


def ask(id: str) -> Request:
    return Request(id=id, messages=messages_of([{"role": "user", "content": id}]))


def test_a_subclass_with_a_fingerprint_and_generate_is_a_backend() -> None:
    backend = Counting()
    assert (backend.parallel, backend.tokenizer, backend.context) == (1, None, None)
    backend.check_access()
    with pytest.raises(UserError, match=r"counting returns no log-probabilities .*vllm:<model>"):
        backend.score([ScoreRequest(id="a", messages=(), response="b")])


def test_without_generate_it_is_none() -> None:
    class Half(Backend):
        fingerprint = "half"

    with pytest.raises(TypeError, match="generate"):
        Half()  # type: ignore[abstract]


def test_follow_asks_in_rounds_until_nothing_follows() -> None:
    def next(response: Response) -> Request | None:
        name, _, turn = response.id.partition("/")
        return ask(f"{name}/{int(turn) + 1}") if int(turn) < len(name) - 1 else None

    found = Counting().follow([ask("a/0"), ask("bb/0"), ask("ccc/0")], next)
    rounds = [(response.id, response.completions[0].text) for response in found]
    assert rounds == [
        ("a/0", "3"), ("bb/0", "3"), ("ccc/0", "3"), ("bb/1", "2"), ("ccc/1", "2"), ("ccc/2", "1")
    ]  # fmt: skip


def test_a_plugin_that_opens_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Structural:
        fingerprint = "x"
        generate = score = print

    opened: dict[str, Any] = {"good": Counting(), "odd": Structural()}
    entries = {n: registry.Entry(n, "package:open", "", origin="a-plugin") for n in opened}
    monkeypatch.setattr(registry, "entries", lambda group: entries)
    monkeypatch.setattr(registry, "load", lambda group, name: lambda *_: opened[name])
    assert open_backend("good", Services()) is opened["good"]
    with pytest.raises(EnvironmentProblem, match=r'"odd" of a-plugin .*Structural.*\(Backend\)'):
        open_backend("odd", Services())
