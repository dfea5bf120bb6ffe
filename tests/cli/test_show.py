"""`crucible show`: addresses, lists, one sample, pages, and texts that attack the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import CrucibleError, UnknownName, UserError
from harness.core.records import parse
from harness.distillation.align.report import AlignmentReport
from leaderboards.files import write_board
from leaderboards.render import parts
from leaderboards.spec import BoardSpec
from tests.hand_made import HOSTILE, HandMade, four_games, hostile_cell

CELL = "target/arena_hard/score"


@pytest.fixture
def show(hand_made: HandMade, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`show("target/arena_hard", "--row", "p/win")`: what it prints; errors are raised."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    four_games(hand_made)

    def run(*arguments: str) -> str:
        command = ["show", *arguments, "--store", str(hand_made.store.root)]
        done = CliRunner().invoke(app, command)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


def test_a_mapped_teacher_shows_how_its_tokens_were_aligned(show, hand_made: HandMade) -> None:
    report = AlignmentReport(
        base="b", source="s", documents=2, positions=10, exact=0.7, split=0.3, merged=0,
        crossed=0, unmatched=0, transferable=0.9, dtw=1, examples=(("split", ("ab",), ("a", "b")),),
    )  # fmt: skip
    id = hand_made.put("map_teacher")
    (hand_made.store.folder(id) / "alignment.json").write_text(report.model_dump_json())
    said = show(id[:12])
    assert "10 positions of b in 2 documents, 90.0% receive a prediction of s, 1 texts" in said
    assert "exact 70.0%" in said
    assert "split      ab | a b" in said


def test_the_notes_of_a_stage_are_shown(show, hand_made: HandMade) -> None:
    id = hand_made.put("merge_models", notes=["one \x1b[31m", "two"])
    said = show(id[:12])
    assert "note       one <U+001B>[31m\n" in said
    assert "note       two\n" in said


def test_a_cell_lists_its_samples(show) -> None:
    said = show(CELL)
    assert "target / arena_hard / score  50.00 %" in said
    assert "nano:oracle" in said
    for id in ("p/win", "p/loss", "p/torn", "p/failed"):
        assert id in said
    assert "contradictory" in said
    assert "win 1, loss 1, tie 1, failed 1" in said
    assert "no verdict found in the reply" in said


def test_filters_search_limit_and_order(show) -> None:
    assert "1 listed of 1 found of 4: loss 1" in show(CELL, "--filter", "verdict=loss")
    said = show(CELL, "--filter", "category=math", "--search", "P/TORN")
    assert "p/torn" in said
    assert "p/win" not in said
    assert "2 listed of 4 found" in show(CELL, "--limit", "2")
    said = show(CELL, "--sort", "preference")
    assert said.index("p/loss") < said.index("p/torn") < said.index("p/win")


def test_one_sample_in_full(show) -> None:
    said = show(CELL, "--row", "p/win")
    for told in (
        "Question p/win?",
        "  answer to p/win",
        "  other answer to p/win",
        "shown first  baseline",
        "read         B>>A",
        "I say [[B>>A]]",
        "<s>p/win",
        "You are an impartial judge",
        "attempts     1",
    ):
        assert told in said
    assert "failure      no verdict found" in show(CELL, "--row", "failed")  # the id's end will do
    assert said.count("You are an impartial judge") == 1


def test_a_page_is_written_where_asked_or_under_the_name_of_the_cell(show, tmp_path: Path) -> None:
    assert "samples-target-arena_hard-score.html: 4 samples" in show(CELL, "--html")
    assert (tmp_path / "samples-target-arena_hard-score.html").is_file()
    show(CELL, "--html", "mine.html", "--filter", "verdict=win")
    assert "p/loss" not in (tmp_path / "mine.html").read_text()
    show("--html", "first.html", CELL)
    show(CELL, "--html", "--search", "p/win")
    assert (tmp_path / "first.html").is_file()


def test_many_samples_are_written_as_several_pages(
    show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LIMIT", 2)
    assert re.search(r"mine.html: 4 samples, 0.\d MB in 2 pages", show(CELL, "--html", "mine.html"))
    assert sorted(path.name for path in tmp_path.glob("*.html")) == [
        "mine.html",
        "mine.page-2.html",
    ]
    assert "p/win" in (tmp_path / "mine.html").read_text()
    assert "answer to p/win" not in (tmp_path / "mine.page-2.html").read_text()


def test_pages_of_an_earlier_export_go_and_other_files_stay(
    show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LIMIT", 1)
    show(CELL, "--html", "mine.html")
    show(CELL, "--html", "other.html")
    (tmp_path / "mine.page-5.html").write_text("my notes")
    monkeypatch.setattr(parts, "LIMIT", 2)
    show(CELL, "--html", "mine.html")
    others = {"other.html", *(f"other.page-{n}.html" for n in (2, 3, 4))}
    left = {path.name for path in tmp_path.glob("*.html")} - others
    assert left == {"mine.html", "mine.page-2.html", "mine.page-5.html"}
    show(CELL, "--html", "mine.html", "--filter", "verdict=win")
    (tmp_path / "other.page-2.html").write_text("my notes")
    show(CELL, "--html", "other.html", "--filter", "verdict=win")
    left = {path.name for path in tmp_path.glob("*.html")}
    assert left == {"mine.html", "mine.page-5.html", *others}


def test_an_artifact_is_shown_as_before(show, hand_made: HandMade) -> None:
    ids = {hand_made.store.manifest(id)["operation"]: id for id in hand_made.store.ids()}
    said = show(ids["judge_arena"][:10])
    assert f"judge_arena  {ids['judge_arena']}" in said
    assert "from       generations:" in said
    assert "rows       4" in said
    assert "{'" in said
    assert f"cell       {ids['score_arena'][:10]}:{CELL}@0" in show(ids["score_arena"][:8])
    assert "p/win" in show(ids["judge_arena"][:10], "--filter", "verdict=win")
    assert "p/win" in show(ids["judge_arena"][:10], "--row", "p/win")


def test_without_a_target_everything_is_listed(show) -> None:
    said = show()
    assert "judge_arena" in said
    assert f"{CELL}@0" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--html"], f"which samples.*crucible show {CELL}@0 --html"),
        (["target/arena_hrd"], 'no cell named "target/arena_hrd"; did you mean'),
        ([CELL, "--filter", "verdict=los"], 'did you mean "loss"'),
        ([CELL, "--row", "p/wim"], 'no sample named "p/wim"; did you mean "p/win"'),
        ([CELL, "--row", "p"], '"p" is part of 4 ids'),
        ([CELL, "--html", "no/such/folder/x.html"], "cannot be written"),
        ([CELL, "--html", "."], "cannot be written"),
        (["123456"], "no artifact"),
    ],
)
def test_mistakes_say_what_to_type(show, arguments: list[str], message: str) -> None:
    with pytest.raises(CrucibleError, match=message) as error:
        show(*arguments)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_hostile_samples_neither_style_nor_move_nor_hide(show, hand_made: HandMade) -> None:
    hostile_cell(hand_made)
    places = [p for p in show().splitlines() if CELL in p]
    assert places
    ids = [
        hand_made.store.folder(id).name
        for id in hand_made.store.ids()
        if hand_made.store.manifest(id)["operation"] == "judge_arena"
        and "h0" in (hand_made.store.folder(id) / "rows.jsonl").read_text()
    ]
    said = show(ids[0], "--limit", "0", "--sort", "id")
    for number in range(len(HOSTILE)):
        said += show(ids[0], "--row", f"h{number} {HOSTILE[number][:50]}", "--sort", "id")
        said += show(ids[0], "--row", f"h{number} {HOSTILE[number][:50]}")
    said += show(ids[0])
    for character in "\x1b\x07\x00\u202e\u2066\u200b\ufeff\ud800\u2028\x9b":
        assert character not in said
    assert "[bold red]markup[/] [/nope]" in said
    assert "<U+001B>[31mred" in said
    assert "<U+202E>gnp.exe" in said


def test_a_training_shows_its_learning_curve(show, hand_made: HandMade) -> None:
    id = hand_made.put("train_sft")
    points = [{"step": step, "loss": loss} for step, loss in ((0, 2.0), (5, 1.0), (10, 1.5))]
    log = {"updates": 10, "log": [], "validation": {"rows": 3, "points": points}}
    (hand_made.store.folder(id) / "training_log.json").write_text(json.dumps(log))
    said = show(id[:12])
    assert "held-out loss (3 rows) by update" in said
    assert "      5   1.0000  # lowest\n" in said
    assert json.loads(show(id[:12], "--json"))["validation"]["points"] == points


def test_preconditions_are_printed_for_a_board_and_for_all(
    show, hand_made: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = hand_made.cell(
        system="source", suite="preconditions", metric="above", artifacts={}, primary=False
    )
    spec = parse(
        BoardSpec,
        {"name": "mine", "title": "Mine",
         "preconditions": [{"text": "better sources", "metric": "above", "needs": "many"}]},
        "test",
    )  # fmt: skip
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(UserError, match=r"no board in .* has preconditions"):
        show("preconditions")
    write_board(hand_made.store.root / "boards" / "mine", spec, [figure])
    write_board(hand_made.store.root / "boards" / "bare", spec, [])
    for said in (show("preconditions"), show("mine:preconditions")):
        assert "Mine (mine)" in said
        assert "(bare)" not in said
        assert "better sources" in said
        assert "many" in said
    assert json.loads(show("mine:preconditions", "--json"))["mine"][0]["system"] == "source"
    with pytest.raises(UserError, match="board bare has no preconditions"):
        show("bare:preconditions")
    with pytest.raises(UnknownName):
        show("none:preconditions")


def test_a_stage_of_preconditions_shows_figures_before_rows(show, hand_made: HandMade) -> None:
    cell = hand_made.cell(system="source", suite="preconditions", metric="above", artifacts={})
    rows = [{"id": "one", "best_grades": {"own": 0.5}}]
    id = hand_made.put("compare_answers", rows, [cell])
    said = show(id[:12])
    assert said.index("above") < said.index("rows       1")
    assert "best_grades" in said
