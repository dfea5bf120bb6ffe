"""Results from Python: scores, samples, boards, comparisons, judges."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from harness.api.boards import BoardResult, board, compare
from harness.api.judges import judge
from harness.api.results import Result, SampleTable, results_of
from harness.api.tables import html_table
from harness.core.errors import CrucibleError, UnknownName, UserError
from harness.engine.store import Store
from harness.evaluate import evaluate
from tests.hand_made import HandMade, arena_row

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "<script>alert(1)</script>\u202e"


@cache
def published() -> BoardResult:
    """The committed board, built once."""
    return board("wrpo-nano")


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Result, Store]:
    made = HandMade(tmp_path / "store")
    rows = [arena_row("p0", ("B>A", "A>B")), arena_row("p1", ("A>B", None), prompt=HOSTILE)]
    cell = made.judged("judge_arena", "arena", rows, judge="gold", metric="gold")
    (result,) = results_of([cell], made.store)
    return result, made.store


def test_a_result_leads_to_its_samples(stored: tuple[Result, Store]) -> None:
    result, _ = stored
    assert (result.system, result.suite, result.metric) == ("target", "arena_hard", "gold")
    assert result.score == result.cells[0].value
    assert result.interval == result.cells[0].interval
    samples = result.samples
    assert len(samples) == 2
    assert samples[0].id == "p0"
    assert [sample.outcome for sample in samples] == ["win", "failed"]
    rows = samples.rows()
    assert rows[0]["answer"] == "answer to p0"
    assert rows[1]["flags"] == "failed"
    assert set(rows[0]) >= {"id", "outcome", "value", "question", "baseline", "replies"}


def test_samples_become_a_frame(stored: tuple[Result, Store]) -> None:
    pytest.importorskip("pandas")
    frame = stored[0].samples.to_pandas()
    assert list(frame["id"]) == ["p0", "p1"]
    assert frame["question"][1] == HOSTILE


def test_notebook_tables_show_text_and_run_nothing(stored: tuple[Result, Store]) -> None:
    html = stored[0].samples._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;U+202E&gt;" in html
    assert "\u202e" not in html
    assert "gold" in stored[0]._repr_html_()
    long = html_table(("n",), [(n,) for n in range(30)])
    assert long.count("<tr>") == 21
    assert "20 of 30 rows" in long
    assert "—" in html_table(("n",), [(None,)])


def test_a_published_board_has_scores_and_no_samples() -> None:
    found = published()
    result = found["wrpo", "arena_hard", "score"]
    entry = next(row for row in found.table.rows if row.system.name == "wrpo")
    scores = {(score.suite, score.metric): score for score in entry.scores}
    assert result.score == scores["arena_hard", "score"].value
    assert result.interval == scores["arena_hard", "score"].interval
    assert found["wrpo", "alpaca_eval2"].metric == "lc_win_rate"  # the first main one
    assert "Target-SFT-WRPO" in found._repr_html_()
    assert found.render("md").startswith("# WRPO")
    with pytest.raises(UserError, match="samples of wrpo on arena_hard are not stored"):
        _ = result.samples


def test_a_board_is_written_as_it_was(tmp_path: Path) -> None:
    folder = published().write(tmp_path / "copy")
    assert board(folder).table == published().table


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (("wrpp", "arena_hard"), UnknownName, 'did you mean "wrpo"'),
        (("wrpo", "arena"), UnknownName, "suite"),
        (("wrpo", "arena_hard", "scor"), UnknownName, 'did you mean "score"'),
        ("arena_hard", UserError, r"scores of \d+ systems"),
        ((), UserError, "expected suite"),
    ],
)
def test_a_wrong_key_says_what_there_is(
    key: str | tuple[str, ...], error: type[CrucibleError], message: str
) -> None:
    with pytest.raises(error, match=message):
        _ = published()[key]


def test_several_suites_have_no_single_score() -> None:
    cells = [cell for cell in published().result_cells if cell.system == "wrpo"]

    class One(type(published())):  # type: ignore[misc]
        result_cells = cells

    made = One(published().table)
    with pytest.raises(UserError, match=r"scores of 3 suites: .*result\['alpaca_eval2'\]"):
        _ = made.score
    assert made["mt_bench"].system == "wrpo"


def test_systems_are_compared_by_name() -> None:
    found = compare("wrpo", "target", "wrpo-nano")
    line = next(row for row in found.rows() if row["metric"] == "lc_win_rate")
    assert line["ahead"] == "first"
    assert found.comparison == compare("wrpo", "target", published()).comparison
    assert "wrpo ahead on" in found.summary
    assert "lc_win_rate" in found._repr_html_()
    with pytest.raises(UserError, match="two names and a board"):
        compare("wrpo", "target")
    with pytest.raises(UnknownName, match='no system named "wrpp"'):
        compare("wrpp", "target", published())


def test_mistakes_with_boards_say_what_to_do() -> None:
    with pytest.raises(UnknownName, match='no board named "wrpo-nan"; did you mean "wrpo-nano"'):
        board("wrpo-nan")
    with pytest.raises(UserError, match="which board"):
        board()
    with pytest.raises(UserError, match="found 2 names"):
        board("wrpo-nano", "mktod-camrest")
    with pytest.raises(UserError, match="expected runs alone"):
        board("wrpo-nano", evaluate("nano:target", "arena_hard", limit=4))


def test_a_run_says_what_it_would_do() -> None:
    made = evaluate("nano:target", "arena_hard", judge=judge("nano:oracle"), limit=4)
    assert f"{len(made.plan.stages)} stages planned, none run" in made._repr_html_()
    same = evaluate("nano:target", "arena_hard", judge="nano:oracle", limit=4)
    assert made.plan.stages.keys() == same.plan.stages.keys()


def test_a_judge_answers_single_questions() -> None:
    oracle = judge("nano:oracle?unknown=generic")
    assert str(oracle) == "nano:oracle?unknown=generic"
    good, bad = "3+3=6, 6+9=15. Answer: 15.", "I do not know."
    one, other = oracle.prefer("Add up.", good, bad), oracle.prefer("Add up.", bad, good)
    assert one.share is not None
    assert one.share == pytest.approx(1 - (other.share or 0))
    assert [game.first for game in one.games] == ["model", "baseline"]
    rating = oracle.rate("Add up.", good)
    assert isinstance(rating.verdict, float)
    assert 1 <= rating.verdict <= 10


def test_a_judge_without_a_verdict_has_no_share() -> None:
    found = judge("nano:oracle?unknown=fail").prefer("Not of the nano world?", "a", "b")
    assert found.share is None
    assert found.failures


def test_an_unknown_judge_is_refused_at_once() -> None:
    with pytest.raises(UnknownName, match='did you mean "nano:oracle"'):
        judge("nano:orakle")


@pytest.mark.parametrize("before", ["", "import harness.evaluate, harness.reproduce\n"])
def test_calls_are_callable_whatever_was_imported_before(before: str) -> None:
    code = before + (
        "from harness import evaluate, reproduce\n"
        "import harness.evaluate, harness.reproduce\n"
        "from harness import evaluate as again\n"
        "assert callable(evaluate) and callable(again) and callable(reproduce)\n"
        "made = evaluate('nano:target', 'arena_hard', limit=4)\n"
        "assert type(made) is harness.evaluate.Evaluation\n"
        "assert type(again('nano:target', 'arena_hard', limit=4)) is type(made)\n"
        "from harness.evaluate import evaluate as function\n"
        "assert function.__name__ == 'evaluate'\n"
        "import harness\n"
        "assert 'compare' in dir(harness)\n"
        "try:\n    harness.nothing\nexcept AttributeError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "module 'harness' has no attribute 'nothing'\n"


def test_a_sample_table_is_a_sequence(stored: tuple[Result, Store]) -> None:
    samples = stored[0].samples
    assert isinstance(samples, SampleTable)
    assert [sample.id for sample in samples[:1]] == ["p0"]
    assert [sample.id for sample in reversed(samples)] == ["p1", "p0"]
