"""Explore-Instruct: the operations, from a seed tree to training rows."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.engine.io import read_objects
from harness.engine.operations import Artifact, Estimate
from harness.engine.plan import Plan
from harness.nano import skills
from methods.explore_instruct.bounds import tasks_by_depth
from methods.explore_instruct.coverage import INSTRUCTIONS
from methods.explore_instruct.files import read_tree, write_tree
from methods.explore_instruct.operations import training_row
from methods.explore_instruct.settings import Extension
from methods.explore_instruct.sources import TASK_TREES, seeds
from methods.explore_instruct.tree import Example, TaskTree
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

Run = Callable[..., Artifact]


def example(text: str) -> Example:
    return Example(instruction=text, output="done")


def small() -> TaskTree:
    """Three tasks, one of which repeats another's name; one instruction repeats in each."""
    tree = TaskTree.rooted("Root task", "", [example("make this line short now")])
    texts = ("make this line short now", "count the words of a text", "turn all into capitals")
    for name in ("Change tone", "Change the tone"):
        tree.add(tree.root, name, "", map(example, (*texts, texts[-1])))
    return tree


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[TaskTree], Artifact]:
    def make(tree: TaskTree) -> Artifact:
        folder = tmp_path / f"tree-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        write_tree(folder, tree)
        return Artifact(folder.name, folder)

    return make


def test_a_search_in_the_nano_world(run_operation: Run) -> None:
    explorer = run_operation("import_model", {"ref": "nano:explorer?errors=0.3"})
    tree = run_operation("import_task_tree", {"ref": "nano:skills/part"})
    assert tree.read_json("summary.json")["by_depth"] == [1, 1, 3]
    how = {"extension": {"breadth": [4, 3]}}
    for policy in ("breadth_first", "depth_first"):
        how["extension"]["policy"] = policy
        grown = run_operation("extend_task_tree", how, tree=tree, model=explorer)
        assert grown.read_json("summary.json")["by_depth"] == [1, 4, 12]
        names = {node.name for node in read_tree(grown.path).in_levels()}
        assert names == {skills.ROOT, *skills.FAMILIES, *(s.name for s in skills.skills())}
    log = read_objects(grown.path / "log.jsonl")
    assert {"lookahead", "backtracking"} == {entry["move"] for entry in log}
    full = run_operation(
        "enrich_task_tree", {"enrichment": {"examples": 25}}, tree=grown, model=explorer
    )
    assert full.read_json("summary.json")["examples"] == 17 * 25
    assert all(len(node.examples) == 25 for node in read_tree(full.path).in_levels())


def test_depth_0_is_the_seed_tree_and_opens_no_explorer(run_operation: Run) -> None:
    tree = run_operation("import_task_tree", {"ref": "seed:rewriting"})
    missing = Artifact("none", Path("/nonexistent"))
    how = {"extension": {"depth": 0, "breadth": []}}
    grown = run_operation("extend_task_tree", how, tree=tree, model=missing)
    assert read_tree(grown.path) == read_tree(tree.path)


def test_a_model_of_this_machine_can_be_the_explorer(run_operation: Run) -> None:
    """A tiny model writes nothing that can be read, so the search ends within its budget."""
    model = run_operation("import_model", {"ref": "nano:symbols"})
    tree = run_operation("import_task_tree", {"ref": "nano:skills/part"})
    how = {"extension": {"depth": 1, "breadth": [4], "patience": 2}, "max_tokens": 8}
    grown = run_operation("extend_task_tree", how, tree=tree, model=model)
    summary = grown.read_json("summary.json")
    assert summary["by_depth"] == [1, 1, 3]
    assert summary["calls"] == 2


def test_pruned_tasks_are_marked_and_left_out(
    run_operation: Run, artifact: Callable[[TaskTree], Artifact]
) -> None:
    pruned = run_operation("prune_task_tree", {}, tree=artifact(small()))
    assert [node.pruned for node in read_tree(pruned.path).in_levels()] == [False, False, True]
    log = read_objects(pruned.path / "log.jsonl")
    assert log[1]["max_rouge_l"] == 0.8
    assert log[1]["most_similar"] == "Change tone"
    filtered = run_operation("filter_task_tree", {}, tree=pruned)
    rows = run_operation("sample_task_tree", {"n": 3}, tree=filtered).rows()
    assert {row["task"] for row in rows} == {"root_task", "change_tone"}
    released = {"n": 6, "rule": "released"}
    rows = run_operation("sample_task_tree", released, tree=pruned).rows()
    assert "change_the_tone" in {row["task"] for row in rows}


def test_the_filter_compares_within_the_tree_or_within_tasks(
    run_operation: Run, artifact: Callable[[TaskTree], Artifact]
) -> None:
    tree = artifact(small())

    def kept(**how: Any) -> list[int]:
        found = run_operation("filter_task_tree", how, tree=tree)
        return [entry["kept"] for entry in read_objects(found.path / "log.jsonl")]

    assert kept() == [1, 2, 0]
    assert kept(scope="node") == [1, 3, 3]
    assert kept(threshold=1.0) == [1, 4, 4]
    assert kept(threshold=-1.0) == [1, 0, 0]


def test_samples(run_operation: Run, artifact: Callable[[TaskTree], Artifact]) -> None:
    tree = artifact(small())
    rows = run_operation("sample_task_tree", {"n": 9}, tree=tree).rows()
    assert len({row["id"] for row in rows}) == 9
    assert rows[0] == training_row("root_task/0", small()["root_task"].examples[0], "root_task")
    assert len(run_operation("sample_task_tree", {"n": 4, "cap": None}, tree=tree).rows()) == 4
    made = run_operation("sample_task_tree", {"n": 99}, tree=tree)
    assert made.read_json("summary.json")["rows"] == 9
    with pytest.raises(UserError, match="largest_remainder"):
        run_operation("sample_task_tree", {"n": 99, "rule": "released"}, tree=tree)
    with pytest.raises(BadData, match="no examples"):
        run_operation("sample_task_tree", {}, tree=artifact(TaskTree.rooted("Empty")))


