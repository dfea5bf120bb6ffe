"""Numbers, marks and notes as text, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.records import Interval
from harness.engine.preconditions import SUITE, Precondition
from harness.stats.mcnemar import OUTCOMES
from leaderboards.board import Entry, build_board
from leaderboards.claims import Claim, ClaimResult, DoseClaim
from leaderboards.render import csv, html, text
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, Reference
from tests.leaderboards.test_by_hand import made

PLAIN = BoardSpec(name="b", title="B")


@pytest.mark.parametrize(
    ("value", "digits", "signed", "shown"),
    [
        (1.25, 1, False, "1.2"), (1.35, 1, False, "1.4"), (-0.04, 1, True, "0.0"),
        (0.0, 2, True, "0.00"),
        (2.0, 0, True, "+2"), (-2.0, 0, True, "-2"), (1234.5678, 3, False, "1234.568"),
        (0.30000000004, 9, False, "0.300000000"), (100.0, 0, False, "100"),
    ],
)  # fmt: skip
def test_numbers_have_fixed_decimals(value: float, digits: int, signed: bool, shown: str) -> None:
    assert text.number(value, digits, signed=signed) == shown
    assert text.signed(value, digits) == text.number(value, digits, signed=True)


def test_missing_values_are_a_dash() -> None:
    assert (text.MISSING, text.signed(None, 1)) == ("—", "—")
    assert text.against(1.0, 2.25, 1) == "1.0 against 2.2"
    assert text.against(None, 2.0, 1) == text.against(1.0, None, 1) == ""
    span = Interval(low=-1.0, high=2.0, kind="k")
    assert text.span(span, 1) == "[-1.0, 2.0]"
    assert text.span(span, 0, signed=True) == "[-1, +2]"


@pytest.mark.parametrize(
    ("value", "spread", "shown"),
    [
        (None, None, "—"), (True, None, "yes"), (False, None, "no"), ("a\tb", None, "a<U+0009>b"),
        (2, None, "2.0"), (2.26, 0.24, "2.3 ± 0.2"),
    ],
)  # fmt: skip
def test_an_entry_shows_its_value(value: Any, spread: float | None, shown: str) -> None:
    assert text.entry_value(Entry(score=None, value=value, spread=spread), 1) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"), (True, "yes"), (False, "no"), (3, "3"), (0.5, "0.5"), (2.0, "2"),
        (0.123456, "0.1235"), (100.0, "100"), ("x", "x"), ("y" * 300, "y" * 199 + "…"),
    ],
)  # fmt: skip
def test_details_have_at_most_four_decimals(value: Any, shown: str) -> None:
    assert text.detail(value)[:199] == shown[:199]
    assert len(text.detail(value)) <= 210
    assert text.shown_details({"a": 1, OUTCOMES: "ff"}) == {"a": 1}


def board(*cells: Any, **spec: Any) -> Any:
    return build_board(PLAIN.model_copy(update={"allow_mixed": True, **spec}), cells)


def test_the_scale_is_explained_except_the_papers() -> None:
    assert text.banner(board(made(scale="paper"))) == ""
    assert text.banner(board(made(scale="own"))) == text.SCALES["own"]
    assert text.banner(board(made(scale="mine"))) == "mine"
    both = board(made(), made("b", scale="published"), made("c", scale="paper"))
    assert text.banner(both) == f"{text.SCALES['nano']}; {text.SCALES['published']}"
    known = {key: value.partition(":")[0] for key, value in text.SCALES.items()}
    plain = ("nano", "rehearsal", "small", "published")
    assert known == {**{key: key for key in plain}, "own": "own judge"}


def test_notes_say_levels_kinds_and_seeds() -> None:
    kinds = [Interval(low=1, high=99, kind=kind, level=0.9) for kind in ("z", "a")]
    several = board(made("a", interval=kinds[0]), made("b", interval=kinds[1]), level=0.9)
    assert text.interval_note(several) == "Brackets: 90 % interval (a; z)."
    hidden = (ColumnSpec(suite="s", metric="m", interval=False),)
    assert text.interval_note(board(made(), columns=hidden)) == ""
    two, three = ([made(name, seed=seed) for seed in range(n)] for name, n in (("a", 2), ("b", 3)))
    assert text.seeds_note(board(*two, *three)) == "Values are means over 2 to 3 seeds."
    assert text.seeds_note(board(*three)) == "Values are means over 3 seeds."
    assert text.seeds_note(board(made(), *three)) == "Values are means over 1 to 3 seeds."
    assert text.seeds_note(board(made())).startswith("One seed each: marks and verdicts are about")
    assert text.seeds_note(board(made(value=None))) == ""
    spread = tuple(
        ColumnSpec(suite="s", metric=metric, spread=name)
        for metric, name in (("m", "a_b"), ("n", None), ("o", "c"), ("p", "c"))
    )
    assert text.spread_note(board(made(), columns=spread)) == "Behind ±: a b, c."
    assert text.spread_note(board(made())) == ""
    assert text.standing_note(board(made())) == "★ best of its column."
    assert text.standing_note(board(made(value=None))) == ""


def test_decimals_are_those_of_the_column_or_none_for_whole_details() -> None:
    columns = tuple(
        ColumnSpec(suite="s", metric=metric, detail=detail, digits=digits)
        for metric, detail, digits in (("m", None, 3), ("m", "n", None), ("m", "x", None),
                                       ("o", None, None), ("m", "n", 2))
    )  # fmt: skip
    spec = {"columns": columns[:4], "digits": 2}
    cells = [made(details={"n": 3, "x": 1.5}), made("b", details={"x": 2})]
    found = board(*cells, **spec)
    assert [text.column_digits(found, place) for place in range(4)] == [3, 0, 2, 2]
    again = board(*cells, columns=(columns[4],))
    assert text.column_digits(again, 0) == 2
    for metric, digits in (("m", 3), ("o", 2), ("none", 2)):
        claim = Claim(id="c", better="a", worse="b", suite="s", metric=metric)
        result = ClaimResult(claim=claim, verdict="not tested")
        assert text.claim_digits(found, result) == digits
        assert text.effect_digits(found, result) == digits
    assert text.claim_digits(board(*cells, columns=columns[1:2]), result) == 1


@pytest.mark.parametrize(
    ("slope", "paper", "interval", "digits"),
    [
        (3.0, None, None, 1), (0.3, None, None, 2), (0.03, None, None, 3), (1e-12, None, None, 9),
        (0.03, 0.3, None, 2), (0.03, None, (-0.5, 0.001), 2), (0.03, None, (0.001, 0.4), 2),
        (None, None, None, 1), (300.0, None, None, 1), (-0.03, None, None, 3),
    ],
)  # fmt: skip
def test_a_slope_has_two_digits_that_say_something(
    slope: float | None,
    paper: float | None,
    interval: tuple[float, float] | None,
    digits: int,
) -> None:
    claim = DoseClaim(id="d", kind="slope", doses={"a": 0.0, "b": 1.0}, suite="s", metric="m",
                      paper_slope=paper)  # fmt: skip
    known = interval and Interval(low=interval[0], high=interval[1], kind="k")
    result = ClaimResult(claim=claim, verdict="holds", slope=slope, interval=known)
    assert text.effect_digits(board(made()), result) == digits


def test_the_papers_figures_are_shown_where_they_compare() -> None:
    figure = Reference(system="a", suite="s", metric="m", value=55.94, source="t")
    for scale, shown in (("paper", "paper 55.9"), ("published", "paper 55.9"), ("nano", "")):
        found = board(made(scale=scale), made("b", scale=scale), references=(figure,))
        assert text.reference_text(found, "a", 0) == shown
        assert text.reference_text(found, "b", 0) == ""


def test_a_board_says_where_it_came_from() -> None:
    facts = Provenance(recipe="r/p", command="run", libraries={"b": "2", "a": "1"})
    cells = [made(judge=None, decode_fingerprint=None, n_failed=2, n_scored=298, bounds=(0, 100)),
             made(seed=3, judge=None)]  # fmt: skip
    assert text.provenance_lines(board(*cells, provenance=facts)) == [
        ("recipe", "r/p"), ("command", "run"), ("s: judge", "none"), ("s: judge fingerprint", "f"),
        ("s: decode fingerprint", "d"), ("s: prompt set", "p"), ("s: seeds", "0, 3"),
        ("s: judgments", "600 expected, 598 scored, 2 failed"), ("libraries", "a 1, b 2"),
    ]  # fmt: skip
    bare = text.provenance_lines(board(made()))
    assert "recipe" not in dict(bare)
    assert "libraries" not in dict(bare)


def test_preconditions_say_once_what_is_needed() -> None:
    lines = (Precondition(text="bits", metric="bits:*", needs="few"),
             Precondition(text="bits: b", metric="other", needs="more"))  # fmt: skip
    cells = [made(name, value, suite=SUITE, metric=metric, unit=unit)
             for name, value, metric, unit in (
                 ("a", 1.23456, "bits:a", "bits"), ("z", 2.0, "bits:b", "bits"),
                 ("y", 3.0, "bits:b", "bits"), ("a", None, "bits:c", "%"))]  # fmt: skip
    rows = text.precondition_rows(board(*cells, preconditions=lines).preconditions)
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("bits: a", "a", "few"), ("bits: b", "y", "few"), ("bits: b", "z", ""),
        ("bits: c", "a", "few"),
    ]  # fmt: skip
    assert rows[0][2] == "1.235 bits [1.000, 99.000]"
    assert rows[3][2] == "— (the suite gave no value)"
    assert text.precondition_figure(12.25, "%") == "12.2 %"


def test_claims_show_values_statements_and_rates() -> None:
    said = {"suite": "s", "metric": "win_rate"}
    found = board(made("a", metric="win_rate"), made("b", metric="win_rate"))
    plain = Claim(id="c", better="a", worse="nobody", **said)
    result = ClaimResult(claim=plain, verdict="not tested")
    assert text.claim_statement(found, result) == "a beats nobody on s win rate"
    other = result.model_copy(update={"claim": plain.model_copy(update={"metric": "odd_one"})})
    assert text.claim_statement(found, other) == "a beats nobody on s odd one"
    assert text.claim_ours(result, 1) == text.claim_detectable(result, 1) == "—"
    assert text.claim_paper(result, 1) == "—"
    assert text.claim_rate(result) == ""
    gain = result.model_copy(update={"claim": plain.model_copy(update={"paper_gain": 4.0})})
    assert text.claim_paper(gain, 1) == "+4.0"
    assert text.power_note(found) == ""


# CSV and HTML


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=1", "'=1"), (" +1", "' +1"), ("'-1", "''-1"), ("a=1", "a=1"), ("a;=1", "a;'=1"),
        ("a; @x", "a; '@x"), ("a;-1", "a;'-1"), ("a; - b", "a; - b"), ("", ""),
    ],
)  # fmt: skip
def test_cells_of_a_spreadsheet_are_no_formulas(name: str, shown: str) -> None:
    assert csv.safe(name) == shown


def test_bars_have_one_range_for_a_column_and_an_axis() -> None:
    wide = board(made("a", 50.0, interval=Interval(low=40, high=60, kind="k")),
                 made("b", 55.0, interval=Interval(low=50, high=90, kind="k")))  # fmt: skip
    assert html._domain(wide, 0) == (40 - 3, 90 + 3)
    assert html._domain(board(made(interval=None, replicates=())), 0) == (0.0, 1.0)
    point = board(made(interval=Interval(low=50, high=50, kind="k")))
    assert html._domain(point, 0) == (49.0, 51.0)
    claims = [Claim(id=str(n), better="a", worse="b", suite="s", metric="m", paper_gain=gain)
              for n, gain in enumerate((None, -20.0, None))]  # fmt: skip
    results = [
        ClaimResult(claim=claims[0], verdict="holds", difference=5.0, unit="%",
                    interval=Interval(low=-10, high=8, kind="k")),
        ClaimResult(claim=claims[1], verdict="holds", difference=0.0, unit="x"),
        ClaimResult(claim=claims[2], verdict="not tested", unit="y"),
    ]  # fmt: skip
    domains = html._claim_domains(results)
    reach = {unit: end for unit, (_, end) in domains.items()}
    assert reach == pytest.approx({"%": 10.8, "x": 21.6, "y": 1.08})
    assert all(low == -high for low, high in domains.values())
