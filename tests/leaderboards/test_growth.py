"""Boards that grow: cells of other runs stay, and what is not ranked together is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.core.errors import UserError
from leaderboards.files import check_board, read_board, write_board
from leaderboards.growth import Conditions, board_name, check_growth, check_recipe, grow
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, SystemSpec
from tests.kills import killed_below

COLUMN = ColumnSpec(suite="alpaca_eval2", metric="lc_win_rate")


def spec(*systems: str, recipe: str = "", command: str = "") -> BoardSpec:
    return BoardSpec(
        name="b",
        title=f"Evaluation of {', '.join(systems)}",
        systems=tuple(SystemSpec(name=name) for name in systems),
        columns=(COLUMN,),
        provenance=Provenance(recipe_id=recipe, recipe="m/nano", command=command or f"c {systems}"),
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_systems_are_added_and_replaced(tmp_path: Path, cell) -> None:
    folder = tmp_path / "week48"
    assert str(grow(folder, spec("a"), [cell("a", 50)])) == "week48: 1 system"
    assert str(grow(folder, spec("b"), [cell("b", 40)])) == "week48: 1 -> 2 systems"
    said = str(grow(folder, spec("a"), [cell("a", 60)]))
    assert said == "week48: 2 systems; replaced the cells of a"
    found, cells = read_board(folder)
    assert [system.name for system in found.systems] == ["a", "b"]
    assert {c.system for c in cells} == {"a", "b"}
    assert found.title == "Evaluation of 2 systems"
    assert (found.provenance.command, found.provenance.also) == ("c ('a',)", ("c ('b',)",))
    assert check_board(folder) == ""


def test_another_suite_is_another_column(tmp_path: Path, cell) -> None:
    folder = tmp_path / "b"
    grow(folder, spec("a"), [cell("a", 50)])
    other = spec("a").model_copy(
        update={"columns": (ColumnSpec(suite="arena_hard", metric="score"),)}
    )
    grow(folder, other, [cell("a", 50, suite="arena_hard", metric="score")])
    assert [column.suite for column in read_board(folder)[0].columns] == [
        "alpaca_eval2",
        "arena_hard",
    ]


def test_the_same_recipe_keeps_other_seeds_and_added_systems(tmp_path: Path, cell) -> None:
    folder = tmp_path / "b"
    seeds = [cell("a", 50, seed=seed) for seed in (1, 2)]
    grow(folder, spec("a", recipe="r1"), seeds)
    grow(folder, spec("mine"), [cell("mine", 40, seed=1)])
    grown = grow(folder, spec("a", recipe="r1"), seeds[:1])
    assert grown.kept == ("mine", "seed 2")
    assert len(read_board(folder)[1]) == 3
    older = [cell("a", 50, seed=seed, prompt_set="of an earlier version") for seed in (1, 2)]
    write_board(folder, spec("a", recipe="r1"), older)
    assert grow(folder, spec("a", recipe="r1"), seeds[:1]).kept == ()
    assert [c.seed for c in read_board(folder)[1]] == [1]


def test_another_recipe_is_replaced_only_if_asked(tmp_path: Path, cell) -> None:
    folder = tmp_path / "b"
    grow(folder, spec("a", recipe="r1"), [cell("a", 50)])
    before = bytes_of(folder)
    with pytest.raises(UserError, match=r"board of recipe m/nano r1, .* or add --replace"):
        grow(folder, spec("a", recipe="r2"), [cell("a", 60)])
    with pytest.raises(UserError, match="this run is of recipe"):
        check_recipe(folder, Provenance(recipe_id="r2"))
    check_recipe(folder, Provenance(recipe_id="r1"))
    assert bytes_of(folder) == before
    grow(folder, spec("a", recipe="r2"), [cell("a", 60)], replace=True)
    assert read_board(folder)[0].provenance.recipe_id == "r2"


def test_other_judges_and_prompts_are_named(tmp_path: Path, cell) -> None:
    folder = tmp_path / "b"
    grow(folder, spec("a"), [cell("a", 50, judge="one", judge_fingerprint="f1")])
    before = bytes_of(folder)
    other = cell("b", 50, judge="two", judge_fingerprint="f2")
    with pytest.raises(UserError, match=r"judged by one on the board and by two .* --by-judge"):
        grow(folder, spec("b"), [other])
    with pytest.raises(UserError, match="judged by one on the board and by two"):
        check_growth(folder, [Conditions("alpaca_eval2", "two", "f2", "nano")], {})
    fewer = cell("b", 50, judge="one", judge_fingerprint="f1", n=20, prompt_set="s")
    with pytest.raises(UserError, match=r"all 120 prompts .* on the board and all 20 prompts"):
        grow(folder, spec("b"), [fewer])
    mark = {"alpaca_eval2": "first 20 of 120 prompts"}
    with pytest.raises(UserError, match="has all prompts on the board and first 20 of 120"):
        check_growth(folder, [Conditions("alpaca_eval2", "one", "f1", "nano")], mark)
    check_growth(folder, [Conditions("alpaca_eval2", "one", "f1", "nano")], {})
    with pytest.raises(
        UserError, match=r"of scale nano, and this run is of scale paper; add --data nano"
    ):
        check_growth(folder, [Conditions("alpaca_eval2", "one", "f1", "paper")], {})
    check_growth(folder, [Conditions("alpaca_eval2", "two", "f2", "nano")], {}, judges=True)
    check_growth(tmp_path / "none", [Conditions("alpaca_eval2", "two", "f2", "nano")], {})
    assert bytes_of(folder) == before
    assert grow(folder, spec("b"), [other], judges=True).board.spec.by_judge
    with pytest.raises(UserError, match="all 120 prompts"):
        grow(folder, spec("b"), [fewer])


def test_a_kill_at_any_step_leaves_the_old_board_or_the_new_one(tmp_path: Path, cell) -> None:
    def board(root: Path) -> Path:
        folder = root / "b"
        grow(folder, spec("a"), [cell("a", 50)])
        (folder / "mine.txt").write_text("mine")
        return folder

    old = bytes_of(board(tmp_path / "calm"))
    with killed_below(tmp_path / "calm") as calm:
        grow(tmp_path / "calm/b", spec("c"), [cell("c", 40)])
    new = bytes_of(tmp_path / "calm/b")
    assert new["mine.txt"] == b"mine"
    assert old["cells.jsonl"] != new["cells.jsonl"]
    seen = []
    for step in range(1, len(calm.names) + 1):
        root = tmp_path / str(step)
        folder = board(root)
        with killed_below(root, before=step):
            grow(folder, spec("c"), [cell("c", 40)])
        seen.append(bytes_of(folder))
        assert seen[-1] in (old, new), calm.names[step - 1]
        grow(folder, spec("c"), [cell("c", 40)])
        assert bytes_of(folder) == new
        assert [path.name for path in root.iterdir()] == ["b"]
    assert old in seen


def test_two_writers_lose_nothing(tmp_path: Path, cell) -> None:
    folder = tmp_path / "b"
    children = []
    for name in ("a", "b", "c"):
        child = os.fork()
        if child == 0:
            try:
                grow(folder, spec(name), [cell(name, 50)])
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert {c.system for c in read_board(folder)[1]} == {"a", "b", "c"}


def test_names_of_boards() -> None:
    assert (
        board_name("wrpo-nano+models.target.ref=org/x y") == "wrpo-nano+models.target.ref=org-x-y"
    )
    assert board_name("***") == "board"
    assert len(board_name("x" * 300)) == 100
