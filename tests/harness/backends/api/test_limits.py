"""Rates and the number in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from harness.backends.api.limits import Bucket, Limits, seconds

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
    ],
)
def test_reset_headers(text: str, value: float | None) -> None:
    assert seconds(text) == value


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
    assert bucket.wait_s(5) == 0


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
