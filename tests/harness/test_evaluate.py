"""Evaluations as Python calls: suites, settings, judges, and the board of one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.core.errors import BadData, BadRecord, UnknownName, UserError
from harness.models.references import resolve
from harness.nano import world
from harness.reproduce import evaluate
from leaderboards.files import check_board


def test_one_model_is_planned_run_and_laid_out(tmp_path: Path) -> None:
    made = evaluate("nano:target", "alpaca_eval2", limit=6, name="The target")
    assert list(made.scores) == ["alpaca_eval2"]
    made.run(tmp_path / "store")
    assert {(cell.system, cell.scale) for cell in made.cells} == {("The target", "nano")}
    assert [row.system.name for row in made.board.rows] == ["The target"]
    folder = made.write_board()
    assert folder == tmp_path / "store" / "boards" / "The-target"
    assert check_board(folder) == ""
    assert "The target" in made.render()


def test_settings_reach_the_suite_they_name() -> None:
    names = ["alpaca_eval2", "mt_bench"]
    overrides = {"mt_bench.rounds": 200, "alpaca_eval2.decode.max_tokens": 32}
    made = evaluate("nano:target", names, overrides=overrides, limit=3)
    scores = {name: made.plan.stages[handle.id].params for name, handle in made.scores.items()}
    assert [scores[name].rounds for name in names] == [1000, 200]
    sampled = [s.params for s in made.plan.stages.values() if s.operation.name == "sample"]
    assert 32 in {params.max_tokens for params in sampled}
    with pytest.raises(BadRecord, match=r"expected SUITE\.KEY=VALUE"):
        evaluate("nano:target", names, overrides={"rounds": 200})


def test_a_stored_file_is_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "my-outputs.jsonl"
    (item,) = world.items("alpaca_eval2", 1)
    path.write_text(json.dumps({"instruction": item.turns[0], "output": "!"}))
    made = evaluate(str(path), "alpaca_eval2", limit=3)
    assert made.title == "my-outputs"
    assert [(join.answered, join.prompts) for join in made.joins] == [(1, 3)]


def test_a_file_that_answers_none_of_a_suite_stops_before_any_suite(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    (item,) = world.items("alpaca_eval2", 1)
    path.write_text(json.dumps({"instruction": item.turns[0], "output": "!"}))
    with pytest.raises(BadData, match=r"answers none of the 3 prompts of arena_hard"):
        evaluate(str(path), ["alpaca_eval2", "arena_hard"], limit=3)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="no suite given"):
        evaluate("nano:target", [])
    with pytest.raises(UnknownName, match='did you mean "official"'):
        evaluate("nano:target", "alpaca_eval2", edition="offical")
    with pytest.raises(UserError, match="none of these suites uses a judge: perplexity"):
        evaluate("nano:target", "perplexity", judge="nano:oracle")


def test_a_thought_before_the_answer_does_not_move_a_score(tmp_path: Path) -> None:
    items = world.items("alpaca_eval2", 12)
    thought = "<think>\nLet me ponder " + "hm " * 400 + "\n</think>\n\n"

    def scores(lead: str, **settings: str) -> list[tuple[str, float | None, str | None]]:
        path = tmp_path / "outputs.jsonl"
        rows = [
            {"instruction": i.turns[0], "output": lead + world.reference_answer(i)} for i in items
        ]
        path.write_text("\n".join(map(json.dumps, rows)))
        made = evaluate(str(path), "alpaca_eval2", limit=12, overrides=settings)
        made.run(tmp_path / "store")
        return [(cell.metric, cell.value, cell.decode_fingerprint) for cell in made.cells]

    plain = scores("")
    assert scores(thought) == plain
    kept = scores(thought, **{"alpaca_eval2.decode.thoughts": "keep"})
    assert kept[0][1] != plain[0][1]
    assert kept[0][2] != plain[0][2]


def test_arguments_of_a_chat_template_change_the_decode_fingerprint() -> None:
    plain, quiet = (
        evaluate(f"nano:target{how}", "alpaca_eval2", limit=2)
        for how in ("", '?template={"enable_thinking":false}')
    )
    found = [
        stage.params.decode_fingerprint
        for made in (plain, quiet)
        for stage in made.plan.stages.values()
        if stage.operation.name == "score_alpaca"
    ]
    assert len(set(found)) == len(found) == 2


def test_a_suite_without_sources_has_the_scale_of_the_others(tmp_path: Path) -> None:
    """A checkpoint of one's own on nano questions: the rounds of its training are nano as well."""
    folder = shutil.copytree(resolve("nano:target").location, tmp_path / "mine")
    made = evaluate(str(folder), ["seft_rounds", "skills"])
    cells = [made.plan.stages[handle.id].params for handle in made.scores.values()]
    assert [params.scale for params in cells] == ["nano", "nano"]
