"""Boards that grow, many models at once, several judges, and own recipes, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.evaluating import judges_in
from harness.cli.main import app
from harness.core.errors import CrucibleError
from leaderboards.files import check_board, read_board
from tests.answer_files import write_answers

JUDGE = "nano:oracle?unknown=generic"
OTHER = f"{JUDGE}&position_bias=2"
COMMON = ("--suite", "alpaca_eval2", "--data", "nano")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the answers of four made-up systems to two suites."""
    return write_answers(tmp_path_factory.mktemp("growing"))


Shell = Callable[..., str]


@pytest.fixture
def shell(place: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run a command line in the folder; gives what it prints, or its error."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("CRUCIBLE_HOME", str(place / "home"))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, list(words))
        problem = done.exception
        if isinstance(problem, CrucibleError):
            assert "\n" not in str(problem)
            return str(problem)
        if problem is not None and not isinstance(problem, SystemExit):
            raise problem
        return done.output

    return run


def systems(folder: Path) -> list[str]:
    return sorted({cell.system for cell in read_board(folder)[1]})


def evaluated(shell: Shell, *files: str, out: str, judge: str = JUDGE, limit: str = "6") -> str:
    return shell("eval", *files, *COMMON, "--judge", judge, "--limit", limit, "--out", out)


def test_a_board_grows_by_one_system_after_the_other(shell: Shell, place: Path) -> None:
    assert "week48: 1 system\n" in evaluated(shell, "out0.json", out="week48")
    assert "week48: 1 -> 2 systems" in evaluated(shell, "out1.json", out="week48")
    assert systems(place / "week48") == ["alpha", "beta"]  # as the files' generator says
    again = (place / "week48/cells.jsonl").read_bytes()
    assert "week48: 2 systems" in evaluated(shell, "out1.json", out="week48")
    assert (place / "week48/cells.jsonl").read_bytes() == again
    added = shell("board", "add", "week48", "out2.json")  # its suites, judge and prompts
    assert "week48: 2 -> 3 systems" in added
    assert systems(place / "week48") == ["alpha", "beta", "gamma"]
    assert check_board(place / "week48") == ""
    spec = read_board(place / "week48")[0]
    assert (spec.name, spec.title) == ("week48", "Evaluation of 3 systems")
    assert spec.provenance.command.startswith("crucible")
    assert "# Evaluation of 3 systems" in (place / "week48/board.md").read_text()


def test_what_is_not_ranked_together_is_refused_before_it_runs(shell: Shell, place: Path) -> None:
    evaluated(shell, "out0.json", out="kept")
    before = {path.name: path.read_bytes() for path in (place / "kept").iterdir()}
    said = evaluated(shell, "out1.json", out="kept", judge=OTHER)
    assert f"judged by {JUDGE} on the board and by {OTHER} in this run" in said
    assert "--by-judge" in said
    said = evaluated(shell, "out1.json", out="kept", limit="5")
    assert "first 6 of 160 prompts on the board and first 5 of 160 prompts in this run" in said
    said = shell("reproduce", "target", "--limit", "3", "--out", "kept")
    assert "is the board of 1 evaluated systems, and this run is of recipe" in said
    assert "--replace" in said
    assert {path.name: path.read_bytes() for path in (place / "kept").iterdir()} == before


def test_a_limited_run_and_another_judge_are_marked_everywhere(shell: Shell, place: Path) -> None:
    said = evaluated(shell, "out0.json", out="marked")
    assert "alpaca_eval2: first 6 of 160 prompts only" in said
    for name in ("board.md", "board.html", "board.tex", "board.csv", "board.json"):
        assert "first 6 of 160 prompts" in (place / "marked" / name).read_text(), name
    assert "first 6 of 160 prompts" in " ".join(shell("board", "marked").split())
    assert json.loads((place / "marked/board.json").read_text())["limits"] == {
        "alpaca_eval2": ["first 6 of 160 prompts"]
    }


def test_many_models_and_judges_are_one_board_with_their_agreement(
    shell: Shell, place: Path
) -> None:
    said = evaluated(
        shell, "out0.json", "out1.json", "out2.json", out="both", judge=f"{JUDGE},{OTHER}"
    )
    assert "both: 3 systems" in said
    assert "Agreement of the judges" in said
    spec, cells = read_board(place / "both")
    assert {cell.suite for cell in cells} == {
        "alpaca_eval2@oracle",
        "alpaca_eval2@oracle-position_bias=2",
    }
    assert spec.by_judge
    assert len(spec.columns) == 4
    pairs = json.loads((place / "both/board.json").read_text())["judges"]
    (pair,) = [pair for pair in pairs if pair["verdicts"]]
    assert (pair["systems"], pair["verdicts"], pair["metric"]) == (3, 18, "win_rate")
    assert -1 <= pair["kappa_interval"]["low"] <= pair["kappa"] <= 1
    assert -1 <= pair["spearman"] <= 1
    assert check_board(place / "both") == ""
    assert "both: 3 -> 4 systems" in shell("board", "add", "both", "out3.json")  # both judges


def test_a_second_judge_gets_columns_on_a_board_of_one(shell: Shell, place: Path) -> None:
    evaluated(shell, "out0.json", out="grown")
    words = ("eval", "out0.json", *COMMON, "--limit", "6", "--judge", OTHER, "--out", "grown")
    assert "grown: 1 system" in shell(*words, "--by-judge")
    assert {cell.suite for cell in read_board(place / "grown")[1]} == {
        "alpaca_eval2@oracle",
        "alpaca_eval2@oracle-position_bias=2",
    }
    assert check_board(place / "grown") == ""


BOARD = f"""
name = "filed"
suites = ["alpaca_eval2", "arena_hard"]
judges = ["{JUDGE}"]
data = "nano"
limit = 4
[[models]]
name = "first"
[models.files]
alpaca_eval2 = "out0.json"
arena_hard = "arena.jsonl"
[[models]]
[models.files]
alpaca_eval2 = "out1.json"
"""


def test_a_board_file_names_models_with_a_file_per_suite(shell: Shell, place: Path) -> None:
    (place / "board.toml").write_text(BOARD)
    planned = shell("eval", "-f", "board.toml", "--plan")
    assert "2 models on alpaca_eval2, arena_hard" in planned
    assert "arena.jsonl: 8 records; 4 of 4 prompts of arena_hard" in planned
    assert not (place / "home/boards/filed").exists()
    assert "filed: 2 systems" in shell("eval", "-f", "board.toml")
    cells = read_board(place / "home/boards/filed")[1]
    assert {(cell.system, cell.suite) for cell in cells} == {
        ("first", "alpaca_eval2"),
        ("first", "arena_hard"),
        ("beta", "alpaca_eval2"),
    }


def test_costs_of_a_hosted_judge_are_numbers_before_anything_runs(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "never-sent")
    said = shell(
        *("eval", "out0.json", "out1.json", *COMMON, "--judge", "openai:gpt-4o", "--plan"),
    )
    # Two systems, and the baseline's two variants, on 160 prompts.
    rows = [line.split() for line in said.splitlines()]
    assert ["gpt-4o", "640", "704,000", "640", "1.77", "alpaca_eval2"] in rows
    assert ["all", "hosted"] not in [row[:2] for row in rows]  # it is one
    assert "Prices of 20" in said
    again = shell(
        *("eval", "out0.json", "nano:target", *COMMON, "--plan"),
        *("--judge", "openai:gpt-4o,openai:mine@http://127.0.0.1:9/v1,nano:oracle"),
    )
    rows = [line.split() for line in again.splitlines()]
    assert ["nano:target", "160", "32,000", "72,000", "here", "alpaca_eval2"] in rows
    assert ["all", "hosted", "1,280", "1,408,000", "1,280", "1.77", "+", "unpriced"] in rows


def test_boards_are_made_of_boards_and_of_the_store(shell: Shell, place: Path) -> None:
    evaluated(shell, "out0.json", "out1.json", out="team-a")
    evaluated(shell, "out2.json", out="team-b")
    said = shell("board", "make", "joined", "--from", "team-*", "--systems", "*a")
    assert "joined: 3 systems from team-a, team-b" in said
    said = shell("board", "make", "joined", "--from", "team-*")
    assert "add --replace to replace it" in said
    said = shell("board", "make", "joined", "--from", "team-a", "--systems", "beta", "--replace")
    assert "joined: 1 systems" in said
    assert systems(place / "home/boards/joined") == ["beta"]
    words = ("--from", "store", "--systems", "alpha,gamma", "--suite", "alpaca_eval2")
    assert "two scores of " in shell("board", "make", "stored", *words)
    said = shell("board", "make", "stored", *words, "--by-judge")
    assert "first 6 of 160 prompts" in " ".join(said.split())
    assert check_board(place / "home/boards/stored") == ""


def test_commas_within_a_judge_stay() -> None:
    ref = 'openai:a@http://x/v1,http://y/v1?extra={"k":1,"l":2}'
    assert judges_in(f"{ref}, nano:oracle,{ref}") == [ref, "nano:oracle"]
    assert judges_in("") == []


def test_a_recipe_of_ones_own_is_the_same_recipe(shell: Shell, place: Path) -> None:
    text = CliRunner().invoke(app, ["recipe", "target"]).stdout
    (place / "my.toml").write_text(text)
    assert "# " in text
    planned = shell("plan", "my.toml", "--limit", "3").splitlines()
    assert planned[1:] == shell("plan", "target", "--limit", "3").splitlines()[1:]


def test_boards_are_named_by_what_ran(shell: Shell, place: Path) -> None:
    (place / "mine.toml").write_text(CliRunner().invoke(app, ["recipe", "target"]).stdout)
    words = ("--limit", "3", "--suite", "alpaca_eval2")
    shell("reproduce", "target", *words)
    shell("reproduce", "mine.toml", *words)
    boards = {folder.name for folder in (place / "home/boards").iterdir()}
    tail = "-nano+limit=3+suite=alpaca_eval2"
    assert {f"target{tail}", f"mine{tail}"} <= boards
    shown = (place / f"home/boards/target{tail}/board.md").read_text()
    assert "first 3 of " in shown
    name = f"target{tail}"
    assert f"{name}: rebuilt" in shell("board", name, "--check").replace("\n", "")


def test_a_changed_recipe_file_is_marked_and_leaves_the_other_board(
    shell: Shell, place: Path
) -> None:
    words = ("recipe", "target", "--limit", "3", "--suite", "alpaca_eval2")
    text = CliRunner().invoke(app, words).stdout
    (place / "short.toml").write_text(text)
    assert "limited: first 3 of 640 prompts" in " ".join(shell("reproduce", "short.toml").split())
    board = place / "home/boards/short-nano"
    before = (board / "cells.jsonl").read_bytes()
    (place / "short.toml").write_text(text.replace("limit = 3", "limit = 4"))
    said = " ".join(shell("reproduce", "short.toml").split())
    assert "short-nano is the board of another recipe and stays as it is; this one is " in said
    assert (board / "cells.jsonl").read_bytes() == before
    shell("reproduce", "short.toml", "--replace")
    assert read_board(board)[1][0].n_expected == 4
