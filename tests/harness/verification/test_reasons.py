"""Secrets in reasons, and the caller's environment while code is checked."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import pytest

from harness.verification import reasons
from harness.verification.confinement import is_hidden
from harness.verification.reasons import hidden, told

SECRET = "tr0ub4dor&3"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET[::-1],
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode().hex(),
        "sk-proj-abcdefgh12345678",
        "ghp_abcdefghijklmnop1234",
        "AKIAABCDEFGHIJKLMNOP",
        "Bearer abc.def",
        "https://user:pass@host/x",
        "-----BEGIN RSA PRIVATE KEY-----abc",
        "OPENAI_API_KEY=whatever-it-is",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", SECRET)
    shown = told(f"raised KeyError: '{text}' is no key")
    assert text not in shown
    assert "[hidden]" in shown
    assert shown.startswith("raised KeyError: ")


def test_ordinary_reasons_stay() -> None:
    for reason in ("", "raised AssertionError: ", "raised NameError: name 'g' is not defined"):
        assert told(reason) == reason
    assert told("raised KeyError: 'x: y'", brief=True) == "raised KeyError"


def test_the_environment_of_the_caller_is_hidden_meanwhile() -> None:
    before = is_hidden()
    with hidden(), hidden():
        assert is_hidden()
    assert is_hidden() == before


def test_another_process_of_the_user_cannot_read_it() -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read every process")
    read = f"print(len(open('/proc/{os.getpid()}/environ').read()))"
    with hidden():
        done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True)
    assert "PermissionError" in done.stderr


def test_which_names_of_the_environment_have_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MY_KEY", "a_token", "SECRET_X", "PASSPHRASE", "CREDENTIALS", "AUTHOR", "COOKIES",
                 "SENTRY_DSN", "DB_URL", "PRIVATE"):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setenv(name, "plain words")
            assert told("x plain words y") == "x [hidden] y", name
            patch.setenv(name, "12345")  # shorter texts are words of any reason
            assert told("x 12345 y") == "x 12345 y"
            patch.setenv(name, "123456")
            assert told("x 123456 y 654321") == "x [hidden] y [hidden]"
    monkeypatch.setenv("PLAIN", "plain words")
    assert told("x plain words y") == "x plain words y"


def test_a_secret_in_each_of_its_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "ab:\udcffcd")
    data = b"ab:?cd"
    for form in ("dc\udcff:ba", "YWI6P2Nk", data.hex(), data.hex().upper()):
        assert told(f"<{form}>") == "<[hidden]>"
    monkeypatch.setenv("MY_KEY", "abcdefg")
    assert told("YWJjZGVmZw==") == "[hidden]=="


def test_a_brief_reason_is_the_kind_alone() -> None:
    assert told("x" * 99, brief=True) == "x" * 60
    assert told("raised A: sk-abcdefgh1234", brief=True) == "raised A"


def test_a_process_that_was_hidden_stays_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[bool] = []
    state = [False]

    def hide(hidden: bool = True) -> None:
        steps.append(hidden)
        state[0] = hidden

    monkeypatch.setattr(reasons, "hide", hide)
    monkeypatch.setattr(reasons, "is_hidden", lambda: state[0])
    with hidden():
        pass
    assert steps == [True, False]
    state[0] = True
    with hidden():
        pass
    assert steps == [True, False, True]
    state[0] = False
    outer, inner = hidden(), hidden()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert state == [True]  # the other thread still needs it
    inner.__exit__(None, None, None)
