"""Laying out cells: order, ranks, refusals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import UserError
from leaderboards.board import build_board
from leaderboards.files import board_files
from leaderboards.spec import BoardSpec, ColumnSpec, Reference, SystemSpec

SPEC = BoardSpec(name="b", title="Board")
COLUMN = ColumnSpec(suite="alpaca_eval2", metric="lc_win_rate")


def test_systems_come_in_order_of_rank(cells):
    board = build_board(SPEC, cells())
    assert [(row.rank, row.system.name) for row in board.rows] == [
        (1, "target-sft-wrpo"),
        (2, "target-sft-dpo"),
        (3, "target-sft"),
        (4, "target"),
    ]
    assert [column.key for column in board.columns] == [
        "alpaca_eval2.lc_win_rate",
        "alpaca_eval2.win_rate",
        "arena_hard.win_rate",
    ]


def test_order_spec_keeps_the_order_of_the_definition(cells):
    systems = tuple(SystemSpec(name=n) for n in ("target", "target-sft-wrpo", "target-sft"))
    board = build_board(SPEC.model_copy(update={"systems": systems, "order": "spec"}), cells())
    names = [row.system.name for row in board.rows]
    assert names == ["target", "target-sft-wrpo", "target-sft", "target-sft-dpo"]
    assert [row.rank for row in board.rows] == [4, 1, 3, 2]


def test_only_the_distinguishable_loses_the_first_place(cell):
    scores = [cell("best", 60), cell("close", 59), cell("far", 20)]
    board = build_board(SPEC, scores)
    standings = {row.system.name: row.entries[0].standing for row in board.rows}
    assert standings == {"best": "best", "close": "tied", "far": ""}
    assert [row.tied for row in board.rows] == [False, True, False]


def test_equal_values_share_a_rank(cell):
    twin = cell("a", 60).model_copy(update={"system": "b"})
    board = build_board(SPEC, [cell("a", 60), twin, cell("c", 20)])
    assert [row.rank for row in board.rows] == [1, 1, 3]


def test_lower_is_better_ranks_upwards(cell):
    scores = [cell(n, s, higher_is_better=False) for n, s in (("a", 60), ("b", 20))]
    assert [row.system.name for row in build_board(SPEC, scores).rows] == ["b", "a"]


def test_unranked_systems_stand_below_and_never_win(cell):
    spec = SPEC.model_copy(update={"systems": (SystemSpec(name="teacher", ranked=False),)})
    board = build_board(spec, [cell("teacher", 90), cell("student", 40)])
    assert [(row.system.name, row.rank) for row in board.rows] == [
        ("student", 1),
        ("teacher", None),
    ]
    assert board.rows[0].entries[0].standing == "best"
    assert board.rows[1].entries[0].standing == ""


def test_missing_places_carry_their_reason(cell):
    spec = SPEC.model_copy(
        update={"systems": (SystemSpec(name="later"), SystemSpec(name="never", optional=True))}
    )
    board = build_board(
        spec, [cell("now", 50), cell("lost", 50, value=None, n_scored=0, n_failed=9)]
    )
    entries = {row.system.name: row.entries[0] for row in board.rows}
    assert entries["later"].reason == "not run"
    assert entries["lost"].reason == "all 9 judgments failed"
    assert "never" not in entries


def test_an_optional_column_without_cells_is_left_out(cell):
    more = tuple(
        COLUMN.model_copy(update={"metric": name, "rank": False, "optional": optional})
        for name, optional in (("never", True), ("later", False), ("once", True))
    )
    spec = SPEC.model_copy(update={"columns": (COLUMN, *more)})
    board = build_board(spec, [cell("a", 50), cell("b", 60), cell("b", 70, metric="once")])
    assert [column.metric for column in board.columns] == [COLUMN.metric, "later", "once"]
    assert [row.entries[2].value is None for row in board.rows] == [False, True]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prompt_set": "ffff"}, "prompt sets"),
        ({"judge_fingerprint": "ffff"}, "judge fingerprints"),
        ({"scale": "paper"}, "mixes scales: nano (a), paper (b)"),
        ({"unit": "points"}, "units"),
    ],
)
def test_what_is_not_comparable_is_not_ranked(cell, changes, named):
    mixed = [cell("a", 50), cell("b", 60, **changes)]
    with pytest.raises(UserError) as refusal:
        build_board(SPEC, mixed)
    assert named in str(refusal.value)
    assert next(iter(changes.values())) in str(refusal.value)
    board = build_board(SPEC.model_copy(update={"allow_mixed": True}), mixed)
    assert any(named in warning for warning in board.warnings)
    assert [row.rank for row in board.rows] == [1, 2]
    for content in ("board.md", "board.html"):
        assert named.replace("(", "").split()[0].encode() in board_files(board)[content]


def test_a_board_of_a_declared_scale_refuses_another(cell):
    spec = SPEC.model_copy(update={"scale": "paper"})
    with pytest.raises(UserError, match="of scale paper, cells are nano"):
        build_board(spec, [cell("a", 50)])


def test_a_column_that_was_not_asked_for_may_differ(cell):
    scores = [cell("a", 50), cell("b", 60)]
    scores += [cell("a", 50, "arena_hard"), cell("b", 60, "arena_hard", prompt_set="ffff")]
    board = build_board(SPEC.model_copy(update={"columns": (COLUMN,)}), scores)
    assert not board.warnings


def test_only_listed_leaves_others_out(cells):
    spec = SPEC.model_copy(update={"systems": (SystemSpec(name="target"),), "only_listed": True})
    assert [row.system.name for row in build_board(spec, cells()).rows] == ["target"]


def test_published_layout_has_spread_and_details(cell):
    spec = SPEC.model_copy(
        update={
            "columns": (
                COLUMN.model_copy(update={"spread": "standard_error"}),
                COLUMN.model_copy(update={"detail": "avg_length"}),
                COLUMN.model_copy(update={"detail": "n_total"}),
            )
        }
    )
    (row,) = build_board(spec, [cell("a", 50)]).rows
    score, length, absent = row.entries
    assert score.spread == pytest.approx(cell("a", 50).details["standard_error"], abs=1e-6)
    assert score.interval is not None
    assert (length.value, length.interval) == (1700, None)
    assert absent.reason == "the cell has no n_total"


def test_references_belong_to_metrics_only(cell):
    figure = Reference(
        system="a", suite="alpaca_eval2", metric="lc_win_rate", value=55.9, source="table 1"
    )
    board = build_board(SPEC.model_copy(update={"references": (figure,)}), [cell("a", 50)])
    assert board.reference("a", COLUMN) == figure
    assert board.reference("b", COLUMN) is None
    assert board.reference("a", COLUMN.model_copy(update={"detail": "x"})) is None


def test_facts_count_each_judgment_once(cell):
    scores = [cell("a", 50, failed=2), cell("a", 50, metric="win_rate", failed=2)]
    scores.append(cell("a", 50, metric="win_rate/koala", n=30, primary=False, prompt_set="k"))
    (facts,) = build_board(SPEC, scores).suites
    assert (facts.n_expected, facts.n_scored, facts.n_failed) == (120, 118, 2)


def test_the_order_of_cells_changes_nothing(cells):
    scores = cells()
    expected = board_files(build_board(SPEC, scores))
    for seed in range(3):
        random.Random(seed).shuffle(scores)
        assert board_files(build_board(SPEC, scores)) == expected


@settings(max_examples=20, deadline=None)
@given(skill=st.floats(1, 99), name=st.text(min_size=1, max_size=8))
def test_adding_a_system_changes_no_other_value(cell, skill, name):
    seeds = [
        cell(s, k, seed=seed, n=9, rounds=9) for s, k in (("a", 30), ("b", 70)) for seed in (0, 1)
    ]
    added = [cell(f"new {name}", skill, seed=seed, n=9, rounds=9) for seed in (0, 1)]
    before = {row.system.name: row.scores for row in build_board(SPEC, seeds).rows}
    after = {row.system.name: row.scores for row in build_board(SPEC, seeds + added).rows}
    assert all(after[system] == before[system] for system in before)


def test_an_empty_board_is_a_board():
    board = build_board(SPEC, [])
    assert (board.rows, board.columns, board.cells, board.ranking) == ((), (), (), None)
    assert b"Board" in board_files(board)["board.md"]
