"""The account of hosted calls, and what the stages of a run share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadRecord, UserError
from harness.core.records import parse
from harness.engine.calls import Account, CallSettings, Services, Spent


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


DEFAULTS = {
    "responses": None, "offline": False, "concurrency": 64, "timeout_s": 120.0, "retries": 6,
    "requests_per_minute": None, "tokens_per_minute": None, "max_cost_usd": None, "prices": None,
    "max_reply_bytes": 67_108_864, "batch": False, "vllm_python": None, "replicas": 1,
    "executor": "inline", "allow_code_execution": False, "allow_weak_isolation": False,
}  # fmt: skip
# The least value that each number may have, and one below it.
LEAST = {
    "concurrency": (1, 0), "timeout_s": (0.1, 0), "retries": (0, -1),
    "requests_per_minute": (1, 0), "tokens_per_minute": (1, 0), "max_cost_usd": (0, -0.01),
    "max_reply_bytes": (1024, 1023), "replicas": (1, 0),
}  # fmt: skip


def test_calls_have_the_settings_that_the_manual_states() -> None:
    assert CallSettings().model_dump() == DEFAULTS
    assert Services().settings == CallSettings()
    own = CallSettings(max_cost_usd=2.5)
    with Services(own) as services:
        assert services.settings is own
        assert services.account.max_cost_usd == 2.5


@pytest.mark.parametrize("name", LEAST)
def test_each_number_has_a_least_value(name: str) -> None:
    least, below = LEAST[name]
    services = Services(parse(CallSettings, {name: least}, "options"))
    assert getattr(services.settings, name) == least
    with pytest.raises(BadRecord, match=name):
        parse(CallSettings, {name: below}, "options")


@pytest.mark.parametrize("name", ["", "Ray", "rays", "ray@host", "slurm"])
def test_an_unknown_executor_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(BadRecord, match=r"inline, ray \(this machine, or its cluster\)"):
        parse(CallSettings, {"executor": name}, "options")


def test_an_account_adds_up_by_model() -> None:
    account = Account(max_cost_usd=10.0)
    assert account.cost_usd == 0
    account.settle("a", requests=1, cached=20, tokens_in=300, tokens_out=4000, cost_usd=0.5)
    account.settle("a", requests=2, cached=30, tokens_in=400, tokens_out=5000, cost_usd=0.25)
    account.settle("b", requests=5, cost_usd=2.0)
    account.settle("c", cached=1)
    account.settle("d")
    assert account.models == {
        "a": Spent(3, 50, 700, 9000, 0.75), "b": Spent(5, 0, 0, 0, 2.0),
        "c": Spent(0, 1, 0, 0, 0.0), "d": Spent(0, 0, 0, 0, 0.0),
    }  # fmt: skip
    assert account.cost_usd == 2.75
    account.settle("b", cost_usd=1.0)  # money without a request, such as a batch's fee
    assert account.models["b"].cost_usd == 3.0
    account.settle("a", requests=1, cost_usd=None)
    account.settle("a", requests=1, cost_usd=1.0)
    assert account.models["a"].cost_usd is None
    assert account.cost_usd == 3.0


def test_the_limit_may_be_reached_and_not_passed() -> None:
    account = Account(max_cost_usd=1.0)
    assert account.reserve("m", 0.75) == 0.75
    with pytest.raises(UserError, match=r"0.0000 USD spent, 1.2500 USD more in flight"):
        account.reserve("m", 0.5)
    assert account.reserve("m", 0.25) == 0.25
    account.settle("m", 0.75, requests=1, cost_usd=0.5)
    with pytest.raises(UserError, match=r"0.5000 USD spent, 0.5625 USD more"):
        account.reserve("m", 0.3125)
    account.settle("m", 9.0)  # more than is reserved releases all of it
    assert account.reserve("m", 0.5) == 0.5
    account.settle("m")
    with pytest.raises(UserError):
        account.reserve("m", 0.03)


def test_the_end_of_a_block_closes_and_the_first_error_is_raised() -> None:
    closed: list[str] = []
    with Services() as services:
        services.get("a", lambda: Thing("a", closed))
    assert closed == ["a"]
    services.get("b", lambda: Thing("b", closed, fails=True))
    services.get("c", lambda: Thing("c", closed, fails=True))
    with pytest.raises(RuntimeError, match="c"):
        services.close()


def test_prices_are_those_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("[models.m]\nusd_per_million_in = 1\nusd_per_million_out = 2\n")
    assert Services().prices.of("m") is None
    own = Services(CallSettings(prices=path)).prices.of("m")
    assert own is not None
    assert own.usd_per_million_out == 2
