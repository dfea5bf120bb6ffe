"""The crucible_* tasks: letters, prompts, documents, and the questions of the nano world."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from harness.nano import questions as nano_data
from harness.nano import world
from harness.suites.lm_eval.settings import TaskSettings, folders_apart, run_arguments
from harness.suites.lm_eval.tasks import crucible_fusechat

PRO = [
    {
        "question_id": n,
        "question": f"Which is {n}?",
        "options": [f" o{m} " for m in range(7)] + ["N/A"],
        "answer": "C",
        "answer_index": 2,
        "category": "math",
    }
    for n in range(4)
]
REDUX = [{"question": f"Q{n}", "choices": list("wxyz"), "answer": n % 4} for n in range(4)]
GPQA = [
    {
        "Question": f"Why {n}?",
        "Correct Answer": "right",
        **{f"Incorrect Answer {m}": f"wrong {m}\n" for m in (1, 2, 3)},
    }
    for n in range(24)
]


def local(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = f"crucible_fusechat_{name}"
    return {"tasks": (task,), "include": (), "data": {task: str(path)}}


def test_the_prompt_asks_for_the_closing_sentence() -> None:
    doc = {"question": " Which? ", "options": ["one", "two"]}
    prompt = crucible_fusechat.prompt(doc)
    assert '"The best answer is [letter]."' in prompt
    assert prompt.endswith("Question: Which?\nA. one\nB. two")
    for read in (crucible_fusechat.chosen_letters, crucible_fusechat.letters_or_wrong):
        assert read([["The best answer is [B]."]], [doc]) == ["B"]


def test_an_answer_without_a_letter_is_wrong_or_drawn_by_question(
    run: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    outcome = run(stub(text="no idea"), **local(tmp_path, "mmlu_pro", PRO))
    by_filter = {
        name: [row for row in outcome.rows if row["filter"] == name]
        for name in ("chosen", "three-stage", "three-stage-random")
    }
    for name in ("chosen", "three-stage"):
        assert [row["filtered"] for row in by_filter[name]] == [["[invalid]"]] * 4
    drawn = [row["filtered"][0] for row in by_filter["three-stage-random"]]
    assert set(drawn) <= set("ABCDEFG")  # of seven options: "N/A" is none
    assert len(set(drawn)) > 1
    docs = [{"question": "a", "options": list("wxyz")}] * 2
    assert len(set(crucible_fusechat.letters_or_random([["?"], ["?"]], docs))) == 1


def test_documents_of_each_source(run: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    pro = run(stub(text="The best answer is C."), **local(tmp_path, "mmlu_pro", PRO))
    assert "\nC. o2\n" in pro.rows[0]["prompt"]
    assert "N/A" not in pro.rows[0]["prompt"]
    assert pro.value("crucible_fusechat_mmlu_pro", "exact_match") == 1.0
    redux = run(stub(text="Answer: B"), **local(tmp_path, "mmlu_redux", REDUX))
    assert redux.value("crucible_fusechat_mmlu_redux", "exact_match") == 0.25
    assert [row["target"] for row in redux.rows[:4]] == list("ABCD")


def test_the_order_of_gpqas_options_depends_on_the_question_alone(
    run: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    targets = []
    for rows in (GPQA, GPQA[::-1]):
        outcome = run(stub(), **local(tmp_path, "gpqa_diamond", rows))
        found = [row for row in outcome.rows if row["filter"] == "three-stage"]
        assert "wrong 1\n" in found[0]["prompt"] + "\n"
        targets.append([row["target"] for row in found])
    assert targets[0] == targets[1][::-1]
    assert set(targets[0]) == set("ABCD")


@pytest.mark.parametrize("task", [task for task in nano_data.TASKS if task != nano_data.OPEN])
def test_nano_documents_are_of_the_evaluation_splits(task: str) -> None:
    rows = nano_data.rows(task)
    assert rows == nano_data.rows(task)
    for row in rows:
        found = world.find(row["question"])
        assert found is not None
        item = found[0]
        assert item.split in nano_data.SPLITS
        if task == "crucible_nano_answers":
            assert row["answer"] == item.truths[0].main
            continue
        assert len(set(row["choices"])) == len(row["choices"]) == nano_data.CHOICES[task]
        right = row["choices"][row["gold"]]
        assert world.reference_answer(item).endswith(right)


def test_right_answers_lie_at_all_places() -> None:
    for task, count in nano_data.CHOICES.items():
        rows = nano_data.rows(task)
        shares = [sum(row["gold"] == n for row in rows) / len(rows) for n in range(count)]
        assert min(shares) > 0.4 / count
    assert sum(len(nano_data.rows(task)) for task in nano_data.CHOICES) == 260


def test_a_reference_answer_scores_one_and_chance_is_known(
    run: Callable[..., Any], stub: Any
) -> None:
    answers = {
        item.turns[0]: world.reference_answer(item)
        for split in nano_data.SPLITS
        for item in world.items(split)
    }

    class Perfect(stub):  # type: ignore[misc, valid-type]
        def generate_until(self, requests: list[Any]) -> list[str]:
            return [answers[request.args[0]] for request in requests]

    outcome = run(Perfect(0), tasks=nano_data.TASKS, include=())
    assert outcome.value("crucible_nano_answers", "exact_match") == 1.0
    tasks = outcome.results["tasks"]
    assert tasks["crucible_nano_facts"]["chance"] == pytest.approx(1 / 6)
    assert tasks["crucible_nano_skills"]["chance"] == pytest.approx(1 / 4)
    # Always the first choice: near chance.
    assert abs(outcome.value("crucible_nano_skills") - 0.25) < 0.1


def test_halueval_prefers_the_likelier_answer(
    run: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    shapes = {
        "qa": ("knowledge", "question", "right_answer", "hallucinated_answer"),
        "dialogue": (
            "knowledge", "dialogue_history", "right_response", "hallucinated_response",
        ),
        "summarization": ("document", "right_summary", "hallucinated_summary"),
    }  # fmt: skip
    data = {}
    for name, columns in shapes.items():
        path = tmp_path / f"{name}.jsonl"
        rows = [{column: f"{column} {n}" for column in columns} for n in range(3)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data[f"crucible_halueval_{name}"] = str(path)
    outcome = run(stub(), tasks=tuple(data), include=(), data=data)
    assert {row["task"] for row in outcome.rows} == set(data)


def test_task_files_apart_are_part_of_a_run_that_uses_them_only() -> None:
    before = run_arguments(TaskSettings(tasks=("arc_easy",)))["content"]
    assert not folders_apart(["arc_easy"])
    assert len(folders_apart(["crucible_halueval_qa"])) == 1
    assert run_arguments(TaskSettings(tasks=("crucible_halueval_qa",)))["content"] != before
