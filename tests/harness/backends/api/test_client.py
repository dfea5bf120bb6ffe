"""The client against a scripted server: retries, capabilities, fatal errors, limits, money."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Response, Sampling
from harness.backends.openai import OpenAIBackend
from harness.core.errors import EnvironmentProblem, UnknownName, UserError
from harness.engine.calls import CallSettings, Services
from tests.harness.backends.api.conftest import ALPACA, LONG, ask, collect
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, answer, error, good

Make = Callable[..., OpenAIBackend]
SOON = {"retry-after-ms": "5"}
PRICES = '[models."judge-1"]\nusd_per_million_in = 1000.0\nusd_per_million_out = 1000.0\n'


PASSING = {
    "rate limit with Retry-After": error(429, "slow down", **SOON),
    "rate limit without": error(429, "slow down"),
    "server error": error(500, "oops", **SOON),
    "overloaded": error(503, "busy", **SOON),
    "silence": Reply(after_s=30),
    "body cut off": Reply(body={"choices": "x" * 300}, cut=40),
    "malformed": Reply(body=b'{"choices": [{"mess'),
    "not JSON": Reply(body=b"<html>gateway</html>"),
    "not an object": Reply(body=[1]),
    "error with status 200": Reply(body={"error": {"message": "overloaded", "code": 503}}),
    "no choices": Reply(body={"choices": []}),
    "no message": Reply(body={"choices": [{"index": 0}]}),
}


def test_what_passes_is_asked_again(backend: Make) -> None:
    seen: set[str] = set()

    def behave(asked: Asked) -> Reply:
        if asked.prompt in seen or asked.prompt not in PASSING:
            return good(asked)
        seen.add(asked.prompt)
        return PASSING[asked.prompt]

    with FakeServer(behave) as server:
        judge = backend(server.url, timeout_s=1.5)  # a busy machine answers late
        answers = {r.id: r for r in judge.generate([ask(name) for name in ["sound", *PASSING]])}
        assert {name: answers[name].error for name in PASSING} == dict.fromkeys(PASSING)
        assert all(a.completions[0].text.startswith("reply ") for a in answers.values())
        times = Counter(asked.prompt for asked in server.asked)
        assert times == {"sound": 1, **dict.fromkeys(PASSING, 2)}
        assert judge.services.account.models["judge-1"].requests == len(PASSING) + 1


@pytest.mark.parametrize("fault", ["silence", "malformed", "server error", "rate limit without"])
def test_what_does_not_pass_is_an_error_of_the_row(backend: Make, fault: str) -> None:
    def behave(asked: Asked) -> Reply:
        return PASSING[fault] if asked.prompt == "bad" else good(asked)

    with FakeServer(behave) as server:
        judge = backend(server.url, timeout_s=1.5)  # a busy machine answers late
        answers = {r.id: r for r in judge.generate([ask("bad"), *(ask(str(n)) for n in range(4))])}
        assert answers["bad"].error
        assert answers["bad"].completions == ()
        assert [answers[str(n)].error for n in range(4)] == [None] * 4
        assert len([a for a in server.asked if a.prompt == "bad"]) == 2
        # Only good responses are stored: the failed row is asked again, the others are not.
        server.behave, before = good, len(server.asked)
        again = {r.id: r for r in judge.generate([ask("bad"), ask("0")])}
        assert again["bad"].error is None
        assert [again["bad"].cached, again["0"].cached] == [False, True]
        assert len(server.asked) == before + 1


def test_an_empty_text_is_an_answer(backend: Make) -> None:
    with FakeServer(lambda asked: Reply(body=answer(asked, ""))) as server:
        (response,) = backend(server.url).generate([ask("a")])
        assert response.error is None
        assert response.completions[0].text == ""
        assert len(server.asked) == 1


def test_equal_requests_share_one_call(backend: Make) -> None:
    with FakeServer() as server:
        judge = backend(server.url)
        responses = list(judge.generate([ask(f"r{n}", "same") for n in range(5)]))
        assert len(server.asked) == 1
        assert sorted(r.cached for r in responses) == [False, True, True, True, True]
        spent = judge.services.account.models["judge-1"]
        assert (spent.requests, spent.cached, spent.tokens_in) == (1, 4, 10)


def test_callers_in_two_threads_share_what_is_in_flight(tmp_path: Path) -> None:
    def slowly(asked: Asked) -> Reply:
        reply = good(asked)
        reply.after_s = 0.2
        return reply

    with FakeServer(slowly) as server, Services(CallSettings()) as services:
        list(OpenAIBackend(Endpoint.parse(f"judge-1@{server.url}"), services).generate([ask("x")]))
        found: list[Any] = []

        def one(name: str) -> None:
            judge = OpenAIBackend(Endpoint.parse(f"judge-1@{server.url}"), services)
            found.extend(judge.generate([ask(name, "same")]))

        threads = [threading.Thread(target=one, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.asked) == 2
        assert sorted(r.id for r in found) == ["a", "b"]
        assert sorted(r.cached for r in found) == [False, True]


# Capabilities


def test_a_short_call_is_its_own_probe(backend: Make) -> None:
    with FakeServer() as server:
        judge = backend(server.url)
        answers = list(judge.generate([ask(str(n), how=ALPACA) for n in range(10)]))
        assert len(answers) == len(server.asked) == 10
        assert answers[0].completions[0].top_logprobs == ((("m", -0.1), ("M", -2.5)),)


def test_long_calls_are_probed_once_for_one_token_and_never_again(backend: Make) -> None:
    with FakeServer() as server:
        list(backend(server.url).generate([ask("short", how=LONG), ask("b" * 90, how=LONG)]))
        assert len(server.asked) == 3
        assert (server.asked[0].body["max_tokens"], server.asked[0].prompt) == (1, "short")
        # Another run, with the same file of responses.
        list(backend(server.url).generate([ask("c", how=LONG)]))
        assert [a.body["max_tokens"] for a in server.asked[3:]] == [300]


def newer(asked: Asked) -> Reply:
    if "max_tokens" in asked.body:
        return error(400, "'max_tokens' is not supported, use 'max_completion_tokens' instead")
    return good(asked)


def test_the_other_name_of_the_limit_is_found_out_and_kept(backend: Make) -> None:
    with FakeServer(newer) as server:
        judge = backend(server.url)
        plain = judge.fingerprint
        answers = list(judge.generate([ask(str(n), how=LONG) for n in range(20)]))
        assert [r.error for r in answers] == [None] * 20
        assert len(server.asked) == 1 + 1 + 20
        assert server.asked[-1].body["max_completion_tokens"] == 300
        list(backend(server.url).generate([ask("more", how=LONG)]))
        assert len(server.asked) == 23
        assert judge.fingerprint == plain


def test_a_named_limit_is_sent_without_a_probe(backend: Make) -> None:
    with FakeServer(newer) as server:
        judge = backend(server.url, {"max_tokens_field": "max_completion_tokens"})
        list(judge.generate([ask("a", how=LONG)]))
        assert len(server.asked) == 1
        wrong = backend(server.url, {"max_tokens_field": "max_tokens"})
        with pytest.raises(UserError, match="omit the option"):
            list(wrong.generate([ask("b", how=LONG)]))


def without_logprobs(asked: Asked) -> Reply:
    reply = good(asked)
    if isinstance(reply.body, dict) and "choices" in reply.body:
        reply.body["choices"][0].pop("logprobs", None)
    return reply


@pytest.mark.parametrize("how", [ALPACA, LONG.model_copy(update={"top_logprobs": 5})])
def test_missing_logprobs_end_the_run_after_two_replies(backend: Make, how: Sampling) -> None:
    with FakeServer(without_logprobs) as server:
        with pytest.raises(UserError, match=r"no log-probabilities.*annotator"):
            list(backend(server.url).generate([ask(str(n), how=how) for n in range(50)]))
        assert len(server.asked) == 2  # a single reply without them may be an accident


def test_refused_logprobs_and_the_option_that_says_so(backend: Make) -> None:
    behave = lambda asked: error(400, "logprobs is not supported by this model")  # noqa: E731
    with FakeServer(behave) as server:
        with pytest.raises(UserError, match="no log-probabilities"):
            list(backend(server.url).generate([ask("a", how=ALPACA)]))
        asked = len(server.asked)
        with pytest.raises(UserError, match="no log-probabilities"):
            list(backend(server.url, {"logprobs": "false"}).generate([ask("a", how=ALPACA)]))
        assert len(server.asked) == asked


def test_settings_the_user_leaves_away(backend: Make) -> None:
    options = {"seed": "false", "temperature": "false", "system": "false", "n": "false"}
    with FakeServer() as server:
        judge = backend(server.url, options)
        request = ask("a", how=Sampling(temperature=0.7, top_p=0.9, max_tokens=8, n=3, seed=5))
        system = request.messages[0].model_copy(update={"role": "system", "content": "Be brief."})
        request = request.model_copy(update={"messages": (system, *request.messages)})
        (response,) = judge.generate([request])
        assert len(response.completions) == len(server.asked) == 3
        assert response.tokens_out == 9
        for asked in server.asked:
            assert sorted(asked.body) == ["max_tokens", "messages", "model"]
            assert asked.body["messages"] == [{"role": "user", "content": "Be brief.\n\na"}]


def test_samples_asked_for_one_by_one_have_seeds_of_their_own(backend: Make) -> None:
    with FakeServer() as server:
        how = Sampling(temperature=1, max_tokens=8, n=3, seed=5)
        (one,) = backend(server.url, {"n": "false"}).generate([ask("a", how=how)])
        assert len({a.body["seed"] for a in server.asked}) == 3
        assert len({c.text for c in one.completions}) == 3
        (other,) = backend(server.url).generate([ask("a", how=how)])
        assert server.asked[-1].body["n"] == len(other.completions) == 3


def test_fewer_samples_than_asked_for_are_an_error_with_the_remedy(backend: Make) -> None:
    with FakeServer(lambda asked: Reply(body=answer(asked) | {"choices": [
        {"message": {"content": "x"}}]})) as server:  # fmt: skip
        (response,) = backend(server.url).generate([ask("a", how=Sampling(n=2, max_tokens=4))])
        assert "1 of 2 samples" in (response.error or "")
        assert "n=false" in (response.error or "")


# Errors of a row, and errors that end the run


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error(400, "too long", "context_length_exceeded"), "too long"),
        (error(400, "This model's maximum context length is 8192 tokens"), "8192"),
        (error(400, "The response was filtered", "content_filter"), "content filter"),
        (error(413, "payload"), "too long"),
    ],
)
def test_a_prompt_the_server_cannot_take_fails_alone(
    backend: Make, fault: Reply, said: str
) -> None:
    with FakeServer(lambda asked: fault if asked.prompt == "bad" else good(asked)) as server:
        answers = {r.id: r for r in backend(server.url).generate([ask("bad"), ask("a"), ask("b")])}
        assert said in (answers["bad"].error or "")
        assert [answers[i].error for i in "ab"] == [None, None]
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("fault", "kind", "parts"),
    [
        (error(401, "Incorrect API key"), UserError, ["key=VARIABLE", "row r0"]),
        (error(403, "not allowed"), UserError, ["key=VARIABLE", "not allowed"]),
        (error(404, "no such model"), UnknownName, ['no model "judge-2"', '"judge-1"?', "row r0"]),
        (error(429, "You exceeded", "insufficient_quota"), UserError, ["no quota", "row r0"]),
        (error(400, "bad 'seed'"), UserError, ["row r0", "?seed=false"]),
        (error(422, "what is this"), UserError, ["row r0", "what is this"]),
        (error(307, "", location="http://evil.example/v1"), UserError, ["evil.example", "row r0"]),
    ],
)
def test_what_every_row_would_meet_ends_the_run_at_once(
    backend: Make, fault: Reply, kind: type[Exception], parts: list[str]
) -> None:
    def behave(asked: Asked) -> Reply:
        return good(asked) if asked.path == "/v1/models" else fault

    with FakeServer(behave) as server:
        judge = backend(server.url, model="judge-2", retries=6)
        with pytest.raises(kind) as caught:
            list(judge.generate([ask(f"r{n}") for n in range(30)]))
        for part in parts:
            assert part in str(caught.value)
        # At most a probe, a call and harmless ones, which tell a row's refusal from the server's.
        assert len(server.asked) <= 4


def test_a_fatal_error_keeps_what_has_arrived(backend: Make) -> None:
    def behave(asked: Asked) -> Reply:
        return error(402, "pay first") if asked.number > 5 else good(asked)

    with FakeServer(behave) as server:
        judge = backend(server.url, concurrency=1)
        found: list[Response] = []
        with pytest.raises(UserError, match="no quota"):
            collect(found, judge.generate([ask(str(n)) for n in range(9)]))
        assert len(found) == 5
        server.behave = good
        again = list(judge.generate([ask(str(n)) for n in range(9)]))
        assert sorted(r.id for r in again if r.cached) == sorted(r.id for r in found)


def test_nobody_at_home(backend: Make) -> None:
    with FakeServer() as server:
        url = server.url
    with pytest.raises(EnvironmentProblem, match=f"cannot reach {url}"):
        list(backend(url).generate([ask("a"), ask("b")]))


def test_a_server_that_dies_is_given_up_after_twenty_failures(backend: Make) -> None:
    def behave(asked: Asked) -> Reply:
        return good(asked) if asked.number <= 3 else Reply(body=b"x" * 50, cut=10)

    with FakeServer(behave) as server:
        judge = backend(server.url, retries=0, concurrency=4)
        found: list[Response] = []
        with pytest.raises(EnvironmentProblem, match=r"2\d requests in a row"):
            collect(found, judge.generate([ask(str(n)) for n in range(200)]))
        assert len([r for r in found if r.error is None]) == 3
        assert len(server.asked) < 30


def test_a_failed_tls_handshake_names_the_host(backend: Make, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command for a certificate")
    new = f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    files = [tmp_path / "key.pem", tmp_path / "cert.pem"]
    command = [*new.split(), "-keyout", str(files[0]), "-out", str(files[1])]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    with FakeServer(tls=context) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(EnvironmentProblem, match=r"no secure connection to 127\.0\.0\.1"):
            list(backend(url, retries=6).generate([ask("a")]))
        assert server.asked == []
