"""Which tasks are found, with which data, and what is said of those that cannot be loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from harness.core.errors import EnvironmentProblem, UnknownName, UserError
from harness.suites.lm_eval import sources
from harness.suites.lm_eval.catalogue import FOLDERS, FUSECHAT3, FUSELLM, NANO
from harness.suites.lm_eval.quiet import quiet
from harness.suites.lm_eval.settings import TaskSettings, run_arguments
from harness.suites.lm_eval.sources import explain, load_tasks, refuse_unavailable


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    def go(*tasks: str, **settings: Any) -> Any:
        with quiet():
            return load_tasks(TaskSettings(tasks=tasks, **settings), tmp_path / "scratch")

    return go


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may look through all of lm-eval's files."""

    def refuse(names: list[str]) -> Any:
        raise AssertionError(f"searched for {names}")

    monkeypatch.setattr(sources, "_search", refuse)


def arc_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": str(n),
            "question": f"What is {n} and 1?",
            "choices": {"text": [str(n), str(n + 1), str(n + 2)], "label": ["A", "B", "C"]},
            "answerKey": "B",
        }
        for n in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.usefixtures("no_search")
def test_every_listed_task_is_found_where_the_tables_say() -> None:
    tasks = {*FOLDERS, *FUSELLM.tasks, *FUSECHAT3.tasks, *NANO.tasks}
    managers = sources._manager([sources.OWN, *{sources.ROOT / f for f in FOLDERS.values()}])
    for task in tasks:
        assert sources._resolved(task, managers), task
    for name, folder in FOLDERS.items():
        assert name in sources._manager([sources.ROOT / folder]).task_index, name


@pytest.mark.usefixtures("no_search")
def test_unreachable_data_are_named_task_by_task_before_anything_runs(
    load: Callable[..., Any],
) -> None:
    loaded = load("arc_easy", "crucible_nano_facts", "bbh")
    assert set(loaded.unavailable) == {"arc_easy", "bbh"}
    assert loaded.members == {"crucible_nano_facts": ("crucible_nano_facts",)}
    with pytest.raises(EnvironmentProblem) as problem:
        refuse_unavailable(loaded, "stop")
    assert str(problem.value).startswith("2 of 3 tasks cannot be loaded, nothing was evaluated:")
    assert "arc_easy (data set allenai/ai2_arc cannot be reached" in str(problem.value)
    assert "bbh (data set SaylorTwift/bbh cannot be reached" in str(problem.value)
    assert 'on_unavailable = "skip"' in str(problem.value)
    refuse_unavailable(loaded, "skip")


@pytest.mark.usefixtures("no_search")
def test_a_task_of_lm_eval_runs_on_a_local_file(load: Callable[..., Any], tmp_path: Path) -> None:
    file = write(tmp_path / "arc.jsonl", arc_rows(6))
    task = load("arc_easy", data={"arc_easy": file}).tasks["arc_easy"]
    docs = list(task.eval_docs)
    assert len(docs) == 6
    assert task.doc_to_text(docs[2]) == "Question: What is 2 and 1?\nAnswer:"
    assert task.doc_to_target(docs[2]) == 1
    assert task.config.training_split is None
    assert task.sampler.df == docs  # with shots, lm-eval leaves the asked document out


@pytest.mark.usefixtures("no_search")
def test_splits_may_have_files_of_their_own(load: Callable[..., Any], tmp_path: Path) -> None:
    files = {
        "test": write(tmp_path / "test.jsonl", arc_rows(3)),
        "train": write(tmp_path / "train.jsonl", arc_rows(9)[3:]),
    }
    task = load("arc_easy", data={"arc_easy": files}).tasks["arc_easy"]
    assert len(task.eval_docs) == 3
    assert [doc["id"] for doc in task.sampler.df] == ["3", "4", "5", "6", "7", "8"]


