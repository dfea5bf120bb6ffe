"""Refusals and failures in a row: a harmless call tells whose they are."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.backends.api.endpoint import Endpoint
from harness.backends.api.wire import CONTROLS
from harness.backends.base import Message, Request, Response
from harness.backends.openai import OpenAIBackend
from harness.core.errors import BadRecord, EnvironmentProblem, UserError
from tests.harness.backends.api.conftest import ALPACA, TEXT, ask, collect
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, answer, error, good

Make = Callable[..., OpenAIBackend]
REFUSALS = [
    error(400, "We could not parse the JSON body of your request."),
    error(403, "Sorry, you have been blocked"),
    error(404, "no endpoint for this request"),
    error(422, "what is this"),
    error(500, "internal"),
    error(500, "Context size has been exceeded."),
]


def refusing(fault: Reply, bad: Callable[[Asked], bool]) -> Callable[[Asked], Reply]:
    return lambda asked: fault if bad(asked) else good(asked)


@pytest.mark.parametrize("fault", REFUSALS)
def test_refused_rows_fail_alone_and_again(backend: Make, fault: Reply) -> None:
    bad = lambda asked: asked.prompt.startswith("bad")  # noqa: E731
    requests = [ask(f"bad {n}" if n % 2 else f"r{n}") for n in range(60)]
    with FakeServer(refusing(fault, bad)) as server:
        first = {r.id: r for r in backend(server.url, retries=0).generate(requests)}
        assert [r.error is None for r in first.values()] == [
            not id.startswith("bad") for id in first
        ]
        said = json.loads(json.dumps(fault.body))["error"]["message"]
        assert all(said in (r.error or "") for id, r in first.items() if id.startswith("bad"))
        # A later run meets the failed rows only: thirty refusals and not one answer.
        left = [request for request in requests if first[request.id].error]
        again = list(backend(server.url, retries=0).generate(left))
        assert len(again) == 30
        assert all(r.error for r in again)


@pytest.mark.parametrize("fault", REFUSALS[:5])
def test_a_server_that_refuses_everything_from_now_on_ends_the_run(
    backend: Make, fault: Reply
) -> None:
    late = lambda asked: asked.number > 10  # noqa: E731
    with FakeServer(refusing(fault, late)) as server:
        found: list[Response] = []
        judge = backend(server.url, retries=0, concurrency=4)
        with pytest.raises((UserError, EnvironmentProblem)):
            collect(found, judge.generate([ask(str(n)) for n in range(200)]))
        assert len([r for r in found if r.error is None]) == 10
        assert len(server.asked) < 45


def test_a_first_row_that_is_refused_does_not_end_the_run(backend: Make) -> None:
    bad = lambda asked: asked.prompt == "bad"  # noqa: E731
    options = {"max_tokens_field": "max_tokens"}  # no probe
    with FakeServer(refusing(error(403, "no"), bad)) as server:
        judge = backend(server.url, options, concurrency=1)
        answers = {r.id: r for r in judge.generate([ask("bad"), ask("a")])}
        assert "(403): no" in (answers["bad"].error or "")
        assert answers["a"].error is None
        assert CONTROLS[0] in [asked.prompt for asked in server.asked]


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    "said", ["System role not supported", "roles must alternate user/assistant"]
)
def test_a_refused_role_names_the_option(backend: Make, status: int, said: str) -> None:
    def behave(asked: Asked) -> Reply:
        roles = [message["role"] for message in asked.body["messages"]]
        return error(status, said) if "system" in roles else good(asked)

    shown = (Message(role="system", content="s"), Message(role="user", content="u"))
    with FakeServer(behave) as server:
        request = Request(id="a", messages=shown, sampling=TEXT)
        with pytest.raises(UserError, match="system=false"):
            list(backend(server.url).generate([request]))
        (found,) = backend(server.url, {"system": "false"}).generate([request])
        assert found.error is None


def test_a_limit_above_the_models_names_the_setting(backend: Make) -> None:
    said = "max_tokens is too large: 4096. This model supports at most 16 completion tokens"
    late = lambda asked: asked.body["max_tokens"] > 1  # noqa: E731
    with (
        FakeServer(refusing(error(400, said), late)) as server,
        pytest.raises(UserError, match="judge_max_tokens"),
    ):
        list(backend(server.url).generate([ask("a"), ask("b")]))


def test_places_and_accounts_are_no_matter_of_keys(backend: Make) -> None:
    for said, part in (
        ("Country, region, or territory not supported", "this country"),
        ("Project does not have access to model judge-1", "may not use the model"),
    ):
        with FakeServer(lambda asked, said=said: error(403, said)) as server:  # type: ignore[misc]
            with pytest.raises(UserError, match=part) as caught:
                list(backend(server.url).generate([ask("a")]))
            assert "key" not in str(caught.value)


def test_a_limit_of_a_day_ends_the_run_and_is_resumed(backend: Make) -> None:
    used_up = error(429, "Tokens per day limit reached", retry_after="18120")
    with FakeServer(refusing(used_up, lambda asked: asked.number > 3)) as server:
        judge = backend(server.url, concurrency=1, retries=6)
        found: list[Response] = []
        with pytest.raises(UserError, match=r"run the same command again in 5 h"):
            collect(found, judge.generate([ask(str(n)) for n in range(9)]))
        assert len(found) == 3
        server.behave = good
        assert len(list(judge.generate([ask(str(n)) for n in range(9)]))) == 9


# Log-probabilities


def with_logprob(value: Any) -> Callable[[Asked], Reply]:
    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        if asked.prompt == "bad":
            entry = reply.body["choices"][0]["logprobs"]["content"][0]
            entry["top_logprobs"][0]["logprob"] = value
        return reply

    return behave


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.7])
def test_a_wrong_log_probability_fails_its_row(backend: Make, value: float) -> None:
    with FakeServer(with_logprob(value)) as server:
        requests = [ask("bad", how=ALPACA), ask("a", how=ALPACA)]
        answers = {r.id: r for r in backend(server.url).generate(requests)}
        assert "no log-probability" in (answers["bad"].error or "")
        assert answers["a"].error is None


def test_a_stored_wrong_log_probability_is_requested_again(backend: Make, tmp_path: Path) -> None:
    with FakeServer() as server:
        judge = backend(server.url)
        list(judge.generate([ask("a", how=ALPACA)]))
        store = judge._store()
        assert store is not None
        (row,) = store.all()
        store.drop([row.key])
        assert len(store) == 0
        body = row.body.replace("-0.1", "NaN")
        store.put([type(row)(row.key, row.model, body, 1, 1, None, 0.0)])
        (again,) = judge.generate([ask("a", how=ALPACA)])
        assert not again.cached
        assert again.completions[0].top_logprobs == ((("m", -0.1), ("M", -2.5)),)
        assert "NaN" not in next(iter(store.all())).body


def test_one_reply_without_log_probabilities_fails_alone(backend: Make) -> None:
    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        if asked.prompt == "bad":
            del reply.body["choices"][0]["logprobs"]
        return reply

    with FakeServer(behave) as server:
        requests = [ask("a", how=ALPACA), ask("bad", how=ALPACA), ask("b", how=ALPACA)]
        answers = {r.id: r for r in backend(server.url).generate(requests)}
        assert "no log-probabilities" in (answers["bad"].error or "")
        assert [answers[id].error for id in "ab"] == [None, None]
        assert len([a for a in server.asked if a.prompt == "bad"]) == 2


# Bodies


def test_a_body_is_limited_after_decompression(backend: Make) -> None:
    bomb = gzip.compress(b'{"choices": "' + bytes(8 * 2**20) + b'"}')
    packed = {"content-encoding": "gzip"}

    def behave(asked: Asked) -> Reply:
        if asked.prompt == "bad":
            return Reply(body=bomb, headers=packed)
        return Reply(body=gzip.compress(json.dumps(answer(asked)).encode()), headers=packed)

    with FakeServer(behave) as server:
        judge = backend(server.url, max_reply_bytes=2**20)
        answers = {r.id: r for r in judge.generate([ask("bad"), ask("a")])}
        assert answers["bad"].error == "the reply is larger than 1 MiB"
        assert answers["a"].error is None
        assert len([a for a in server.asked if a.prompt == "bad"]) == 1


@pytest.mark.parametrize("status", [200, 400])
def test_deep_nesting_is_a_failed_row(backend: Make, status: int) -> None:
    deep = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    bad = lambda asked: asked.prompt == "bad"  # noqa: E731
    with FakeServer(refusing(Reply(status, deep), bad)) as server:
        answers = {r.id: r for r in backend(server.url).generate([ask("bad"), ask("a")])}
        assert answers["bad"].error
        assert answers["a"].error is None


def test_words_of_a_server_are_made_visible(backend: Make) -> None:
    said = "no \x1b[31m red \u202e turn"
    with FakeServer(refusing(error(500, said), lambda asked: asked.prompt == "bad")) as server:
        answers = {r.id: r for r in backend(server.url, retries=0).generate([ask("bad"), ask("a")])}
        assert answers["bad"].error == "status 500: no <U+001B>[31m red <U+202E> turn"


def test_a_filtered_prompt_with_status_200_fails_alone(backend: Make) -> None:
    filtered = Reply(body={"choices": [], "prompt_filter_results": [{}]})
    bad = lambda asked: asked.prompt == "bad"  # noqa: E731
    with FakeServer(refusing(filtered, bad)) as server:
        answers = {r.id: r for r in backend(server.url).generate([ask("bad"), ask("a")])}
        assert "content filter refused" in (answers["bad"].error or "")


def test_another_model_is_named_with_its_answer(
    backend: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeServer(lambda asked: Reply(body=answer(asked) | {"model": "other"})) as server:
        responses = list(backend(server.url).generate([ask("a"), ask("b")]))
        assert {r.completions[0].served_by for r in responses} == {"other"}
        assert caplog.text.count("asked for judge-1, and other answered") == 1


def test_azures_older_url_gets_the_new_one() -> None:
    with pytest.raises(BadRecord, match=r"https://x\.openai\.azure\.com/openai/v1\?key="):
        Endpoint.parse("m@https://x.openai.azure.com/openai/deployments/m", {"api-version": "1"})
