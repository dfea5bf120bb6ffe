"""Rates and the number in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from harness.backends.api.limits import LONGEST_S, Bucket, Limits, retry_after, seconds

T = TypeVar("T")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(work: Callable[[], Awaitable[T]]) -> T:
    return asyncio.run(asyncio.wait_for(work(), 5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("7.66", 7.66),
        ("soon", None),
        ("1 minute 2 seconds", 62),
        ("PT6M0S", 360),
        ("nan", None),
        ("inf", None),
        ("-5", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("2015-10-21T07:28:00Z", 0),
    ],
)
def test_reset_headers(text: str, value: float | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["1700000030", "1700000030000", "1700000030000000"])
def test_reset_headers_with_a_time_since_1970(text: str) -> None:
    assert seconds(text, now=1.7e9) == pytest.approx(30)


@pytest.mark.parametrize(
    ("headers", "said", "value"),
    [
        ({"retry-after-ms": "5", "retry-after": "9"}, "", 0.005),
        ({"retry-after": "9"}, "try again in 3s", 9),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0),
        ({}, "Please try again in 6m12.5s.", 372.5),
        ({}, "limit reached, try again in 5h2m", 18120),
        ({}, "Please retry after 43 seconds.", 43),
        ({}, "try again later", None),
    ],
)
def test_waits_after_a_refusal(headers: dict[str, str], said: str, value: float | None) -> None:
    assert retry_after(headers, said) == value


def test_a_bucket_without_a_rate_lets_everything_through() -> None:
    bucket = Bucket()
    assert [bucket.wait_s(1e9) for _ in range(3)] == [0, 0, 0]


def test_the_users_rate_goes_out_evenly() -> None:
    clock = Clock()
    bucket = Bucket(120, clock)
    assert [bucket.wait_s(1), bucket.wait_s(1)] == [0, 0]
    assert bucket.wait_s(1) == pytest.approx(0.5)
    sent = 2
    for _ in range(600):
        clock.now += 0.1
        while bucket.wait_s(1) == 0:
            sent += 1
    assert sent == pytest.approx(2 + 120, abs=1)


def test_a_cost_above_the_capacity_leaves_a_debt() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    assert bucket.wait_s(30) == 0
    assert bucket.wait_s(1) == pytest.approx(30)


def test_headers_set_rate_and_level() -> None:
    clock = Clock()
    bucket = Bucket(None, clock)
    bucket.observe("60", "2", "58s")
    assert [bucket.wait_s(1), bucket.wait_s(1)] == [0, 0]
    assert bucket.wait_s(1) == pytest.approx(1)
    clock.now += 1
    assert bucket.wait_s(1) == 0


def test_a_daily_limit_is_not_taken_for_one_of_a_minute() -> None:
    clock = Clock()
    bucket = Bucket(None, clock)
    bucket.observe("200", "1", "85968s")  # 200 a day, one request back every 432 s
    assert bucket.wait_s(1) == 0
    assert bucket.wait_s(1) == pytest.approx(432, rel=0.01)


def test_the_users_number_goes_before_the_headers_but_not_beyond_what_is_left() -> None:
    clock = Clock()
    bucket = Bucket(6000, clock)
    bucket.observe("60000", "3", "1s")
    assert [bucket.wait_s(1) for _ in range(3)] == [0, 0, 0]
    assert bucket.wait_s(1) == pytest.approx(0.01)


def test_nonsense_in_headers_is_ignored() -> None:
    bucket = Bucket()
    bucket.observe("many", None, None)
    bucket.observe("0", "x", "1s")
    bucket.observe("nan", "-1", "-5s")
    bucket.observe("60", "inf", "nan")
    assert bucket.wait_s(5) == 0


def test_a_list_of_limits_is_its_first() -> None:
    bucket = Bucket(None, Clock())
    bucket.observe("60, 60;w=60", "1", "59s")
    assert bucket.wait_s(1) == 0
    assert bucket.wait_s(1) == pytest.approx(1)


def test_a_new_period_of_the_server_refills_the_bucket() -> None:
    bucket = Bucket(None, Clock())
    bucket.observe("20", "0", "30s")
    assert bucket.wait_s(1) > 0
    bucket.observe("20", "19", "30s", outstanding=4)
    assert [bucket.wait_s(1) for _ in range(15)] == [0] * 15
    assert bucket.wait_s(1) > 0


def test_headers_never_stop_all_attempts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    limits = Limits(4, clock=clock, name="http://host")
    limits._requests.observe("10", "0", "1000000s")
    slept: list[float] = []

    async def sleep(pause: float) -> None:
        slept.append(pause)
        clock.now += pause

    monkeypatch.setattr("harness.backends.api.limits.asyncio.sleep", sleep)
    run(lambda: limits.enter(1))
    assert sum(slept) == pytest.approx(LONGEST_S)
    assert "http://host: waiting 120 s: its headers allow no more requests now" in caplog.text


def test_the_users_rate_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    limits = Limits(4, 1, None, clock)

    async def sleep(pause: float) -> None:
        clock.now += pause

    monkeypatch.setattr("harness.backends.api.limits.asyncio.sleep", sleep)
    run(lambda: limits.enter(1))
    for _ in range(3):
        before = clock.now
        run(lambda: limits.enter(1))
        assert clock.now - before == pytest.approx(60)


def test_unused_tokens_come_back() -> None:
    clock = Clock()
    limits = Limits(4, None, 600, clock)

    async def work() -> None:
        await limits.enter(10)
        limits.unused(9)
        limits.leave()
        await limits.enter(9)
        limits.leave()

    run(work)


def test_the_window_halves_once_a_round_trip_and_grows_by_one_a_window() -> None:
    clock = Clock()
    limits = Limits(16, clock=clock)
    started = clock()
    clock.now += 1
    limits.rate_limited(started)
    limits.rate_limited(started)  # sent before the halving
    assert limits.window == 8
    clock.now += 1
    limits.rate_limited(clock())
    assert limits.window == 4
    for _ in range(4):
        limits.succeeded()
    assert limits.window == 5
    for _ in range(500):
        limits.succeeded()
    assert limits.window == 16
    for _ in range(9):
        clock.now += 1
        limits.rate_limited(clock())
    assert limits.window == 1


def test_no_more_than_the_window_are_in_flight() -> None:
    limits = Limits(3)
    most = 0

    async def one() -> None:
        nonlocal most
        await limits.enter(1)
        most = max(most, limits.in_flight)
        await asyncio.sleep(0.001)
        limits.leave()

    async def work() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    run(work)
    assert most == 3
    assert limits.in_flight == 0


def test_a_cancelled_wait_gives_its_place_on() -> None:
    limits = Limits(1)

    async def work() -> None:
        await limits.enter(1)
        waiting = [asyncio.create_task(limits.enter(1)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        limits.leave()  # wakes the second, which is cancelled in the same moment
        waiting[1].cancel()
        await asyncio.wait_for(waiting[2], 1)
        assert limits.in_flight == 1

    run(work)
