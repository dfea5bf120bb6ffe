"""Explore-Instruct: plans of the systems, the nano explorer, curated data and the whole recipe."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.api.hosted_models import hosted
from harness.backends.base import Request, Sampling, messages_of
from harness.backends.hosted import open_backend
from harness.core.errors import BadData, BadRecord, UserError
from harness.engine.calls import CallSettings, Services
from harness.engine.operations import Artifact
from harness.engine.plan import Handle
from harness.engine.recipe import load_recipe
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.models.templates import alpaca_message
from harness.nano import skills
from harness.reproduce import reproduce
from methods.explore_instruct.domains import Rejects
from methods.explore_instruct.method import EXPLORE_INSTRUCT, RECIPE
from methods.explore_instruct.nano_explorer import ExplorerBackend, ExplorerSettings
from methods.explore_instruct.parsing import Reader
from methods.explore_instruct.prompts import Form, Wording
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

# Plans


def operations(system: str, *overrides: str, scale: str = "nano") -> list[str]:
    recipe = load_recipe(EXPLORE_INSTRUCT.recipe, RECIPE, scale, overrides)
    one = [spec for spec in recipe.systems if spec.name == system]
    made = reproduce("explore_instruct", scale, overrides=list(overrides))
    assert one
    handle = made.models[made.seeds[0], system]
    assert handle is not None
    found: list[str] = []

    def walk(id: str) -> None:
        stage = made.plan.stages[id]
        for input in stage.input_ids():
            walk(input)
        if stage.operation.name not in found:
            found.append(stage.operation.name)

    walk(handle.id)
    return found


TAIL = ["filter_task_tree", "sample_task_tree", "train_sft", "keep_instructions"]


def without_imports(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("import_")]


def test_stages_of_each_system() -> None:
    tree = ["extend_task_tree", "prune_task_tree", "enrich_task_tree", *TAIL]
    assert without_imports(operations("explore_instruct")) == tree
    assert without_imports(operations("self_instruct")) == tree[1:]
    assert without_imports(operations("released")) == [
        "extend_task_tree", "enrich_task_tree", "prune_task_tree", *TAIL,
    ]  # fmt: skip
    assert without_imports(operations("curated")) == ["curated_instructions", *TAIL[2:]]
    assert operations("base") == ["import_model"]


def test_the_released_system_has_every_released_rule() -> None:
    made = reproduce("explore_instruct", "nano")
    handle = made.models[made.seeds[0], "released"]
    assert handle is not None
    found: dict[str, Any] = {}
    waiting = [handle.id]
    while waiting:
        stage = made.plan.stages[waiting.pop()]
        found[stage.operation.name] = stage.params
        waiting += stage.input_ids()
    extend, enrich = found["extend_task_tree"], found["enrich_task_tree"]
    assert (extend.form, extend.parser, extend.extension.released) == ("text", "released", True)
    assert not enrich.enrichment.unique
    assert (found["filter_task_tree"].scope, found["sample_task_tree"].rule) == ("node", "released")


def test_a_released_sample_needs_examples_of_pruned_tasks() -> None:
    with pytest.raises(BadRecord, match="prune_first = false"):
        load_recipe(EXPLORE_INSTRUCT.recipe, RECIPE, "nano", ["sample.rule=released"])


def test_a_plan_bounds_the_requests_of_the_search() -> None:
    made = reproduce("explore_instruct", "paper_math")
    todo = made.todo(None)
    estimates = made.plan.estimates()
    asked = hosted(made.plan, [s for s in todo if estimates[s.id].at_most])
    (found,) = asked.values()
    # 9 tasks of 10 calls, 57 of twice 50, and one of twice 2,000.
    assert (found.stages, found.requests) == (3, 90 + 5700 + 4000)
    assert found.tokens_out == found.requests * 3000


def test_claims_quote_the_table_of_expected_figures() -> None:
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        figures = {
            (row["row"], row["suite"], row["metric"]): row["value"]
            for row in csv.DictReader(stream)
        }
    rows = {
        "explore_instruct": "Explore-LM", "self_instruct": "Domain-Instruct-LM",
        "curated": "Domain-Curated-LM", "chatgpt": "ChatGPT",
    }  # fmt: skip
    for claim in load_recipe(EXPLORE_INSTRUCT.recipe, RECIPE, "paper_math").claims:
        for side in ("better", "worse"):
            key = (rows[claim[side]], "math (500 of MATH test)", "accuracy (%)")
            assert claim[f"paper_{side}"] == float(figures[key])
    for scale, domain in (("paper", "brainstorming"), ("paper_rewriting", "rewriting")):
        for claim in load_recipe(EXPLORE_INSTRUCT.recipe, RECIPE, scale).claims:
            key = (f"Explore-LM vs {rows[claim['worse']]}", domain, "beat rate (%)")
            assert f"{float(figures[key]):.2f} %" in claim["source"]


# Explorer of the nano world


def ask(backend: ExplorerBackend, *prompts: str) -> Iterator[tuple[str, str]]:
    requests = [
        Request(
            id=str(number),
            messages=messages_of([{"role": "user", "content": prompt}]),
            sampling=Sampling(seed=number),
        )
        for number, prompt in enumerate(prompts)
    ]
    for response in backend.generate(requests):
        completion = response.completions[0]
        yield completion.text, completion.finish


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_nano_explorer_names_tasks_and_writes_examples_in_both_forms(form: Form) -> None:
    wording, reader = Wording(form=form), Reader("general", Rejects())
    text = wording.extend(skills.ROOT, [], ["mark"], [], 9, total=12, examples=2)
    ((reply, _),) = ask(ExplorerBackend(), text)
    found = reader.subtasks(reply)
    assert found.form == form
    assert {one.name for one in found.subtasks} == {"turn", "send", "copy"}
    assert all(len(one.examples) == 2 for one in found.subtasks)
    text = wording.enrich(skills.ROOT, [], "send top", "", [], [], 10)
    ((reply, _),) = ask(ExplorerBackend(), text)
    texts = [one.instruction for one in reader.examples(reply).examples]
    assert {skills.skill_of(text) for text in texts} == {"send top"}
    assert len(texts) == 10


def test_without_new_tasks_it_repeats_old_ones() -> None:
    text = Wording().extend("send top", [], [], [], 3, total=12, examples=2)
    assert json.loads(next(ask(ExplorerBackend(), text))[0]) == {"subtasks": []}
    text = Wording().extend("send", [], list(skills.below("send")), [], 3, total=12, examples=2)
    found = Reader("general", Rejects()).subtasks(next(ask(ExplorerBackend(), text))[0])
    assert [one.name for one in found.subtasks] == ["send red"]


def test_it_answers_questions_of_its_domain() -> None:
    rows = skills.prompts_of("test")[:12]
    asked = [row["messages"][0]["content"] for row in rows]
    for row, (reply, _) in zip(rows, ask(ExplorerBackend(), *asked), strict=True):
        assert skills.score(row, reply)["exact"] == 1
    others = ("2 + 2?", "", "mark red xyz", "abcd")
    assert {reply for reply, _ in ask(ExplorerBackend(), *others)} == {"I know one domain only."}


def test_faults_are_as_frequent_as_told_and_can_be_read_as_nothing() -> None:
    text = Wording().enrich(skills.ROOT, [], "send top", "", [], [], 10)
    reader = Reader("general", Rejects())
    replies = list(ask(ExplorerBackend(ExplorerSettings(errors=0.5)), *[text] * 200))
    good = sum(len(reader.examples(*reply).examples) == 10 for reply in replies)
    assert 70 < good < 130
    assert {finish for _, finish in replies} == {"stop", "length", "refusal"}
    again = list(ask(ExplorerBackend(ExplorerSettings(errors=0.5)), *[text] * 200))
    assert replies == again
    with Services(CallSettings()) as services:
        other = open_backend("nano:explorer?errors=0.5", services)
    assert other.fingerprint != ExplorerBackend().fingerprint


# Curated data

Run = Callable[..., Artifact]


def test_curated_rows_by_column_and_category(run_operation: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"ask": f"Do {n}.", "text": "x" * (n % 2), "say": f"Done {n}.", "kind": "ab"[n > 5]}
        for n in range(10)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    columns = {"instruction": "ask", "input": "text", "output": "say"}
    data = {"ref": str(path), "columns": columns, "where": {"kind": "a"}}
    found = run_operation("curated_instructions", {"data": data, "n": 4}).rows()
    assert len(found) == 4
    assert {row["response"] for row in found} < {f"Done {n}." for n in range(6)}
    by_answer = {row["say"]: alpaca_message(row["ask"], row["text"]) for row in rows}
    assert all(row["messages"][0]["content"] == by_answer[row["response"]] for row in found)
    other = run_operation("curated_instructions", {"data": data, "n": 4, "seed": 1}).rows()
    assert other != found
    assert len(run_operation("curated_instructions", {"data": data, "n": 99}).rows()) == 6
    empty = {**data, "where": {"kind": "c"}}
    with pytest.raises(UserError, match="no rows"):
        run_operation("curated_instructions", {"data": empty, "n": 4})
    with pytest.raises(BadData, match="expected instruction and output"):
        run_operation("curated_instructions", {"data": {"ref": str(path)}, "n": 4})


# The recipe


def test_more_skills_are_covered_at_equal_size(tmp_path: Path) -> None:
    made, store = reproduce("explore_instruct", "nano"), Store(tmp_path)
    covered: dict[str, int] = {}
    for system in ("curated", "self_instruct", "explore_instruct", "depth_first", "released"):
        kept = made.models[made.seeds[0], system]
        assert kept is not None
        rows = made.plan.stages[kept.id].inputs["rows"]
        assert isinstance(rows, Handle)
        InlineExecutor().execute(made.plan, [rows], store)
        texts = [row["messages"][0]["content"] for row in store.artifact(rows.id).rows()]
        assert len(texts) == 480
        covered[system] = sum(skills.covered(texts, 10).values())
    assert covered == {
        "curated": 4, "self_instruct": 5, "explore_instruct": 12, "depth_first": 12, "released": 12,
    }  # fmt: skip
