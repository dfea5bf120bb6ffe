"""Boards, comparisons, specifications and files of hand-made cells, worked out by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadRecord, UserError
from harness.core.records import Cell, Interval, parse
from harness.stats.mcnemar import OUTCOMES, pack
from leaderboards.board import build_board
from leaderboards.compare import compare_systems, mcnemar_text
from leaderboards.files import artifacts_of, first_difference, read_board, write_board
from leaderboards.judge_board import add_to_board
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, SystemSpec, read_spec, shipped
from tests.leaderboards.test_by_hand import made

PLAIN = BoardSpec(name="b", title="B")


def test_columns_are_the_primary_metrics_unless_others_are_listed() -> None:
    cells = [made(metric="z"), made(metric="a"), made(metric="minor", primary=False),
             made(suite="r", metric="m")]  # fmt: skip
    board = build_board(PLAIN, cells)
    assert [column.key for column in board.columns] == ["r.m", "s.a", "s.z"]
    assert board.ranking == 0
    listed = (ColumnSpec(suite="s", metric="a", detail="d"), ColumnSpec(suite="s", metric="z"),
              ColumnSpec(suite="s", metric="minor", rank=True))  # fmt: skip
    assert build_board(PLAIN.model_copy(update={"columns": listed}), cells).ranking == 2
    assert build_board(PLAIN.model_copy(update={"columns": listed[:2]}), cells).ranking == 1
    details = build_board(PLAIN.model_copy(update={"columns": listed[:1]}), cells)
    assert (details.ranking, details.rows[0].rank) == (None, None)
    gone = ColumnSpec(suite="s", metric="none", optional=True)
    fallen = build_board(PLAIN.model_copy(update={"columns": (gone,)}), cells)
    assert len(fallen.columns) == 3
    empty = made(metric="e", n_expected=0, n_scored=0, value=None)
    kept = ColumnSpec(suite="s", metric="e", optional=True)
    spec = PLAIN.model_copy(update={"columns": (kept, listed[1])})
    assert [c.metric for c in build_board(spec, [*cells, empty]).columns] == ["z"]


def test_equal_scores_share_their_place_and_the_next_is_left_out() -> None:
    values = {"d": 30.0, "b": 50.0, "a": 50.0, "c": 40.0, "e": None}
    board = build_board(PLAIN, [made(name, value) for name, value in values.items()])
    assert [(row.system.name, row.rank) for row in board.rows] == [
        ("a", 1), ("b", 1), ("c", 3), ("d", 4), ("e", None)
    ]  # fmt: skip
    assert board.rows[0].entries[0].standing == "best"
    assert board.rows[1].entries[0].standing == "tied"


def test_a_mixture_names_the_values_and_at_most_three_systems_of_each() -> None:
    cells = [
        made(name, 50.0 + min(n, 4), prompt_set="p" if n < 4 else "q")
        for n, name in enumerate("abcdef")
    ]
    said = "column s m mixes prompt sets: p (a, b, c, ...), q (e, f)"
    with pytest.raises(UserError, match=re.escape(f"{said}; expected one: remove systems")):
        build_board(PLAIN, cells)
    more = [
        cell.model_copy(update={"scale": "paper"}) if cell.system == "f" else cell for cell in cells
    ]
    first = 'board "b" mixes scales: nano (a, b, c, ...), paper (f) (and 1 more); expected'
    with pytest.raises(UserError, match=re.escape(first)):
        build_board(PLAIN, more)
    spec = PLAIN.model_copy(update={"allow_mixed": True, "scale": "paper"})
    said_ = 'board "b" is of scale paper, cells are nano (a, b, c, ...), paper (f)'
    assert build_board(spec, more).warnings == (said_, said)
    assert build_board(spec, more).scales == ("nano", "paper")
    best = build_board(spec, cells).rows
    # Only what is comparable with the best one is tied with it.
    assert [row.entries[0].standing for row in best] == ["best", "tied", "", "", "", ""]
    up = [made("a"), made("b", higher_is_better=False)]
    with pytest.raises(UserError, match=r"mixes higher is betters: False \(b\), True \(a\)"):
        build_board(PLAIN, up)
    lost = made("f", None, prompt_set="r", n_scored=0, n_failed=300)
    assert build_board(PLAIN, [*cells[:2], lost]).warnings == ()  # without a value nothing is mixed


def test_facts_of_a_suite_are_those_of_all_its_cells() -> None:
    kind = Interval(low=1, high=99, kind="other kind")
    cells = [made("a", seed=2, n_expected=10, n_scored=8, n_failed=2, judge="z", bounds=(0, 100)),
             made("a", seed=1, n_expected=10, n_scored=10, judge_fingerprint="g"),
             made("a", seed=1, metric="few", n_expected=3, n_scored=3, decode_fingerprint=None),
             made("b", seed=2, n_expected=20, n_scored=20, interval=kind, judge=None),
             made("b", seed=2, suite="r", prompt_set="q")]  # fmt: skip
    other, found = build_board(PLAIN.model_copy(update={"allow_mixed": True}), cells).suites
    assert found.model_dump() == {
        "suite": "s", "judges": ("j", "z"), "judge_fingerprints": ("f", "g"),
        "decode_fingerprints": ("d",), "prompt_sets": ("p",), "seeds": (1, 2), "n_expected": 40,
        "n_scored": 38, "n_failed": 2, "interval_kinds": ("other kind", "stored"),
    }  # fmt: skip
    assert (other.suite, other.prompt_sets, other.seeds) == ("r", ("q",), (2,))


def test_rows_are_listed_systems_and_then_all_others_by_name() -> None:
    systems = (
        SystemSpec(name="z"),
        SystemSpec(name="absent"),
        SystemSpec(name="never", optional=True),
    )
    spec = PLAIN.model_copy(update={"systems": systems, "order": "spec"})
    cells = [made(name, 50.0) for name in ("b", "z", "a")]
    assert [row.system.name for row in build_board(spec, cells).rows] == ["z", "absent", "a", "b"]
    only = spec.model_copy(update={"only_listed": True})
    board = build_board(only, [*cells, made("b", suite="preconditions", metric="m")])
    assert [row.system.name for row in board.rows] == ["z", "absent"]
    assert {cell.suite for cell in board.cells} == {"s", "preconditions"}


# Comparisons


def paired(metric: str, a: float, b: float, primary: bool = True, **changes: Any) -> list[Cell]:
    return [made(name, value, metric=metric, primary=primary, **changes)
            for name, value in (("a", a), ("b", b))]  # fmt: skip


def test_a_comparison_counts_what_is_ahead() -> None:
    cells = [*paired("z", 60.0, 40.0), *paired("y", 40.0, 60.0), *paired("x", 50.0, 50.0),
             *paired("low", 40.0, 60.0, higher_is_better=False), *paired("a", 60.0, 40.0, False),
             *paired("none", 60.0, 40.0, replicates=())]  # fmt: skip
    found = compare_systems(cells, "a", "b")
    assert [(line.metric, line.ahead) for line in found.lines] == [
        ("low", "first"), ("none", ""), ("x", ""), ("y", "second"), ("z", "first"), ("a", "first"),
    ]  # fmt: skip
    assert found.summary == (
        "a ahead on 2, b ahead on 1, 1 not distinguishable (of 5 main metrics); "
        "one seed: these checkpoints only"
    )
    last = found.lines[-1]
    assert (last.first, last.second, last.difference, last.primary) == (60, 40, 20, False)
    assert (last.unit, last.suite, last.seeds) == ("%", "s", 1)
    assert found.lines[1].note == "no paired interval: the cells hold no replicates"
    with pytest.raises(UserError, match="a and c have no metric in common"):
        compare_systems([*cells, made("c", metric="own")], "a", "c")
    two = [cell.model_copy(update={"seed": seed}) for cell in cells for seed in (0, 1)]
    more = compare_systems(two, "a", "b")
    assert more.lines[0].seeds == 2
    assert "one seed" not in more.summary
    uneven = compare_systems([*cells, made("a", 60.0, metric="z", seed=1)], "a", "b")
    assert {line.metric: line.seeds for line in uneven.lines}["z"] == 1
    half = compare_systems([*paired("m", 60.0, 40.0)[:1], made("b", 40.0, primary=False)], "a", "b")
    assert not half.lines[0].primary


def test_outcomes_of_rows_are_tested_by_mcnemar() -> None:
    def told(system: str, rows: list[int], **changes: Any) -> Cell:
        details = {OUTCOMES: pack([bool(row) for row in rows])}
        return made(
            system, 50.0, n_expected=len(rows), n_scored=len(rows), details=details, **changes
        )

    one, two = [1] * 8 + [0] * 2, [0] * 7 + [1] + [1] * 2  # 7 that only the first has, 2 the other
    (line,) = compare_systems([told("a", one), told("b", two)], "a", "b").lines
    assert line.mcnemar is not None
    assert (line.mcnemar.b, line.mcnemar.c) == (7, 2)
    assert mcnemar_text(line) == "; McNemar 7:2, p 0.18"
    (few,) = compare_systems([told("a", one), told("b", [*one[:-1], 1])], "a", "b").lines
    assert few.note == "McNemar: only 1 rows differ, too few for p below 0.05"
    for other in (
        told("b", two, prompt_set="q"),
        told("b", two[:-1]),
        made("b", 50.0, n_expected=10),
    ):
        (none,) = compare_systems([told("a", one), other], "a", "b").lines
        assert none.mcnemar is None
        assert mcnemar_text(none) == ""
    seeds = [told("a", one), told("a", one, seed=1), told("b", two)]
    assert compare_systems(seeds, "a", "b").lines[0].mcnemar is None
    assert compare_systems(seeds, "b", "a").lines[0].mcnemar is None


# Specifications and files


def test_a_specification_reads_its_names(tmp_path: Path) -> None:
    column = ColumnSpec(suite="s", metric="win_rate")
    assert (column.title, column.heading, column.key) == ("win rate", "s", "s.win_rate")
    detail = ColumnSpec(suite="s", metric="m", detail="avg_length", group="G")
    assert (detail.title, detail.heading, detail.key) == ("avg length", "G", "s.m.avg_length")
    assert (SystemSpec(name="a").title, SystemSpec(name="a", label="A").title) == ("a", "A")
    spec = parse(BoardSpec, {"name": "a", "title": "A"}, "test")
    assert spec.model_dump() == {
        "name": "a", "title": "A", "description": "", "scale": None, "systems": (),
        "only_listed": False, "columns": (), "claims": (), "references": (), "order": "rank",
        "provenance": Provenance().model_dump(), "level": 0.95, "digits": 1, "allow_mixed": False,
    }  # fmt: skip
    assert spec.digits_of(column) == 1
    assert spec.digits_of(column.model_copy(update={"digits": 0})) == 0
    assert list(shipped()) == sorted(shipped())
    for line, said in (
        ("level = 1.0", "level"), ("level = 0.0", "level"), ("digits = 7", "digits"),
        ("digits = -1", "digits"),
        ('systems = [{name = "y"}, {name = "x"}, {name = "x"}]', '"x" is'),
        ('columns = [{suite = "s", metric = "m"}, {suite = "s", metric = "m"}]', '"s.m" is listed'),
        ('columns = [{suite = "s", metric = "m", digits = 7}]', "digits"),
        ('claims = [{id = "c", better = "a", worse = "b", suite = "s", metric = "m"}, '
         '{id = "c", better = "a", worse = "b", suite = "s", metric = "m"}]', '"c" is listed'),
    ):  # fmt: skip
        (tmp_path / "a.toml").write_text(f'name = "a"\ntitle = "A"\n{line}\n')
        with pytest.raises(BadRecord, match=said):
            read_spec(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text('name = "a"\ntitle = "A"\ndigits = 6\nlevel = 0.5\n')
    assert (read_spec(tmp_path / "a.toml").digits, read_spec(tmp_path / "a.toml").level) == (6, 0.5)


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (b"a\nb", b"a\nc", 'line 2: found "b", expected "c"'),
        (b"a", b"ab", 'line 1: found the end of the file, expected "b"'),
        (b"ab\n\n", b"ab\n", "line 2: found the end of the line, expected the end of the file"),
        (b"", b"\nx", "line 1: found the end of the file, expected the end of the line"),
        (
            b"x" + b"1" * 99,
            b"y" + b"2" * 99,
            f'line 1: found "x{"1" * 59}", expected "y{"2" * 59}"',
        ),
    ],
)
def test_the_first_difference_is_shown_up_to_sixty_letters(
    found: bytes, expected: bytes, said: str
) -> None:
    assert first_difference(found, expected) == said


@pytest.mark.parametrize("form", [{}, {"compact": True}, {"compact": True, "layout": "blocks"}])
def test_a_board_is_read_in_the_order_of_its_cells(tmp_path: Path, form: dict[str, Any]) -> None:
    cells = [made(s, metric=m, seed=n, artifacts={"a": f"{s}{n}"})
             for s in "ba" for m in "zy" for n in (1, 0)]  # fmt: skip
    board = write_board(tmp_path / "b", PLAIN.model_copy(update=form), cells)
    _, read = read_board(tmp_path / "b")
    assert read == board.cells
    assert [(c.metric, c.system, c.seed) for c in read] == sorted(
        (c.metric, c.system, c.seed) for c in cells
    )
    assert artifacts_of(tmp_path / "b") == {"a0", "a1", "b0", "b1"}
    assert (
        json.loads((tmp_path / "b" / "spec.json").read_text()) == {"name": "b", "title": "B"} | form
    )


def test_a_board_of_judges_lists_its_measures_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "my judges!"

    def measured(judge: str, *metrics: str, reference: str = "gold") -> list[Cell]:
        return [made(judge, 60.0, suite=f"judge_agreement:{of}", metric=metric, judge=reference)
                for metric in metrics for of in ("b", "a")]  # fmt: skip

    names = ("judge_first_shown", "judge_kappa", "judge_kappa_quadratic", "other")
    board = add_to_board(folder, measured("one", *names))
    columns = [(c.suite, c.metric, c.label, c.group, c.digits) for c in board.columns]
    assert columns == [
        (f"judge_agreement:{of}", metric, label, of, digits)
        for of in ("a", "b")
        for metric, label, digits in (("judge_kappa_quadratic", "kappa, quadratic", 3),
                                      ("judge_kappa", "kappa", 3),
                                      ("judge_first_shown", "first shown wins", 1))
    ]  # fmt: skip
    assert (board.spec.name, board.spec.title) == (
        "my-judges", "Agreement of judges with reference verdicts"
    )  # fmt: skip
    both = add_to_board(folder, measured("two", "judge_kappa", reference="silver"))
    assert both.spec.description.endswith("as the reference: gold, silver.")
    assert {cell.system for cell in both.cells} == {"one", "two"}
    again = add_to_board(folder, measured("one", "judge_kappa"))
    assert len(again.cells) == 4  # the earlier ones of this judge are replaced
    assert add_to_board(tmp_path / "...", measured("one", "judge_kappa")).spec.name == "judges"
    write_board(tmp_path / "mine", PLAIN, [made(suite="z"), made(suite="y")])
    with pytest.raises(UserError, match="is a board of y, z; choose another folder"):
        add_to_board(tmp_path / "mine", measured("one", "judge_kappa"))
