"""Reasons of failures, which are stored, without secrets that code may have read.

Confined code can read no secret. This is the second line: nothing that looks like one is stored.
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness.verification.confinement import hide, is_hidden

HIDDEN = "[hidden]"
SHORTEST = 6  # characters of a secret in the environment
_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|DSN|_URL|PRIVATE", re.IGNORECASE)
_FORMS = re.compile(
    r"\b(?:sk|pk|rk|hf|ghp|gho|ghs|ghu|github_pat|glpat|xox[abprs]|AKIA|ASIA|AIza|ya29|npm|pypi|dop_v1)"
    r"[-_.A-Za-z0-9]{8,}|\beyJ[-_.A-Za-z0-9]{16,}|\b[Bb]earer\s+\S+|-----BEGIN[^-]*-----.*"
    r"|\b[A-Za-z][\w+.-]*://[^\s/@]+:[^\s/@]+@"
    r"|\b\w*(?:API_?KEY|TOKEN|SECRET|PASSWORD)\w*[\"']?\s*[=:]\s*[\"']?[^\s,\"'}]+",
    re.IGNORECASE,
)
_lock = threading.Lock()
_users = 0


def told(reason: str, *, brief: bool = False) -> str:
    """A reason without the secrets of this process's environment and without text like keys.

    Args:
        brief: keep the kind of the exception only, because the code could read files.

    >>> told("raised KeyError: 'sk-abcdefgh1234'")
    "raised KeyError: '[hidden]'"
    """
    if brief:
        return reason.partition(":")[0][:60]
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and _NAMES.search(name):
            for form in _written(value):
                reason = reason.replace(form, HIDDEN)
    return _FORMS.sub(HIDDEN, reason)


def _written(value: str) -> tuple[str, ...]:
    """A secret as text, backwards, in base 64 and in hexadecimal digits."""
    data = value.encode(errors="replace")
    encoded = base64.b64encode(data).decode().rstrip("=")
    return value, value[::-1], encoded, data.hex(), data.hex().upper()


@contextmanager
def hidden() -> Iterator[None]:
    """Keep /proc of this process, with its environment, unreadable to others meanwhile."""
    global _users
    with _lock:
        _users += 1
        before = is_hidden()
        hide()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and not before:
                hide(False)
