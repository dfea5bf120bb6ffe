"""Secrets in reasons, and the caller's environment while code is checked."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import pytest

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
