"""Parsing of references: URLs, keys, identities and options."""

from __future__ import annotations

import json

import pytest

from harness.backends.api.endpoint import Endpoint, is_loopback
from harness.core.errors import BadRecord, EnvironmentProblem, UserError

URL = "http://127.0.0.1:8000/v1"


@pytest.fixture(autouse=True)
def no_openai_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_bare_model_goes_to_openai_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint.parse("gpt-4-1106-preview")
    assert endpoint.base_urls == ("https://api.openai.com/v1",)
    assert (endpoint.identity, endpoint.key_variable) == ("openai", "OPENAI_API_KEY")
    with pytest.raises(EnvironmentProblem, match="OPENAI_API_KEY is not set"):
        endpoint.api_key()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-1\n")
    assert endpoint.api_key() == "sk-test-1"
    assert "sk-test-1" not in repr(endpoint) + endpoint.fingerprint("chat")


def test_openai_written_out_is_the_same_endpoint() -> None:
    written = Endpoint.parse("gpt-4o@https://api.openai.com/v1/")
    assert written.fingerprint("chat") == Endpoint.parse("gpt-4o").fingerprint("chat")


def test_a_typed_url_gets_no_key_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    endpoint = Endpoint.parse(f"m@{URL}/")
    assert endpoint.base_urls == (URL,)
    assert (endpoint.identity, endpoint.key_variable, endpoint.ambient) == (URL, None, False)
    assert endpoint.api_key() is None
    assert Endpoint.parse(f"m@{URL}", {"key": "MY_KEY"}).key_variable == "MY_KEY"


def test_the_base_url_variable_is_ambient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/v1/")
    endpoint = Endpoint.parse("m")
    assert endpoint.base_urls == (endpoint.identity,) == ("https://gateway.example/v1",)
    assert endpoint.key_variable == "OPENAI_API_KEY"
    assert endpoint.ambient


def test_models_may_hold_slashes_colons_and_at_signs() -> None:
    assert Endpoint.parse("org/name:free").model == "org/name:free"
    assert Endpoint.parse("claude@20240620").model == "claude@20240620"
    endpoint = Endpoint.parse(f"claude@20240620@{URL}")
    assert (endpoint.model, endpoint.base_urls) == ("claude@20240620", (URL,))


def test_replicas_are_one_endpoint_whatever_their_order() -> None:
    first = Endpoint.parse("m@http://a:1/v1,http://b:2/v1")
    second = Endpoint.parse("m@http://b:2/v1,http://a:1/v1")
    assert first.base_urls == ("http://a:1/v1", "http://b:2/v1")
    assert first.fingerprint("chat") == second.fingerprint("chat")


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("m@http://user:pass-word@host/v1", "key=VARIABLE"),
        ("m@http://token@host/v1", "key=VARIABLE"),
        ("m@ftp://host/v1", "http:// or https://"),
        ("m@localhost:8000/v1", "m@http://localhost:8000/v1"),
        ("m@host:8000", "m@http://host:8000"),
        ("m@http://", "no host"),
        ("m@http://host:port/v1", "not a URL"),
        (f"@{URL}", "names no model"),
        ("", "names no model"),
        (f"m@{URL}?api_key=pass-word", "has no query"),
    ],
)
def test_bad_references_say_what_to_write(ref: str, said: str) -> None:
    with pytest.raises(BadRecord) as caught:
        Endpoint.parse(ref)
    assert said in str(caught.value)
    assert "pass-word" not in str(caught.value)
    assert "token" not in str(caught.value)


def test_options_are_checked() -> None:
    with pytest.raises(BadRecord, match='did you mean "logprobs"'):
        Endpoint.parse("m", {"logprob": "false"})
    with pytest.raises(BadRecord, match="max_tokens_field"):
        Endpoint.parse("m", {"max_tokens_field": "tokens"})
    with pytest.raises(BadRecord, match="never put the key itself") as caught:
        Endpoint.parse("m", {"key": "sk-abc-def"})
    assert "sk-abc-def" not in str(caught.value)


def test_only_what_the_user_says_is_in_the_fingerprint() -> None:
    plain = Endpoint.parse(f"m@{URL}")
    assert plain.fingerprint("chat") != plain.fingerprint("completions")
    assert plain.fingerprint("chat") != Endpoint.parse(f"n@{URL}").fingerprint("chat")
    changed = Endpoint.parse(f"m@{URL}", {"system": "false"})
    assert changed.overrides == {"system": False}
    assert plain.fingerprint("chat") != changed.fingerprint("chat")
    named = Endpoint.parse(f"m@{URL}", {"identity": "lab"})
    moved = Endpoint.parse("m@http://10.0.0.7/v1", {"identity": "lab", "key": "K"})
    assert named.fingerprint("chat") == moved.fingerprint("chat")


def test_a_key_with_blanks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-a b")
    with pytest.raises(EnvironmentProblem, match="MY_KEY contains blanks") as caught:
        Endpoint.parse(f"m@{URL}", {"key": "MY_KEY"}).api_key()
    assert "sk-a" not in str(caught.value)


def test_loopback() -> None:
    assert all(map(is_loopback, ("http://localhost:1", "http://[::1]:1", "http://127.9.9.9")))
    assert not any(map(is_loopback, ("http://10.0.0.1", "http://example.org", "http://[::2]")))
    assert issubclass(BadRecord, UserError)


def test_template_arguments_lead_to_the_extra_fields() -> None:
    given = {"template": '{"enable_thinking":false}'}
    with pytest.raises(BadRecord, match="a server renders its chat template itself") as found:
        Endpoint.parse("m@http://127.0.0.1:8000/v1", given)
    told = str(found.value).rpartition("?extra=")[2]
    extra = json.loads(told)
    assert extra == {"chat_template_kwargs": {"enable_thinking": False}}
    Endpoint.parse("m@http://127.0.0.1:8000/v1", {"extra": told})
