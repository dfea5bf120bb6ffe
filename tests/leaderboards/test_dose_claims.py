"""Claims that a score improves with the dose of a cause."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from harness.core.errors import BadRecord, ClaimContradicted
from harness.core.records import Cell, parse
from harness.reproduce import reproduce
from harness.suites.scoring import CellMaker, CellParams
from leaderboards.board import Board, build_board
from leaderboards.claims import (
    ClaimResult,
    DoseClaim,
    claims_of,
    judge_claim,
    parse_claim,
    require,
    summary,
)
from leaderboards.files import check_board, read_board, write_board
from leaderboards.overview import PaperClaims, Side, page
from leaderboards.render import render
from leaderboards.scores import combine_all
from leaderboards.spec import BoardSpec, ColumnSpec, SystemSpec

N = 60
DOSES = {"dpo": 0.0, "wrpo": 0.1, "wrpo_3": 0.3, "wrpo_5": 0.5}


def claim(**changes: object) -> DoseClaim:
    fields = {"id": "dose", "kind": "slope", "doses": DOSES, "suite": "suite", "metric": "score"}
    found = parse_claim({**fields, **changes}, "claim")
    assert isinstance(found, DoseClaim)
    return found


def made(
    system: str, values: np.ndarray, seed: int = 0, failed: tuple[int, ...] = (), **more: object
) -> Cell:
    """A cell as the suites make it, in percent; failed prompts have no value."""
    params = CellParams(suite="suite", system=system, scale="nano", seed=seed)
    shares = [None if n in failed else float(v) for n, v in enumerate(values)]
    return CellMaker(params, "prompts", {}).mean_cell(
        "score", shares, range(len(shares)), factor=100, **more
    )


def cells(slope: float = 0.2, seeds: int = 3, **more: object) -> list[Cell]:
    """Scores that rise by `slope` per dose on average, with prompts and trainings that differ."""
    generator = np.random.default_rng(5)
    base, gain = generator.random(N) * 0.5, generator.normal(slope, 0.05, N)
    return [
        made(name, base + gain * dose + generator.normal(0, 0.002), seed, **more)
        for name, dose in DOSES.items()
        for seed in range(seeds)
    ]


def judged(stated: DoseClaim, found: list[Cell]) -> ClaimResult:
    return judge_claim(stated, combine_all(found))


def test_the_slope_is_that_of_the_line_through_the_scores() -> None:
    found = cells()
    result = judged(claim(), found)
    means = [np.mean([c.value for c in found if c.system == name]) for name in DOSES]
    assert result.slope == pytest.approx(np.polyfit(list(DOSES.values()), means, 1)[0], abs=1e-6)
    assert result.verdict == "holds"
    assert result.interval.low < result.slope < result.interval.high
    assert (result.effect, result.difference, result.seeds) == (result.slope, None, 3)
    assert [(p.system, p.dose) for p in result.points] == list(DOSES.items())
    assert [p.value for p in result.points] == pytest.approx(means)


def test_doses_may_be_taken_as_logarithms() -> None:
    doses = {"a": 1.0, "b": 2.0, "c": 8.0}
    scores = [made(name, np.full(N, 0.2 + 0.1 * k)) for name, k in (("a", 0), ("b", 1), ("c", 3))]
    result = judged(claim(doses=doses, log_dose=True), scores)
    assert result.slope == pytest.approx(10.0)  # points per doubling
    assert result.claim.rate == "per doubling of the dose"
    assert judged(claim(doses=doses), scores).slope == pytest.approx(
        np.polyfit([1, 2, 8], [20, 30, 50], 1)[0]
    )


def test_two_doses_are_a_paired_difference_per_dose() -> None:
    from leaderboards.claims import Claim

    found = cells()
    names = {"id": "c", "suite": "suite", "metric": "score"}
    gap = judge_claim(Claim(better="wrpo_5", worse="dpo", **names), combine_all(found))
    slope = judged(claim(doses={"wrpo_5": 0.5, "dpo": 0.0}), found)
    assert slope.slope == pytest.approx(2 * gap.difference)
    assert slope.interval.low == pytest.approx(2 * gap.interval.low)
    assert slope.interval.high == pytest.approx(2 * gap.interval.high)


def test_verdicts_follow_interval_margin_and_direction() -> None:
    rising, flat = cells(), cells(0.0)
    assert judged(claim(), flat).verdict == "not shown"
    assert judged(claim(margin=30.0), rising).verdict == "contradicted"
    assert judged(claim(margin=-30.0), flat).verdict == "holds"
    lower = [c.model_copy(update={"higher_is_better": False}) for c in rising]
    result = judged(claim(), lower)
    assert result.verdict == "contradicted"
    with pytest.raises(ClaimContradicted, match=r"1 claim contradicted: dose \(slope \+1\d"):
        require([result])
    falling = [c.model_copy(update={"higher_is_better": False}) for c in cells(-0.2)]
    assert judged(claim(), falling).verdict == "holds"


def test_one_seed_is_about_these_checkpoints() -> None:
    result = judged(claim(), cells(seeds=1))
    assert result.label == "holds (these checkpoints)"
    assert summary([result]) == "1 holds (these checkpoints)"


def test_failed_prompts_of_one_system_are_left_out_of_all() -> None:
    hard = np.sort(np.random.default_rng(0).random(N))
    scores = [made(name, hard) for name in ("dpo", "wrpo", "wrpo_3")]
    scores.append(made("wrpo_5", hard, failed=tuple(range(10))))
    result = judged(claim(), scores)
    assert (result.slope, result.verdict) == (0.0, "not shown")
    assert "over the 50 judgments that all have (of dpo: 60, wrpo: 60" in result.reason


def test_bounds_of_failed_judgments_withhold_the_verdict() -> None:
    scores = cells(0.1, seeds=1)
    lost = scores[-1].model_copy(
        update={"n_failed": 10, "n_scored": N - 10, "bounds": (0.0, 60.0), "resampled": None}
    )
    result = judged(claim(), [*scores[:-1], lost])
    assert result.verdict == "not shown"
    assert "could change the sign: their bounds give a slope between -" in result.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "no suite score of wrpo_3"),
        ({"judge_fingerprint": "f2"}, "judge fingerprint differs"),
        ({"prompt_set": "p2"}, "prompt set differs"),
        ({"replicates": ()}, "different numbers of replicates"),
        ({"value": None, "interval": None}, "wrpo_3: the suite gave no value"),
    ],
)
def test_what_cannot_be_compared_is_not_tested(change, reason) -> None:
    found = cells(seeds=1)
    place = next(n for n, cell in enumerate(found) if cell.system == "wrpo_3")
    if change is None:
        del found[place]
    else:
        found[place] = found[place].model_copy(update=change)
    result = judged(claim(), found)
    assert (result.verdict, result.interval) == ("not tested", None)
    assert reason in result.reason
    assert [p.system for p in result.points] == list(DOSES)
    for name in ("md", "html", "tex", "csv", "json", "terminal"):
        assert render(board(found, claim()), name)


def test_intervals_cover_the_slope_of_new_prompts_and_trainings() -> None:
    """Prompts with gains of their own, and trainings with luck of their own: 95 % of 150."""
    generator = np.random.default_rng(11)
    doses, covered = [0.0, 1.0, 2.0, 4.0], 0
    stated = claim(doses={f"s{dose:g}": dose for dose in doses})
    for _ in range(150):
        base, gain = generator.random(40) * 0.4, generator.normal(0.03, 0.05, 40)
        scores = [
            made(f"s{dose:g}", base + gain * dose + generator.normal(0, 0.03), seed)
            for dose in doses
            for seed in range(3)
        ]
        interval = judged(stated, scores).interval
        covered += interval.low <= 3.0 <= interval.high
    assert 0.90 <= covered / 150 <= 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"doses": {"a": 1.0}}, "at least two are distinct (found a = 1)"),
        ({"doses": {"a": 0.1, "b": 0.1, "c": 0.1}}, "at least two are distinct"),
        ({"doses": {}}, "at least two are distinct (found none)"),
        ({"doses": {"a": 0.0, "b": 1.0}, "log_dose": True}, "above 0 where log_dose = true (found"),
        ({"doses": {"a": 0.0, "b": float("nan")}}, 'key "doses.b" is nan'),
        ({"doses": {"a": 0.0, "b": "much"}}, "key \"doses.b\" is 'much'"),
        ({"doses": [["a", 1]]}, 'key "doses" is'),
        ({"kind": "slop"}, 'key "kind" is \'slop\'; expected "difference"'),
        ({"better": "a"}, 'unknown key "better"'),
        ({"log_doze": True}, 'did you mean "log_dose"?'),
    ],
)
def test_what_is_no_claim_says_what_was_expected(changes, message) -> None:
    with pytest.raises(BadRecord) as raised:
        claim(**changes)
    assert message in str(raised.value)


def test_a_slope_without_doses_and_doses_without_a_kind() -> None:
    bare = {"id": "c", "suite": "s", "metric": "m"}
    with pytest.raises(BadRecord, match='key "doses" is missing'):
        parse_claim({**bare, "kind": "slope"}, "claim")
    with pytest.raises(BadRecord, match='key "kind" is missing'):
        parse_claim({**bare, "doses": DOSES}, "claim")
    with pytest.raises(BadRecord, match='of kind "difference"'):
        parse(BoardSpec, {"name": "b", "title": "B", "claims": [{**bare, "kind": "x"}]}, "spec")


def test_a_claim_of_a_recipe_names_systems_of_the_recipe() -> None:
    recipe = reproduce("wrpo", "nano").recipe
    known = [system.name for system in recipe.systems]
    stated = {"id": "d", "kind": "slope", "suite": "alpaca_eval2", "metric": "lc_win_rate"}

    def of(doses: dict[str, float]) -> object:
        return claims_of(recipe.model_copy(update={"claims": ({**stated, "doses": doses},)}))

    assert of({"dpo": 0.0, "wrpo": 0.1})[0].pairs == (("dpo", 0.0), ("wrpo", 0.1))
    with pytest.raises(BadRecord, match=r'claim "d": no system .* "wrpp"; did you mean "wrpo"\?'):
        of({"dpo": 0.0, "wrpp": 0.1})
    assert {"dpo", "wrpo"} <= set(known)


def test_a_shorter_list_of_systems_keeps_the_claims_that_are_whole() -> None:
    whole = reproduce("wrpo", "nano").recipe
    first = whole.systems[0].name
    head = 'kind="slope", suite="alpaca_eval2", metric="lc_win_rate"'
    claims = ", ".join(
        f'{{id="{name}", {head}, doses={{{first}=0.0, {name}=0.1}}}}' for name in ("dpo", "wrpo")
    )
    made = reproduce("dpo", "nano", overrides=[f"claims=[{claims}]"])
    assert [claim["id"] for claim in made.recipe.claims] == ["dpo"]
    both = reproduce("wrpo", "nano", overrides=[f"claims=[{claims}]"])
    assert [claim.id for claim in both._layout("", "nano").claims] == ["dpo", "wrpo"]


# Renderings


def board(found: list[Cell], *claims: DoseClaim) -> Board:
    labels = {"dpo": "DPO", "wrpo_5": "WRPO .5"}
    spec = BoardSpec(
        name="b",
        title="B",
        systems=tuple(SystemSpec(name=name, label=labels.get(name, "")) for name in DOSES),
        columns=(ColumnSpec(suite="suite", metric="score", label="win rate"),),
        claims=claims,
        allow_mixed=True,
    )
    return build_board(spec, found)


@pytest.fixture(scope="module")
def shown() -> Board:
    return board(cells(), claim(cause="alpha_end", source="Figure 3", paper_slope=12.0))


def test_text_formats_show_doses_scores_slope_and_verdict(shown: Board) -> None:
    (result,) = shown.claims
    low, high = (f"{end:+.1f}" for end in (result.interval.low, result.interval.high))
    slope, first = f"{result.slope:+.1f}", f"{result.points[0].value:.1f}"
    for name in ("md", "html", "tex", "terminal"):
        text = render(shown, name).replace("\\_", "_").replace("\\[", "[").replace("\\]", "]")
        text = text.replace("{[}", "[").replace("{]}", "]").replace("\\.", ".")
        assert "suite win rate improves with alpha_end" in text, name
        assert f"{slope}" in text, name
        assert f"[{low}, {high}]" in text, name
        assert "per unit of alpha_end" in text, name
        assert "holds" in text, name
        assert first in text, name
        assert "WRPO .5" in text, name
    for name in ("md", "html", "terminal"):
        found = " ".join(render(shown, name).split())
        assert "+12.0" in found, name
    assert f"{first} % at 0 (DPO)" in render(shown, "html")


def test_small_slopes_keep_digits() -> None:
    found = cells()
    doses = {name: 1e5 * dose for name, dose in DOSES.items()}
    text = render(board(found, claim(doses=doses)), "md")
    slope = judged(claim(doses=doses), found).slope
    assert 0 < slope < 1e-3
    assert f"{slope:+.5f}" in text


def test_json_has_the_line_and_csv_the_doses(shown: Board) -> None:
    (result,) = shown.claims
    (found,) = json.loads(render(shown, "json"))["claims"]
    assert found["slope"] == pytest.approx(result.slope, abs=1e-6)
    assert found["per"] == "per unit of alpha_end"
    assert [p["dose"] for p in found["points"]] == [0.0, 0.1, 0.3, 0.5]
    assert found["points"][0]["interval"]["low"] < found["points"][0]["value"]
    assert found["claim"]["kind"] == "slope"
    assert not {"difference", "ours_better", "paper_difference"} & set(found)
    rows = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    doses = {row["system"]: float(row["dose.dose"]) for row in rows}
    assert doses == DOSES
    scores = [float(row["suite.score"]) for row in rows]
    x = [doses[row["system"]] for row in rows]
    assert np.polyfit(x, scores, 1)[0] == pytest.approx(result.slope, abs=0.5)


def test_names_of_strangers_are_shown_safely() -> None:
    odd = {"=cmd|x": 0.0, "b\u202e": 1.0}
    scores = [made(name, np.random.default_rng(n).random(N)) for n, name in enumerate(odd)]
    spec = BoardSpec(name="b", title="B", claims=(claim(doses=odd, cause="<b>|&\u202e"),))
    made_board = build_board(spec, scores)
    for name in ("md", "html", "tex", "csv", "terminal"):
        text = render(made_board, name)
        assert "\u202e" not in text, name
    assert "<b>|" not in render(made_board, "html")
    assert "<b>|" not in render(made_board, "md")


def test_a_board_folder_keeps_the_claim(tmp_path) -> None:
    stated = claim(cause="alpha_end")
    spec = BoardSpec(name="b", title="B", claims=(stated,))
    write_board(tmp_path / "b", spec, cells())
    assert check_board(tmp_path / "b") == ""
    assert read_board(tmp_path / "b")[0].claims == (stated,)


def test_the_page_of_claims_states_doses_and_slope(shown: Board) -> None:
    (stated,) = shown.spec.claims
    paper = PaperClaims(
        method="mine", claims=(stated,),
        mechanism=Side(profile="nano", results=shown.claims, seeds=3), control=Side(),
    )  # fmt: skip
    row = next(line for line in page([paper]).splitlines() if "Figure 3" in line)
    assert r"suite score improves with alpha\_end: dpo 0, wrpo 0.1, wrpo\_3 0.3" in row
    assert "+12 per unit of alpha" in row
    assert row.count("per unit of alpha") == 2
    assert row.endswith("| no profile |")
