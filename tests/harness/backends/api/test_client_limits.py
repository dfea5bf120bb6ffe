"""The client's limits: what is in flight, rates, money, and stored responses."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Response
from harness.backends.openai import OpenAIBackend
from harness.core.errors import CrucibleError, StoreProblem, UserError
from harness.engine.calls import CallSettings, Services
from tests.harness.backends.api.conftest import ask, collect
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, answer, error, good

Make = Callable[..., OpenAIBackend]
SOON = {"retry-after-ms": "5"}
PRICES = '[models."judge-1"]\nusd_per_million_in = 1000.0\nusd_per_million_out = 1000.0\n'

# Limits


def test_no_more_than_the_concurrency_are_in_flight(backend: Make) -> None:
    def slowly(asked: Asked) -> Reply:
        reply = good(asked)
        reply.after_s = 0.02
        return reply

    with FakeServer(slowly) as server:
        list(backend(server.url, concurrency=5).generate([ask(str(n)) for n in range(40)]))
        assert server.most_at_once == 5


def test_replicas_share_the_work(tmp_path: Path) -> None:
    with FakeServer() as one, FakeServer() as two, Services(CallSettings()) as services:
        endpoint = Endpoint.parse(f"m@{one.url},{two.url}", {"identity": "m"})
        answers = list(OpenAIBackend(endpoint, services).generate([ask(str(n)) for n in range(60)]))
        assert [r.error for r in answers] == [None] * 60
        assert len(one.asked) + len(two.asked) == 60
        assert min(len(one.asked), len(two.asked)) > 10


def test_rate_limits_lower_the_number_in_flight(backend: Make) -> None:
    def behave(asked: Asked) -> Reply:
        reply = error(429, "slow down", **SOON) if server.most_at_once > 4 else good(asked)
        reply.after_s = 0.01
        return reply

    with FakeServer(behave) as server:
        judge = backend(server.url, concurrency=16, retries=1)
        with pytest.raises(UserError, match="limit is used up"):
            list(judge.generate([ask(str(n)) for n in range(40)]))
        lane = judge._client(None).lanes[0]
        assert lane.limits.window == 1


def test_the_users_requests_a_minute_hold(backend: Make) -> None:
    with FakeServer() as server:
        judge = backend(server.url, requests_per_minute=1200)  # twenty a second
        begun = time.monotonic()
        list(judge.generate([ask(str(n)) for n in range(34)]))
        assert time.monotonic() - begun > 0.5
        assert len(server.asked) == 34


def test_the_servers_headers_are_obeyed(backend: Make) -> None:
    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        left = max(0, 4 - asked.number)
        reply.headers = {
            "x-ratelimit-limit-requests": "1200",
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": f"{(1200 - left) * 50}ms",
        }
        return reply

    with FakeServer(behave) as server:
        begun = time.monotonic()
        list(backend(server.url).generate([ask(str(n)) for n in range(14)]))
        assert time.monotonic() - begun > 0.3


# Money


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return path


def test_costs_are_booked(backend: Make, prices: Path) -> None:
    with FakeServer() as server:
        judge = backend(server.url, prices=prices)
        (one,) = judge.generate([ask("a")])
        (again,) = judge.generate([ask("a")])
        assert one.cost_usd == pytest.approx(0.013)
        assert again.cost_usd == 0
        assert judge.services.account.cost_usd == pytest.approx(0.013)
        (unpriced,) = backend(server.url).generate([ask("b")])
        assert unpriced.cost_usd is None


def test_the_limit_is_used_up_and_not_passed(backend: Make, prices: Path) -> None:
    with FakeServer() as server:
        judge = backend(server.url, prices=prices, max_cost_usd=0.1)
        found: list[Response] = []
        with pytest.raises(UserError, match=r"--max-cost 0\.1"):
            collect(found, judge.generate([ask(str(n)) for n in range(40)]))
        assert judge.services.account.cost_usd <= 0.1
        # Each costs 0.013, at most 0.025 is set aside for one, and the last must fit.
        assert len(found) >= 5
        assert len(server.asked) == judge.services.account.models["judge-1"].requests


def test_a_limit_needs_a_price(backend: Make) -> None:
    with FakeServer() as server:
        with pytest.raises(UserError, match="unpriced"):
            list(backend(server.url, max_cost_usd=5).generate([ask("a")]))
        assert server.asked == []


# Stored responses


def test_offline_answers_what_is_stored_and_names_what_is_not(backend: Make) -> None:
    with FakeServer() as server:
        list(backend(server.url).generate([ask("a"), ask("b")]))
        url = server.url
    offline = backend(url, offline=True)
    assert [r.cached for r in offline.generate([ask("a"), ask("b")])] == [True, True]
    with pytest.raises(UserError, match=r"1 of 2 responses.*row new.*without --offline"):
        list(offline.generate([ask("a"), ask("new")]))
    with pytest.raises(UserError, match="no file of responses"):
        list(backend(url, offline=True, responses=None).generate([ask("a")]))


def test_no_store_keeps_nothing(backend: Make) -> None:
    with FakeServer() as server:
        judge = backend(server.url, responses=None)
        assert not any(r.cached for _ in range(2) for r in judge.generate([ask("a")]))
        assert len(server.asked) == 2


def test_leaving_the_iterator_keeps_what_arrived_and_stops_the_rest(backend: Make) -> None:
    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        reply.after_s = 0 if asked.number <= 8 else 20
        return reply

    with FakeServer(behave) as server:
        judge = backend(server.url, concurrency=4)
        answers: Iterator[Any] = iter(judge.generate([ask(str(n)) for n in range(60)]))
        found = [next(answers).id for _ in range(6)]
        begun = time.monotonic()
        answers.close()  # type: ignore[attr-defined]
        assert time.monotonic() - begun < 15  # no reply that takes 20 s is waited for
        asked = len(server.asked)
        assert 6 < asked <= 12
        server.behave = good
        again = {r.id: r.cached for r in judge.generate([ask(str(n)) for n in range(60)])}
        assert all(again[id] for id in found)
        # The server may have met some of the cancelled ones after the count.
        fresh = len(server.asked) - 60 + sum(again.values())
        assert asked <= fresh <= 12


def test_a_full_disk_ends_the_run(backend: Make) -> None:
    with FakeServer(lambda asked: Reply(body=answer(asked, "x" * 9000))) as server:
        judge = backend(server.url, concurrency=4)
        store = judge._store()
        assert store is not None
        store._connection.execute("PRAGMA max_page_count=24")
        with pytest.raises(StoreProblem, match="no space left"):
            list(judge.generate([ask(str(n)) for n in range(40)]))
        assert len(server.asked) < 40


def test_a_busy_file_delays_and_loses_nothing(backend: Make, tmp_path: Path) -> None:
    with FakeServer() as server:
        judge = backend(server.url)
        list(judge.generate([ask("first")]))
        other = sqlite3.connect(
            tmp_path / "responses.sqlite", isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.4, lambda: other.execute("COMMIT"))
        timer.start()
        answers = list(judge.generate([ask(str(n)) for n in range(5)]))
        assert [r.error for r in answers] == [None] * 5
        timer.join()
        other.close()
        assert all(r.cached for r in judge.generate([ask(str(n)) for n in range(5)]))


def test_a_client_closed_in_the_middle_says_so(backend: Make) -> None:
    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        reply.after_s = 0 if asked.number <= 2 else 20
        return reply

    with FakeServer(behave) as server:
        judge = backend(server.url)
        answers = judge.generate([ask(str(n)) for n in range(5)])
        next(answers)
        judge.services.close()
        with pytest.raises(CrucibleError, match="closed meanwhile"):
            list(answers)
