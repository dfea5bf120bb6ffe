"""Price files: the built-in table, the user's before it, snapshots, and what is unpriced."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from harness.core.errors import BadRecord, UserError
from harness.engine.prices import BUILT_IN, Price, PriceList


def test_the_built_in_table_is_dated_and_sourced() -> None:
    prices = PriceList.load()
    judge = prices.of("gpt-4-1106-preview")
    assert judge is not None
    assert (judge.usd_per_million_in, judge.usd_per_million_out) == (10, 30)
    for line in BUILT_IN.read_text().splitlines():
        if line.startswith("[models."):
            name = line.split('"')[1]
            price = prices.of(name)
            assert price is not None
            assert price.as_of is not None
            assert price.as_of <= date.today()
            assert price.source
            assert price.usd_per_million_out >= price.usd_per_million_in > 0


def test_costs_add_up() -> None:
    price = Price(usd_per_million_in=10, usd_per_million_out=30)
    assert price.cost(1_000_000, 0) == 10
    assert price.cost(805 * 1000, 805) == pytest.approx(8.07415)
    assert price.share(0.5).cost(1_000_000, 1_000_000) == 20


def test_a_snapshot_has_its_own_price_or_that_of_the_undated_name() -> None:
    prices = PriceList.load()
    assert prices.of("gpt-4o-2024-05-13") != prices.of("gpt-4o")
    assert prices.of("gpt-4o-2031-01-01") == prices.of("gpt-4o")
    assert prices.of("gpt-4o-2024") is None


def test_what_is_unknown_is_unpriced() -> None:
    prices = PriceList.load()
    assert prices.of("my-judge") is None
    assert prices.of("gpt-4", "http://127.0.0.1:8000/v1") is None  # not OpenAI's own


def test_the_users_file_goes_first_and_holds_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[models."gpt-4"]\nusd_per_million_in = 1\nusd_per_million_out = 2\n'
        "[models.free]\nusd_per_million_in = 0\nusd_per_million_out = 0\n"
    )
    prices = PriceList.load(path)
    assert prices.of("gpt-4") == Price(usd_per_million_in=1, usd_per_million_out=2)
    assert prices.of("gpt-4", "http://host/v1") == prices.of("gpt-4")
    free = prices.of("free", "http://host/v1")
    assert free is not None
    assert free.cost(5, 5) == 0
    assert prices.of("gpt-4o") == PriceList.load().of("gpt-4o")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt-4 = 3", 'expected tables [models."<name>"]'),
        ("models = 3", "expected tables"),
        ("[models]\ngpt = 3", 'models."gpt" is 3'),
        ('[models."a"]\nusd_per_million_in = 1', '"usd_per_million_out" is missing'),
        ('[models."a"]\nusd_per_milion_in = 1\nusd_per_million_out = 1', "did you mean"),
        ('[models."a"]\nusd_per_million_in = -1\nusd_per_million_out = 1', "greater than"),
        ("models = [", "not TOML"),
    ],
)
def test_bad_files_say_where_and_what(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(BadRecord) as caught:
        PriceList.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml cannot be read"):
        PriceList.load(tmp_path / "none.toml")
