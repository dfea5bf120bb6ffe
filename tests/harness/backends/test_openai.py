"""The backend of hosted models: the contract, the judge's reference, token ids, scores, speed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backends.api.endpoint import Endpoint
from harness.backends.api.responses import Stored
from harness.backends.base import Message, Request, Sampling, ScoreRequest
from harness.backends.conformance import check_backend
from harness.backends.openai import OpenAIBackend, open_judge
from harness.core.errors import BadData, BadRecord, UserError
from harness.engine.calls import CallSettings, Services
from harness.judging.judge import Question, protocol
from harness.judging.judge import open_judge as open_by_reference
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, answer


@pytest.fixture
def services() -> Iterator[Services]:
    with Services(CallSettings(retries=0)) as found:
        yield found


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


REQUESTS = [
    Request(id="greedy", messages=user("a"), sampling=Sampling(max_tokens=5)),
    Request(id="several", messages=user("b"), sampling=Sampling(temperature=1, max_tokens=5, n=3)),
    Request(id="logprobs", messages=user("c"), sampling=Sampling(max_tokens=1, top_logprobs=5)),
]


def test_the_contract_of_backends(services: Services) -> None:
    with FakeServer() as server:
        backend = OpenAIBackend(Endpoint.parse(f"m@{server.url}"), services)
        check_backend(backend, REQUESTS, scores=False)
        with pytest.raises(UserError, match="chat endpoints return no log-probabilities"):
            list(backend.score([ScoreRequest(id="a", messages=user("a"), response="b")]))


def test_fingerprints_need_neither_network_nor_key_nor_the_sdk() -> None:
    code = (
        "import sys\nfrom harness.engine.calls import Services\n"
        "from harness.backends.openai import open_judge\n"
        "print(open_judge({'model': 'gpt-4'}, Services()).fingerprint)\n"
        "print([m for m in ('openai', 'httpx2', 'aiohttp') if m in sys.modules])\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env={"PATH": "/bin"})
    fingerprint, modules = done.stdout.splitlines()
    assert fingerprint.startswith("openai:gpt-4/")
    assert modules == "[]"


def test_the_judge_of_a_reference(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "jk-1")

    def prefers_the_longer(asked: Asked) -> Reply:
        reply = answer(asked, "m")
        return Reply(body=reply)

    with FakeServer(prefers_the_longer) as server:
        judge = open_by_reference(
            f"openai:gpt-4@{server.url}?key=JUDGE_KEY", protocol("alpaca"), services
        )
        message = {"role": "user", "content": "which?"}
        found = judge.ask([Question(str(n), [message | {"content": str(n)}]) for n in range(20)])
        assert len(found) == len(server.asked) == 20
        assert found["3"].failure is None
        assert found["3"].logprobs == (("m", -0.1), ("M", -2.5))
        assert server.asked[0].headers["authorization"] == "Bearer jk-1"
        assert server.asked[0].body["top_logprobs"] == 5


def test_a_reference_without_a_model_is_refused(services: Services) -> None:
    with pytest.raises(BadRecord, match="names no model"):
        open_judge({}, services)
    with pytest.raises(BadRecord, match="unknown key"):
        open_judge({"model": "m", "temprature": "false"}, services)


def test_stages_of_a_run_share_one_client(services: Services) -> None:
    with FakeServer() as server:
        first = OpenAIBackend(Endpoint.parse(f"m@{server.url}"), services)
        second = OpenAIBackend(Endpoint.parse(f"m@{server.url}"), services)
        list(first.generate(REQUESTS[:1]))
        list(second.generate(REQUESTS[1:]))
        assert first._client(None) is second._client(None)
        assert {a.headers["host"] for a in server.asked} == {f"127.0.0.1:{server.port}"}


# With token ids, as vLLM has them


def tokens(asked: Asked) -> Reply:
    """Answers depend on the prompt's ids; a score is minus a hundredth of the token."""
    body = asked.body
    if "prompt_logprobs" in body:
        entries: list[Any] = [None]
        for token in body["prompt"][1:]:
            entries.append({"0": {"logprob": -9.0}, str(token): {"logprob": -token / 100}})
        choices = [{"index": 0, "text": "", "prompt_logprobs": entries, "finish_reason": "length"}]
    else:
        seed = hashlib.sha256(asked.content).digest()
        choices = [
            {
                "index": index,
                "text": f"{seed[index]} {seed[index + 1]}",
                "token_ids": [seed[index], seed[index + 1], 2][: body["max_tokens"]],
                "finish_reason": "stop" if body["max_tokens"] > 2 else "length",
                "stop_reason": None,
                "logprobs": {"top_logprobs": [{"a": -0.2, "b": -2.0, "c": -9999.0}] * 3},
            }
            for index in range(body.get("n", 1))
        ]
    usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 3 * len(choices)}
    return Reply(body={"choices": choices, "usage": usage})