def test_repeated_examples_of_a_released_sample_get_ids_of_their_own(
    run_operation: Run, artifact: Callable[[TaskTree], Artifact]
) -> None:
    tree = TaskTree.rooted("Root", "", map(example, "abcdef"))
    tree.add(tree.root, "Below", "", [example("g")])
    how = {"n": 9, "rule": "released"}
    rows = run_operation("sample_task_tree", how, tree=artifact(tree)).rows()
    assert len(rows) == 9 == len({row["id"] for row in rows})
    assert any("#2" in row["id"] for row in rows)


def test_seed_trees() -> None:
    assert seeds() == ["brainstorming", "math", "rewriting"]
    for name in seeds():
        tree = TASK_TREES.source(f"seed:{name}").rows(f"seed:{name}")
        assert len(tree) == 1
        assert len(tree[tree.root].examples) == 4
    assert len(TASK_TREES.source("nano:skills/all").rows("nano:skills/all")) == 17
    for ref in ("seed:poems", "nano:skills/none", "nowhere"):
        with pytest.raises(UserError):
            TASK_TREES.source(ref).rows(ref)


def test_a_tree_of_the_search_is_a_seed_tree(
    run_operation: Run, artifact: Callable[[TaskTree], Artifact]
) -> None:
    tree = artifact(small())
    again = run_operation("import_task_tree", {"ref": str(tree.path)})
    assert read_tree(again.path) == small()
    with pytest.raises(BadData, match="changed since"):
        run_operation("import_task_tree", {"ref": str(tree.path), "digest": "other"})


def test_bounds() -> None:
    assert tasks_by_depth(1, Extension()) == [1, 8, 48]
    assert tasks_by_depth(9, Extension()) == [1, 16, 104]
    assert tasks_by_depth(9, Extension(depth=0)) == [9]
    plan = Plan()
    tree = plan.stage("import_task_tree", ref="seed:math")
    model = plan.stage("import_model", ref="nano:explorer")
    grown = plan.stage("extend_task_tree", tree=tree, model=model, max_tokens=100)
    full = plan.stage("enrich_task_tree", tree=grown, model=model, max_tokens=100)
    sample = plan.stage("sample_task_tree", tree=full)
    found = plan.estimates()
    assert found[grown.id].requests == 9 * 10
    assert found[grown.id].rows == 57
    assert found[full.id] == Estimate(
        rows=57, requests=5700, tokens=5700 * 1600, tokens_out=570_000, responses=500, at_most=True
    )
    assert found[sample.id].rows == 10_000


def test_a_checkpoint_keeps_its_instructions_and_is_scored_by_them(
    run_operation: Run, rows_artifact: Callable[[Any], Artifact], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "weights").write_text("w")
    texts = [f"mark red {letters}" for letters in ("abcd", "dcba")] + ["turn old abab", "other"]
    rows = [training_row(f"r{n}", example(text)) for n, text in enumerate(texts)]
    kept = run_operation(
        "keep_instructions", {}, model=Artifact("m", checkpoint), rows=rows_artifact(rows)
    )
    assert (kept.path / "weights").read_text() == "w"
    assert len(read_objects(kept.path / INSTRUCTIONS)) == 4
    params = {
        "suite": "skill_coverage", "system": "s", "scale": "nano", "judge": "",
        "judge_fingerprint": "a", "decode_fingerprint": "b", "least": 2,
    }  # fmt: skip
    (cell,) = run_operation("score_skill_coverage", params, model=kept).read_json("cells.json")
    assert cell["value"] == pytest.approx(100 / 12)
    assert cell["n_expected"] == 12
    assert cell["details"]["of no skill"] == 1
    assert cell["details"]["n mark red"] == 2
    bare = run_operation("score_skill_coverage", params, model=Artifact("m", checkpoint))
    assert bare.read_json("cells.json") == []


@pytest.mark.realdata
def test_the_demo_tree(realdata: Callable[[str], Path], run_operation: Run, tmp_path: Path) -> None:
    """The released demo tree: 4,433 examples, of which 4,113 instructions are different."""
    folder = realdata("explore_instruct")
    meta = json.loads((folder / "demo_domain_tree_meta_info.json").read_text())
    found: dict[str, list[Any]] = {}
    with gzip.open(folder / "demo_domain_examples.jsonl.gz", "rt") as stream:
        for row in map(json.loads, stream):
            found.setdefault(row["task_name"], []).append(row)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "tree_meta_info.json").write_text(json.dumps(meta))
    for node in (meta, *meta["children"]):
        fields = {**node, "examples": found[node["task_name"]]}
        (tmp_path / "demo" / node["config_filename"]).write_text(json.dumps(fields))
    tree = run_operation("import_task_tree", {"ref": str(tmp_path / "demo")})
    assert tree.read_json("summary.json")["examples"] == 4433
    pruned = run_operation("prune_task_tree", {}, tree=tree)
    assert pruned.read_json("summary.json")["pruned"] == 0
    counts = {}
    for scope in ("node", "tree"):
        kept = run_operation("filter_task_tree", {"scope": scope}, tree=pruned)
        counts[scope] = kept.read_json("summary.json")["examples"]
    assert counts["tree"] < counts["node"] < 4113
    rows = run_operation("sample_task_tree", {"n": 500}, tree=kept).rows()
    assert len(rows) == 500
    assert all(re.search(r"\w", row["instruction"]) for row in rows)