@pytest.mark.usefixtures("no_search")
def test_tasks_without_data_of_their_own_ask_for_a_file(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    why = load("crucible_amc23").unavailable["crucible_amc23"]
    assert 'give data."crucible_amc23"' in why
    file = write(tmp_path / "amc.jsonl", [{"problem": "1+1?", "answer": "2"}] * 2)
    task = load("crucible_amc23", data={"crucible_amc23": file}).tasks["crucible_amc23"]
    doc = task.eval_docs[0]
    assert task.doc_to_text(doc) == "Question: 1+1?\nAnswer:"
    assert task.process_results(doc, [r"so \boxed{2}"]) == {"exact_match": 1}
    assert task.process_results(doc, ["three"]) == {"exact_match": 0}


@pytest.mark.usefixtures("no_search")
def test_tasks_that_run_code_are_not_even_imported_unless_allowed(
    load: Callable[..., Any],
) -> None:
    unavailable = load("humaneval", "mbpp_instruct").unavailable
    assert set(unavailable) == {"humaneval", "mbpp_instruct"}
    for why in unavailable.values():
        assert "set allow_code_execution = true" in why


@pytest.mark.usefixtures("no_search")
def test_data_must_be_of_a_task_that_runs(load: Callable[..., Any], tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", arc_rows(1))
    with pytest.raises(UserError, match='data names "bbh"'):
        load("arc_easy", "bbh", data={"bbh": file})
    text = tmp_path / "x.txt"
    text.write_text("x")
    with pytest.raises(UserError, match=r"files of kind \.txt"):
        load("arc_easy", data={"arc_easy": str(text)})


@pytest.mark.usefixtures("no_search")
def test_groups_and_folders_of_ones_own(
    load: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    (folder / "both.yaml").write_text("group: both\ntask: [letters, words]\n")
    loaded = load("both", include=(str(folder),))
    assert loaded.members == {"both": ("letters", "words")}
    assert set(loaded.groups) == {"both"}


def test_other_tasks_are_searched_for(load: Callable[..., Any]) -> None:
    assert "allenai/swag" in load("swag").unavailable["swag"]


def test_an_unknown_task_is_named_with_the_nearest(
    load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ROOT", sources.ROOT / "arc")  # reading them all takes long
    with pytest.raises(UnknownName, match='did you mean "arc_easy"'):
        load("arc_eazy")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'langdetect'", name="langdetect"), "lm-eval[ifeval]"),
        (ModuleNotFoundError("No module named 'math_verify'", name="math_verify"), "[math]"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub (Offline)"), "data set a/b cannot be"),
        (FileNotFoundError("Couldn't find a module script at /x/code_eval.py"), "code_eval cannot"),
        (ValueError("Dataset 'c/d' is a gated dataset on the Hub."), "data set c/d is gated"),
        (KeyError("column"), "KeyError: 'column'"),
    ],
)
def test_problems_are_explained_in_one_line(error: Exception, said: str) -> None:
    assert said in explain(error)
    assert "\n" not in explain(error)


def test_parameters_follow_the_contents_of_files(folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "arc.jsonl", arc_rows(2))
    settings = TaskSettings(tasks=("arc_easy",), data={"arc_easy": file}, include=(str(folder),))
    before = run_arguments(settings)
    assert before["world"] is None
    assert run_arguments(TaskSettings(tasks=("crucible_nano_facts",)))["world"] is not None
    write(tmp_path / "arc.jsonl", arc_rows(3))
    changed = run_arguments(settings)
    assert changed["content"] != before["content"]
    (folder / "letters.yaml").write_text("task: letters\n")
    assert run_arguments(settings)["content"] != changed["content"]
    with pytest.raises(UserError, match=r"no file .*nowhere\.jsonl"):
        run_arguments(TaskSettings(tasks=("a",), data={"a": "nowhere.jsonl"}))
    with pytest.raises(UserError, match="no folder"):
        run_arguments(TaskSettings(tasks=("a",), include=(str(tmp_path / "absent"),)))


def test_tasks_that_a_group_spells_out_need_no_name() -> None:
    def entry(kind: str, **cfg: Any) -> SimpleNamespace:
        return SimpleNamespace(kind=SimpleNamespace(name=kind), cfg=cfg)

    index = {"one": entry("TASK"), "group": entry("GROUP", task=["one", {"task": "written here"}])}
    manager: Any = SimpleNamespace(task_index=index)
    assert sources._resolved("group", manager)
    index["broken"] = entry("GROUP", task=["one", "gone"])
    assert not sources._resolved("broken", manager)
