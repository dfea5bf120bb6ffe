"""The account of hosted calls, and what the stages of a run share."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadRecord, UserError
from harness.core.records import parse
from harness.engine.calls import Account, CallSettings, Services


def test_without_a_limit_nothing_is_reserved_and_unpriced_models_run() -> None:
    account = Account()
    assert account.reserve("m", None) == 0.0
    account.settle("m", requests=1, tokens_in=5, tokens_out=2, cost_usd=None)
    assert account.models["m"].cost_usd is None
    assert account.cost_usd == 0.0


def test_a_limit_counts_what_is_in_flight() -> None:
    account = Account(max_cost_usd=1.0)
    first = account.reserve("m", 0.6)
    with pytest.raises(UserError, match=r"--max-cost 1.*run again"):
        account.reserve("m", 0.5)
    account.settle("m", first, requests=1, cost_usd=0.1)
    assert account.reserve("m", 0.5) == 0.5


def test_what_costs_nothing_needs_no_room_below_the_limit() -> None:
    account = Account(max_cost_usd=1.0)
    account.settle("m", requests=1, cost_usd=1.5)
    assert account.reserve("local", 0.0) == 0.0


def test_a_limit_needs_a_price() -> None:
    with pytest.raises(UserError, match=r"unpriced.*--prices"):
        Account(max_cost_usd=1.0).reserve("local", None)


def test_one_unpriced_request_makes_the_sum_unknown_and_cached_ones_do_not() -> None:
    account = Account()
    account.settle("m", requests=1, cost_usd=0.25)
    account.settle("m", cached=3, cost_usd=None)
    assert account.models["m"].cost_usd == 0.25
    account.settle("m", requests=1, cost_usd=None)
    assert account.models["m"].cost_usd is None


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.1, 5))
def test_the_limit_is_never_passed(costs: list[float], limit: float) -> None:
    account = Account(max_cost_usd=limit)
    for most in costs:
        try:
            reserved = account.reserve("m", most)
        except UserError:
            continue
        account.settle("m", reserved, requests=1, cost_usd=most / 2)
    assert account.cost_usd <= limit + 1e-9


class Thing:
    def __init__(self, name: str, closed: list[str], fails: bool = False) -> None:
        self.name, self.closed, self.fails = name, closed, fails

    def close(self) -> None:
        self.closed.append(self.name)
        if self.fails:
            raise RuntimeError(self.name)


def test_services_open_once_and_close_the_newest_first_even_after_an_error() -> None:
    closed: list[str] = []
    services = Services()
    first = services.get("a", lambda: Thing("a", closed))
    assert services.get("a", lambda: Thing("another", closed)) is first
    services.get("b", lambda: Thing("b", closed, fails=True))
    with pytest.raises(RuntimeError, match="b"):
        services.close()
    assert closed == ["b", "a"]
    services.close()
    assert closed == ["b", "a"]


def test_services_may_be_asked_from_threads() -> None:
    services, made = Services(), []

    def work() -> None:
        services.get("x", lambda: made.append(1) or Thing("x", []))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"timeout_s": 0}, {"max_cost": 3}])
def test_settings_refuse_nonsense(wrong: dict[str, float]) -> None:
    with pytest.raises(BadRecord):
        parse(CallSettings, wrong, "options")