def render(request: Request) -> list[int]:
    if request.messages[-1].content == "unfit":
        raise BadData("the conversation does not fit")
    return [1, *(ord(letter) for letter in request.messages[-1].content)]


def render_answer(request: ScoreRequest) -> tuple[list[int], list[int]]:
    return [1, *map(ord, request.messages[-1].content)], [*map(ord, request.response), 2]


def test_token_ids_go_in_and_come_out(services: Services) -> None:
    with FakeServer(tokens) as server:
        backend = OpenAIBackend(
            Endpoint.parse(f"m@{server.url}"),
            services,
            render=render,
            render_answer=render_answer,
        )
        check_backend(backend, REQUESTS, scores=True)
        answers = {r.id: r for r in backend.generate(REQUESTS)}
        assert answers["greedy"].prompt_ids == (1, ord("a"))
        (completion,) = answers["greedy"].completions
        assert len(completion.token_ids or ()) == 2  # without the id that stopped it
        assert completion.finish == "stop"
        (cut,) = answers["logprobs"].completions
        assert (cut.finish, len(cut.token_ids or ())) == ("length", 1)
        assert cut.top_logprobs == ((("a", -0.2), ("b", -2.0)),)
        assert {a.path for a in server.asked} == {"/v1/completions"}
        (bad,) = backend.generate([Request(id="bad", messages=user("unfit"))])
        assert bad.error == "the conversation does not fit"


def test_scores_of_given_answers(services: Services) -> None:
    with FakeServer(tokens) as server:
        endpoint = Endpoint.parse(f"m@{server.url}")
        backend = OpenAIBackend(endpoint, services, render=render, render_answer=render_answer)
        asked = [ScoreRequest(id="r", messages=user("question"), response="\x05\x07")]
        (score,) = backend.score(asked)
        assert score.token_logps == (-0.05, -0.07, -0.02)
        assert score.logp == pytest.approx(-0.14)
        assert score.tokens == 3


def test_chat_and_token_routes_are_different_judges(services: Services) -> None:
    endpoint = Endpoint.parse("m@http://127.0.0.1:1/v1")
    chat = OpenAIBackend(endpoint, services)
    assert chat.fingerprint != OpenAIBackend(endpoint, services, render=render).fingerprint


# Speed


def judged(count: int) -> list[Request]:
    how = Sampling(temperature=1.0, max_tokens=1, top_logprobs=5)
    return [
        Request(id=f"q{n}", messages=user(f"{n} " + "text " * 200), sampling=how)
        for n in range(count)
    ]


def test_thousands_of_stored_responses_are_read_without_a_call(tmp_path: Path) -> None:
    requests = judged(3_000)
    settings = CallSettings(responses=tmp_path / "responses.sqlite", offline=False)
    with Services(settings) as services:
        backend = OpenAIBackend(Endpoint.parse("m@http://127.0.0.1:1/v1"), services)
        store = backend._store()
        assert store is not None
        keys = [backend._asked(request).calls[0].key for request in requests]
        asked = Asked(0, "POST", "", {}, b'{"model": "m", "logprobs": true, "top_logprobs": 5}')
        body = json.dumps(answer(asked, "m"))
        store.put([Stored(key, "m", body, 10, 1, 0.1, 0.0) for key in keys])
        answers = list(backend.generate(requests))
        assert len(answers) == 3_000
        assert all(r.cached and r.completions[0].top_logprobs for r in answers)
