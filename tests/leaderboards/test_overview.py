"""The page of all claims follows from recipes and committed boards."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.claims import paper_claims
from harness.cli.main import app
from harness.engine import registry
from harness.engine.recipe import Method, load_recipe, profiles
from leaderboards.claims import Claim
from leaderboards.files import write_board
from leaderboards.overview import PaperClaims, Side, overview, page, side
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
