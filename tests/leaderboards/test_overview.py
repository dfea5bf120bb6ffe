"""The page of all claims follows from recipes and committed boards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.claims import paper_claims, prediction
from harness.cli.main import app
from harness.engine import registry
from harness.engine.recipe import Method, load_recipe, profiles
from leaderboards.claims import Claim
from leaderboards.files import write_board
from leaderboards.overview import PaperClaims, Side, overview, page, side, totals
from leaderboards.spec import BoardSpec, Provenance

README = Path(__file__).resolve().parents[2] / "leaderboards" / "README.md"
UP = Claim(
    id="up", better="target-sft-wrpo", worse="target", suite="arena_hard", metric="win_rate",
    paper_better=46.2, paper_worse=20.6, source="table 1",
)  # fmt: skip
OTHER = Claim(id="other", better="a", worse="b", suite="s", metric="m", paper_gain=-1.5)


@pytest.fixture
def results(tmp_path, cells):
    provenance = Provenance(recipe="mine/nano")
    spec = BoardSpec(name="b", title="B", claims=(UP,), provenance=provenance)
    write_board(tmp_path / "mine-nano", spec, cells())
    return tmp_path


def test_a_side_has_the_verdicts_of_the_board_of_its_profile(results):
    found = side("mine", "nano", results)
    assert (found.board, found.seeds, found.short) == ("mine-nano", 3, "1 holds")
    assert found.verdict(UP).startswith("holds (+")
    assert found.verdict(OTHER) == "not claimed"


def test_what_was_not_run_says_so(results):
    for name in ("mine", "nan"):
        absent = side(name, "nano-control", results)
        assert absent.results is None
        assert absent.short == absent.verdict(UP) == "not run"
    assert side("mine", "", results).verdict(UP) == "no profile"


def test_the_page_lists_figures_and_verdicts(results):
    paper = PaperClaims(
        method="mine", title="My | method", paper="arXiv 1", claims=(UP, OTHER),
        mechanism=side("mine", "nano", results), control=Side(profile="nano-control"),
    )  # fmt: skip
    text = page([paper])
    assert "| `mine` | arXiv 1 | 2 | 1 holds | not run | 3 |" in text
    assert r"## My \| method" in text
    row = next(line for line in text.splitlines() if "table 1" in line)
    assert "+25.6 (46.2 / 20.6)" in row
    assert row.endswith("| not run |")
    assert "| -1.5 |" in text
    assert overview([paper]) in text
    assert totals([paper]) in text
    assert re.search(r"holds \(\+[^)]* detectable \d", text)
    assert "prediction" not in text


def test_totals_count_verdicts_and_false_holds(results, tmp_path, cells):
    provenance = Provenance(recipe="mine/nano-control")
    spec = BoardSpec(name="c", title="C", claims=(UP, OTHER), provenance=provenance)
    write_board(tmp_path / "mine-control", spec, cells())
    paper = PaperClaims(
        method="mine", claims=(UP, OTHER), prediction="methods/mine/prediction.md",
        mechanism=side("mine", "nano", results), control=side("mine", "nano-control", results),
    )  # fmt: skip
    other = PaperClaims(method="other", claims=(OTHER,), mechanism=Side(profile="nano"),
                        control=Side())  # fmt: skip
    found = totals([paper, other])
    assert "| mechanism | 1 of 2 | 1 | 0 | 0 | 0 |" in found
    assert "| control | 1 of 1 | 1 | 0 | 0 | 1 |" in found
    assert found.endswith(
        "False holds in controls: 1 of 1 tested claims without their cause (`mine` 1)."
    )
    assert (paper.false_holds, other.false_holds) == (1, None)
    kept = paper.model_copy(update={"claims": (UP.model_copy(update={"cause_in_control": True}),)})
    assert (kept.false_holds, kept.without_cause) == (0, ())
    assert " †" in page([kept])
    assert "| `mine` |  | 2 | 1 holds | 1 holds, 1 not tested | 3 | 1 |" in overview([paper])
    text = page([paper, other], root="../..")
    assert "[prediction, written before the run](../../methods/mine/prediction.md)" in text
    assert totals([other]).endswith("because no control has a committed board yet.")


def test_a_prediction_is_found_beside_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.cli.claims.ROOT", tmp_path)
    folder = tmp_path / "methods" / "mine"
    folder.mkdir(parents=True)
    assert prediction(folder) == ""
    (folder / "prediction.md").write_text("# Prediction")
    assert prediction(folder) == "methods/mine/prediction.md"


def test_every_claim_of_every_recipe_is_listed():
    listed = {paper.method: {claim.id for claim in paper.claims} for paper in paper_claims()}
    for name, entry in registry.entries("methods").items():
        method = registry.load("methods", name)
        if entry.origin != "built-in" or not isinstance(method, Method) or not method.recipe_file:
            continue
        for profile in profiles(method.recipe_file):
            for claim in load_recipe(method.recipe, method.recipe_file, profile).claims:
                assert claim["id"] in listed[name]


def test_the_committed_page_is_what_the_command_prints():
    printed = CliRunner().invoke(app, ["board", "--claims"])
    assert printed.exit_code == 0
    assert printed.stdout == README.read_text(), (
        "leaderboards/README.md is out of date: crucible board --claims > leaderboards/README.md"
    )
