"""Published judgments of Arena-Hard and MT-Bench: golden figures, faults, the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import BadData
from harness.core.records import Cell
from leaderboards.board import build_board
from leaderboards.files import check_board
from leaderboards.judgments import published_judgments
from leaderboards.spec import board_spec
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_system(cells: list[Cell], metric: str) -> dict[str, Cell]:
    return {cell.system: cell for cell in cells if cell.metric == metric}


def arena(model: str, games: list[tuple[str | None, str | None]], **more: Any) -> list[dict]:
    return [
        {
            "question_id": f"q{number}",
            "model": model,
            "judge": "gpt-4",
            "games": [{"score": score, "judgment": f"[[{score}]]"} for score in pair],
            **more,
        }
        for number, pair in enumerate(games)
    ]


GAMES: list[tuple[str | None, str | None]] = [("A>B", "B>A"), ("B>>A", "A>B"), ("A=B", "A>>B")]


@pytest.mark.parametrize("case", ["tiny", "five_models", "twelve_models"])
def test_arena_scores_are_those_of_the_original(golden: Golden, tmp_path: Path, case: str) -> None:
    data = vectors(golden(f"arena_hard/{case}_input.json.gz"))
    expected = vectors(golden(f"arena_hard/{case}_expected.json"))
    rows: dict[str, list[dict]] = {}
    for item in data["judgments"]:
        games = [None if score is None else {"score": score} for score in item["games"]]
        row = {"uid": item["uid"], "model": item["model"], "judge": "gemini", "games": games}
        rows.setdefault(item["model"], []).append(row)
    for model, own in rows.items():
        write(tmp_path / "model_judgment" / "gemini" / f"{model}.jsonl", own)
    cells = published_judgments(tmp_path, "arena_hard", allow_partial=True, rounds=200)
    found = by_system(cells, "score")
    assert set(found) == set(expected["point_scores"])
    for model, score in expected["point_scores"].items():
        assert found[model].value == pytest.approx(100 * score, abs=1e-9)
        assert found[model].details["n_rows"] == expected["n_rows"][model]
        interval = found[model].interval
        assert interval is not None
        assert interval.low <= 100 * score <= interval.high
    bt = by_system(cells, "bt_win_rate")
    for model, share in expected["nostyle_exact_mle_bt"].items():
        if model in bt:
            assert bt[model].value == pytest.approx(100 * share, abs=1e-4)


def test_mt_bench_ratings_are_those_of_the_original(golden: Golden, tmp_path: Path) -> None:
    data = vectors(golden("mt_bench/single_aggregation.json"))
    rows = [
        {"question_id": q, "model": model, "turn": turn, "score": score, "judge": ["gpt-4", "p"]}
        for q, model, turn, score in data["records"]
    ]
    path = write(tmp_path / "gpt-4_single.jsonl", rows)
    cells = published_judgments(path, "mt_bench", allow_partial=True, rounds=100)
    valid: dict[str, list[float]] = {}
    for _, model, _, score in data["records"]:
        if score != -1:
            valid.setdefault(model, []).append(score)
    found = by_system(cells, "score")
    assert set(found) == set(valid)
    for model, scores in valid.items():
        assert found[model].value == pytest.approx(sum(scores) / len(scores), abs=1e-9)
        assert found[model].n_scored == len(scores)
    assert any(cell.metric == "category:stem" for cell in cells)


def test_mt_bench_pairs_are_those_of_the_original(golden: Golden, tmp_path: Path) -> None:
    data = vectors(golden("mt_bench/pairwise_aggregation.json"))
    names = ("question_id", "model_1", "model_2", "g1_winner", "g2_winner", "turn")
    rows = [
        {**dict(zip(names, record, strict=True)), "judge": ["gpt-4", "pair-v2"]}
        for record in data["records"]
    ]
    path = write(tmp_path / "gpt-4_pair.jsonl", rows)
    cells = published_judgments(path, "mt_bench", allow_partial=True, rounds=100)
    found = by_system(cells, "win_rate_adjusted")
    for model, line in data["expected"].items():
        if model == data["baseline"]:
            continue
        details = found[model].details
        assert (details["win"], details["loss"], details["tie"]) == (
            line["win"],
            line["loss"],
            line["tie"],
        )
        assert found[model].value == pytest.approx(100 * line["win_rate_adjusted"], abs=1e-9)


def test_a_board_is_made_and_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in" / "m1.jsonl", arena("m1", GAMES))
    write(tmp_path / "in" / "m2.jsonl", arena("m2", [pair[::-1] for pair in GAMES]))
    command = ["board", "arena_hard", "--annotations", "in", "--out", "out"]
    done = CliRunner().invoke(app, command)
    assert done.exception is None
    assert "judge: gpt-4" in done.output
    assert "published" in done.output
    assert check_board(tmp_path / "out") == ""
    rating = [
        {"question_id": 81 + n, "model": m, "turn": t, "score": 5 + n, "judge": ["g", "p"]}
        for n in range(3)
        for t in (1, 2)
        for m in ("x", "y")
    ]
    write(tmp_path / "single.jsonl", rating)
    done = CliRunner().invoke(app, ["board", "mt_bench", "--annotations", "single.jsonl"])
    assert done.exception is None
    assert "6.00" in done.output
    done = CliRunner().invoke(app, ["board", "mt_bech", "--annotations", "single.jsonl"])
    assert 'did you mean "mt_bench"' in str(done.exception)


def test_categories_with_baselines_of_their_own_are_not_mixed(tmp_path: Path) -> None:
    rows = arena("m", GAMES, category="hard_prompt")
    other = [
        {**row, "question_id": f"c{n}"}
        for n, row in enumerate(arena("m", GAMES[:2], category="creative_writing"))
    ]
    path = write(tmp_path / "m.jsonl", rows + other)
    cells = published_judgments(path, "arena_hard", rounds=50)
    metrics = {cell.metric: cell for cell in cells}
    assert {"score:hard_prompt", "score:creative_writing"} <= set(metrics)
    assert "score" not in metrics
    assert metrics["score:hard_prompt"].n_expected == 3
    prints = {metrics[f"score:{c}"].judge_fingerprint for c in ("hard_prompt", "creative_writing")}
    assert len(prints) == 2
    board = build_board(board_spec("arena_hard"), cells)
    assert len(board.columns) == 2


def test_failed_and_absent_judgments_are_counted_or_refused(tmp_path: Path) -> None:
    full = arena("full", GAMES * 50)
    holes = arena("holes", [(None, "A>B"), *GAMES * 49, GAMES[0]])[:147]
    write(tmp_path / "full.jsonl", full)
    write(tmp_path / "holes.jsonl", holes)
    with pytest.raises(
        BadData, match=r"4 of 150 judgments absent or without verdict.*allow-partial"
    ):
        published_judgments(tmp_path, "arena_hard", rounds=50)
    cells = by_system(
        published_judgments(tmp_path, "arena_hard", allow_partial=True, rounds=50), "score"
    )
    cell = cells["holes"]
    assert (cell.n_expected, cell.n_scored, cell.n_failed) == (150, 146, 4)
    assert (cell.details["n_absent"], cell.details["n_unjudged"]) == (3, 1)
    assert cell.details["partial"] is True
    assert cells["full"].details["partial"] is False
    assert cell.bounds is not None
    assert cell.bounds[0] < cell.value < cell.bounds[1]


def test_faulty_files_are_refused_with_what_was_expected(tmp_path: Path) -> None:
    def fails(rows: list[dict], match: str, suite: str = "arena_hard", **more: Any) -> None:
        path = write(tmp_path / "f.jsonl", rows)
        with pytest.raises(BadData, match=match):
            published_judgments(path, suite, rounds=20, **more)

    good = arena("m", GAMES)
    fails([], "no judgments of arena_hard")
    fails([{"x": 1}], "no judgments of arena_hard .x.; expected its model_judgment")
    fails([*good, {"x": 1}], "no judgments")
    fails([*good, {**good[0], "judge": "other"}], "judgments of gpt-4, other; expected one judge")
    fails(good, "none of nobody", judge="nobody")
    fails([*good, {**good[0], "games": good[1]["games"]}], "different verdicts on prompt .q0")
    fails([{**good[0], "games": good[0]["games"][:1]}], "row .q0.*expected two games")
    fails([{**good[0], "games": [1, 2]}], "expected two games")
    fails([{k: v for k, v in good[1].items() if k != "model"}], "row .q1.: no verdict .*model")
    pair = {"question_id": 81, "model_1": "a", "model_2": "b", "g1_winner": "tie",
            "g2_winner": "tie", "judge": "g", "turn": 1}  # fmt: skip
    fails([pair], "which baseline.*a, b.*--baseline", "mt_bench")
    fails([pair], "which baseline", "mt_bench", baseline="c")
    fails([{**pair, "g1_winner": {}}], "row .81.: no verdict can be read", "mt_bench")
    rating = {"question_id": 81, "model": "m", "judge": ["g", "p"], "turn": "one", "score": 7}
    fails([rating], "row .81.: no verdict can be read", "mt_bench")
    unnamed = write(tmp_path / "question.jsonl", [{"category": "math"}])
    fails(good, "question without uid", questions=unnamed)


def test_a_repeated_row_counts_once_and_a_failed_one_asked_again_is_replaced(
    tmp_path: Path,
) -> None:
    good = arena("m", GAMES)
    failed = {**good[0], "games": [{"score": None}, {"score": "A>B"}]}
    once = published_judgments(write(tmp_path / "a.jsonl", good), "arena_hard", rounds=20)
    again = published_judgments(
        write(tmp_path / "b.jsonl", [failed, *good, good[1]]), "arena_hard", rounds=20
    )
    assert once == again


def test_the_order_of_models_in_a_pair_does_not_matter(tmp_path: Path) -> None:
    def rows(first: str, second: str, one: str, two: str) -> list[dict]:
        return [
            {"question_id": 81 + n, "model_1": first, "model_2": second, "turn": 1, "judge": "g",
             "g1_winner": one if n < 2 else "tie", "g2_winner": two if n < 2 else "tie"}
            for n in range(4)
        ]  # fmt: skip

    ours = published_judgments(
        write(tmp_path / "a.jsonl", rows("m", "base", "model_1", "model_1")),
        "mt_bench", baseline="base", rounds=20,
    )  # fmt: skip
    swapped = published_judgments(
        write(tmp_path / "b.jsonl", rows("base", "m", "model_2", "model_2")),
        "mt_bench", baseline="base", rounds=20,
    )  # fmt: skip
    assert [cell.value for cell in ours] == [cell.value for cell in swapped] == [50.0, 75.0]


def test_the_question_file_sets_prompts_and_categories(tmp_path: Path) -> None:
    questions = write(
        tmp_path / "question.jsonl",
        [{"question_id": 1, "category": "own"}, {"question_id": 2, "category": "other"}],
    )
    rows = [{"question_id": 1, "model": "m", "turn": 1, "score": 7, "judge": ["g", "p"]}]
    path = write(tmp_path / "j.jsonl", rows)
    with pytest.raises(BadData, match="1 of 2 judgments absent"):
        published_judgments(path, "mt_bench", questions=questions, rounds=20)
    cells = published_judgments(
        path, "mt_bench", questions=questions, allow_partial=True, rounds=20
    )
    assert {cell.metric for cell in cells} >= {"category:own", "category:other"}
    write(path, [*rows, {**rows[0], "question_id": 3}])
    with pytest.raises(BadData, match="1 judgments of other prompts"):
        published_judgments(path, "mt_bench", questions=questions, rounds=20)
