"""Keys, proxies and redirects: nothing secret is shown, stored, logged or sent astray."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.backends.openai import OpenAIBackend
from harness.core.errors import UserError
from tests.harness.backends.api.conftest import TEXT, ask
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, answer, error

Make = Callable[..., OpenAIBackend]
SECRET = "sk-very-secret-0123456789"


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500, 307])
def test_the_key_is_nowhere(
    backend: Make,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    caplog.set_level(logging.DEBUG)

    def echo(asked: Asked) -> Reply:
        if status == 200:
            return Reply(body=answer(asked, f"you sent {asked.headers['authorization']}"))
        said = f"got {asked.headers['authorization']} and {SECRET}"
        return error(status, said, location=f"http://u:{SECRET}@other.example/v1")

    with FakeServer(echo) as server:
        judge = backend(server.url, {"key": "JUDGE_KEY"}, retries=0)
        try:
            shown = str(list(judge.generate([ask("a")])))
        except UserError as problem:
            shown = f"{problem!r} {problem.__cause__!r} {problem.__context__!r}"
        assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"
        client = judge._client(judge._store())
        shown += repr(client) + repr(vars(client)) + repr(judge.endpoint) + judge.fingerprint
        if status == 401:
            assert "JUDGE_KEY" in shown
        judge.services.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("responses*"))
    assert SECRET.encode() not in stored
    assert SECRET not in shown
    assert SECRET not in caplog.text


def test_no_key_goes_to_a_typed_url(backend: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Gateway: {SECRET}\nAuthorization: {SECRET}")
    with FakeServer() as server:
        list(backend(server.url).generate([ask("a")]))
        sent = str(server.asked[0].headers)
        assert SECRET not in sent
        assert "org-secret" not in sent
        assert "authorization" not in server.asked[0].headers
        monkeypatch.setenv("JUDGE_KEY", "jk-1234")
        list(backend(server.url, {"key": "JUDGE_KEY"}).generate([ask("b")]))
        assert server.asked[1].headers["authorization"] == "Bearer jk-1234"
        assert SECRET not in str(server.asked[1].headers)


def test_loopback_never_goes_through_a_proxy(
    backend: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with FakeServer() as server:
        (response,) = backend(server.url).generate([ask("a")])
        assert response.error is None


def test_other_hosts_go_through_the_proxy_of_the_environment(
    backend: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    def behave(asked: Asked) -> Reply:
        assert asked.path.startswith("http://judge.example/v1/chat")
        return Reply(body=answer(asked))

    with FakeServer(behave) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        (response,) = backend("http://judge.example/v1").generate([ask("a", how=TEXT)])
        assert response.error is None


@pytest.mark.parametrize(
    "spelled", ["sk-a/b-secret", r"sk-a\/b-secret", r"sk-a\u002Fb-\u0073ecret"]
)
def test_a_key_spelled_with_escapes_is_not_stored(
    backend: Make, spelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-a/b-secret")

    def echo(asked: Asked) -> Reply:
        body = json.dumps(answer(asked, "KEY")).replace("KEY", f"you sent {spelled}")
        return Reply(body=body.encode())

    with FakeServer(echo) as server:
        judge = backend(server.url, {"key": "JUDGE_KEY"})
        (response,) = judge.generate([ask("a")])
        assert response.completions[0].text == "you sent ..."
        store = judge._store()
        assert store is not None
        assert "secret" not in json.loads(next(iter(store.all())).body)["choices"][0]["message"]
