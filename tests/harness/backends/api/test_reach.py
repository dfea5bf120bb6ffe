"""Whether a judge's server answers, before anything is sampled."""

from __future__ import annotations

import socket

import pytest

from harness.backends.api.endpoint import Endpoint
from harness.backends.api.reach import check_reach
from harness.core.errors import EnvironmentProblem, UserError
from harness.nano.server import NanoServer


def test_a_server_that_answers_is_reached_and_costs_nothing() -> None:
    with NanoServer() as server:
        check_reach(Endpoint.parse(f"m@{server.url}"))
        assert server.counts()["ok"] == 0


def test_no_server_is_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EnvironmentProblem, match=r"m cannot be reached at .*--offline"):
        check_reach(Endpoint.parse(f"m@{url}"))


def test_a_refused_key_is_told_from_an_absent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-wrong")
    with NanoServer(key="right") as server:
        endpoint = Endpoint.parse(f"m@{server.url}", {"key": "MY_KEY"})
        with pytest.raises(UserError, match="refuses the key in MY_KEY") as caught:
            check_reach(endpoint)
        assert "sk-wrong" not in str(caught.value)
        monkeypatch.setenv("MY_KEY", "right")
        check_reach(endpoint)
