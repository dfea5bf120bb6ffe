"""Claims and verdicts of hand-made cells: what they say, what they take into account."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadRecord, ClaimContradicted
from harness.core.records import Interval, parse
from harness.engine.recipe import Recipe
from leaderboards.claims import (
    Claim,
    ClaimResult,
    DoseClaim,
    claims_of,
    judge_claim,
    parse_claim,
    require,
    summary,
)
from leaderboards.scores import combine_all
from tests.leaderboards.test_by_hand import made

SAID = {"suite": "s", "metric": "m"}


def test_what_a_claim_says_of_itself() -> None:
    claim = Claim(id="c", better="a", worse="b", **SAID, paper_better=55.9, paper_worse=50.7)
    assert claim.statement == "a beats b on s m"
    assert (claim.paper_effect, claim.weights, claim.systems) == (5.2, (1.0, -1.0), ("a", "b"))
    assert Claim(id="c", better="a", worse="b", **SAID, paper_better=55.9).paper_effect is None
    assert Claim(id="c", better="a", worse="b", **SAID, text="Said").statement == "Said"
    doses = {"z": 1.0, "b": 4.0, "a": 4.0}
    slope = DoseClaim(id="d", kind="slope", doses=doses, **SAID, log_dose=True, paper_slope=2.0)
    assert slope.pairs == (("z", 1.0), ("a", 4.0), ("b", 4.0))
    assert slope.weights == pytest.approx((-0.5, 0.25, 0.25))  # log2: 0, 2, 2
    assert (slope.rate, slope.statement) == (
        "per doubling of the dose",
        "s m improves with the dose",
    )
    plain = slope.model_copy(update={"log_dose": False, "cause": "beta"})
    assert plain.weights == pytest.approx((-1 / 3, 1 / 6, 1 / 6))
    assert plain.said({}, "LC") == "LC improves with beta"
    assert plain.rate == "per unit of beta"
    assert plain.paper_effect == 2.0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"doses": {"a": 0.0, "b": 1.0}, "log_dose": True}, r"doses above 0 .*found a = 0\)"),
        ({"doses": {"a": 1.0, "b": 1.0}}, r"at least two are distinct \(found a = 1, b = 1\)"),
        ({"doses": {}}, r"distinct \(found none\)"),
        ({"kind": "slop", "better": "a"}, 'key "kind" is \'slop\'; expected "difference"'),
        ({"better": "a"}, 'key "worse" is missing'),
    ],
)
def test_a_claim_that_is_none_is_refused(data: dict[str, Any], said: str) -> None:
    more = {"kind": "slope"} if "doses" in data else {}
    with pytest.raises(BadRecord, match=said):
        parse_claim({"id": "c", **SAID, **more, **data}, "recipe")


def test_claims_of_a_recipe_name_its_systems() -> None:
    recipe = parse(Recipe, {"method": "m", "suites": [], "claims": [
        {"id": "c", "better": "dpo", "worse": "sft", **SAID}],
        "systems": [{"name": "dpo", "method": "dpo"}]}, "test")  # fmt: skip
    with pytest.raises(
        BadRecord, match=r'm recipe, claim "c": no system .* called "sft"; it has dpo$'
    ):
        claims_of(recipe)
    with pytest.raises(BadRecord, match=r'called "sft"; did you mean "sftt"\?'):
        claims_of(recipe, ["sftt", "abc"])
    (claim,) = claims_of(recipe, ["sft"])
    assert (claim.kind, claim.id) == ("difference", "c")


def result(verdict: str, scope: str = "", low: float = -2.0, high: float = -0.05) -> ClaimResult:
    claim = Claim(id=f"c{low:g}", better="a", worse="b", **SAID)
    interval = Interval(low=low, high=high, kind="k")
    return ClaimResult.model_validate(
        {"claim": claim, "verdict": verdict, "scope": scope, "interval": interval}
    )


def test_verdicts_are_counted_and_contradictions_named() -> None:
    several = [result("contradicted"), result("holds"), result("holds"), result("not tested")]
    assert summary(several) == "2 hold, 1 contradicted, 1 not tested"
    scoped = [result("holds", "these checkpoints"), result("not tested")]
    assert summary(scoped) == "1 holds, 1 not tested (these checkpoints)"
    assert summary([*scoped, result("not shown")]) == "1 holds, 1 not shown, 1 not tested"
    assert [one.label for one in scoped] == ["holds (these checkpoints)", "not tested"]
    require(several[1:])
    with pytest.raises(ClaimContradicted) as caught:
        require([*several, result("contradicted", low=-3.25, high=-0.1)])
    assert str(caught.value) == (
        "2 claims contradicted: c-2 (difference -2.00 to -0.05); c-3.25 (difference -3.25 to -0.10)"
    )
    with pytest.raises(ClaimContradicted, match=r"^1 claim contradicted: c-2 "):
        require(several)


def test_a_verdict_takes_margin_direction_and_bounds() -> None:
    """A gap of 5 whose draws never vary: [5, 5]."""
    for better, margin, lower, bounds, verdict in (
        ("a", 0.0, False, None, "holds"), ("a", 6.0, False, None, "contradicted"),
        ("b", 0.0, False, None, "contradicted"), ("b", -6.0, False, None, "holds"),
        ("b", 0.0, True, None, "holds"), ("b", 6.0, True, None, "contradicted"),
        ("a", -6.0, True, None, "holds"), ("a", 0.0, False, (43.0, 51.0), "not shown"),
        ("a", 0.0, False, (46.0, 51.0), "holds"), ("a", 2.0, False, (46.0, 51.0), "not shown"),
        ("b", 2.0, True, (46.0, 51.0), "not shown"),
    ):  # fmt: skip
        more = {"n_failed": 5, "n_scored": 295, "bounds": bounds} if bounds else {}
        cells = [made("a", 50.0, higher_is_better=not lower, **more),
                 made("b", 45.0, higher_is_better=not lower)]  # fmt: skip
        claim = Claim(
            id="c", better=better, worse="b" if better == "a" else "a", **SAID, margin=margin
        )
        found = judge_claim(claim, combine_all(cells))
        assert found.verdict == verdict, (better, margin, lower, bounds)
        assert (found.effect, found.scope) == (5 if better == "a" else -5, "these checkpoints")
        assert found.higher_is_better is not lower
        assert ("change the" in found.reason) is (verdict == "not shown")


def test_a_claim_without_all_its_scores_names_the_absent() -> None:
    slope = DoseClaim(id="d", kind="slope", doses={"a": 0.0, "b": 1.0, "c": 2.0}, **SAID)
    cells = [made("a", 50.0), made("a", 52.0, seed=1), made("b", 54.0)]
    found = judge_claim(slope, combine_all(cells))
    assert (found.verdict, found.reason) == ("not tested", "no s m of c")
    assert [(p.system, p.dose, p.value) for p in found.points] == [
        ("a", 0.0, 51.0), ("b", 1.0, 54.0), ("c", 2.0, None)
    ]  # fmt: skip
    assert found.points[1].interval is not None
    both = judge_claim(slope, combine_all([made("b")]))
    assert both.reason == "no s m of a and c"
    tested = judge_claim(slope, combine_all([*cells, made("c", 61.0)]))
    assert (tested.slope, tested.effect, tested.seeds, tested.unit) == (5.0, 5.0, 1, "%")
    other = judge_claim(slope, combine_all([*cells, made("c", 61.0, judge_fingerprint="g")]))
    assert other.reason == "judge fingerprint differs (a: f; c: g)"
    assert (other.verdict, other.interval, other.detectable) == ("not tested", None, None)
