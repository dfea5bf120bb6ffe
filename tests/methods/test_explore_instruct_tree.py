"""Explore-Instruct: the task tree, and trees in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData
from methods.explore_instruct.files import META, examples_of, read_tree, write_tree
from methods.explore_instruct.tree import Example, Node, TaskTree

ONE = Example(instruction="Make it short.", input="a", output="b")


def tree() -> TaskTree:
    made = TaskTree.rooted("Rewriting", "why", [ONE])
    tone = made.add(made.root, "Tone", "a", [ONE, ONE])
    made.add(made.root, "总结", "b", [])
    made.add(tone.id, "Tone", "c", [])
    return made


def test_structure() -> None:
    made = tree()
    assert [node.id for node in made.in_levels()] == ["rewriting", "tone", *_ids(made)[2:]]
    assert len(set(_ids(made))) == len(made) == 4
    assert all(_ids(made))
    assert [node.name for node in made.before()] == ["Rewriting", "Tone", "Tone", "总结"]
    assert [made.depth(id) for id in _ids(made)] == [0, 1, 1, 2]
    assert [node.name for node in made.peers("tone")] == ["总结"]
    assert not made.peers(made.root)
    made["tone"].pruned = True
    assert "tone" not in [node.id for node in made.kept()]
    assert len(made.kept()) == 3
    with pytest.raises(BadData, match="two nodes"):
        made.attach("tone", made["tone"])


def _ids(made: TaskTree) -> list[str]:
    return [node.id for node in made.in_levels()]


def test_demonstrations_are_the_parents_or_of_the_nearest_task_that_has_any() -> None:
    made = tree()
    below = made.add("tone_0", "Deep", "", [])
    assert made.demonstrations(made.root) == [ONE]
    assert made.demonstrations("tone_0") == [ONE, ONE]
    assert made.demonstrations(below.id) == [ONE, ONE]
    assert TaskTree.rooted("Empty").demonstrations("empty") == []


def test_files_come_back(tmp_path: Path) -> None:
    made = tree()
    made["tone"].pruned = True
    write_tree(tmp_path, made)
    assert read_tree(tmp_path) == made
    fields = json.loads((tmp_path / "tone.json").read_text())
    assert set(fields) == {
        "raw_task_name", "task_name", "config_filename", "reason", "examples", "pruned",
    }  # fmt: skip


def test_tasks_named_like_other_files_of_an_artifact(tmp_path: Path) -> None:
    made = TaskTree.rooted("Manifest", "", [ONE])
    for name in ("Summary", "Tree meta info", "Other"):
        made.add(made.root, name, "", [])
    made.attach(made.root, Node("summary-task", "Foreign"))
    write_tree(tmp_path, made)
    assert read_tree(tmp_path) == made
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        META, "manifest-task.json", "summary-task-task.json", "tree_meta_info-task.json",
        "other.json", "summary-task.json",
    }  # fmt: skip


def nested(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"raw_task_name": "Root", "task_name": "root", "children": list(children), **more}


def node(id: str, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"raw_task_name": id.title(), "task_name": id, "children": list(children), **more}


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_one_file_with_everything(tmp_path: Path) -> None:
    example = {"instruction": "Go on.", "input": None, "output": "x", "more": 1}
    made = read_tree(
        written(tmp_path / "t.json", nested({"raw_task_name": "A"}, examples=[example]))
    )
    assert made["root"].examples == [Example(instruction="Go on.", output="x")]
    assert made["a"].examples == []
    assert made["a"].parent == "root"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nested(node("a", node("root"))), "cycle"),
        (nested(node("a", node("a"))), "cycle"),
        (nested(node("a"), node("a")), "two tasks"),
        (nested(node("a", children="b")), "expected a list of tasks"),
        (nested("a"), "expected a task"),  # type: ignore[arg-type]
        ([], "expected a task"),
        (nested({"raw_task_name": " "}), "empty"),
        (nested(node("../a")), "expected a file's name"),
        (nested(node("a" * 201)), "expected a file's name"),
        (nested(node("..")), "expected a file's name"),
        (nested(node("a\0b")), "expected a file's name"),
        (nested({"raw_task_name": 5}), "expected text"),
        (nested(node("a", reason=1)), "expected text"),
        (nested(examples=[{"instruction": 1, "output": ""}]), "example 1: no text in instruction"),
        (nested(examples={}), "expected a list"),
    ],
)
def test_bad_files(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(BadData, match=message):
        read_tree(written(tmp_path / "t.json", value))


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=META):
        read_tree(tmp_path)
    write_tree(tmp_path, tree())
    (tmp_path / "tone.json").unlink()
    with pytest.raises(BadData, match=r"tone\.json .* missing"):
        read_tree(tmp_path)
    written(tmp_path / "tone.json", {"task_name": "other", "examples": []})
    with pytest.raises(BadData, match='expected "tone"'):
        read_tree(tmp_path)
    same = {"config_filename": "root.json"}
    written(tmp_path / META, nested(node("a", **same)))
    written(tmp_path / "root.json", {"examples": []})
    with pytest.raises(BadData, match="share the file"):
        read_tree(tmp_path)


def test_a_file_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    written(tmp_path / "secret.json", {"examples": []})
    written(tmp_path / "in" / META, nested(config_filename="../secret.json"))
    with pytest.raises(BadData, match="missing"):
        read_tree(tmp_path / "in")


def test_deep_trees_end(tmp_path: Path) -> None:
    value = node("deepest")
    for number in range(60):
        value = node(f"n{number}", value)
    with pytest.raises(BadData, match="levels"):
        read_tree(written(tmp_path / "t.json", nested(value)))


def test_examples_need_texts() -> None:
    with pytest.raises(BadData, match="example 2: no text in instruction, output"):
        examples_of([{"instruction": "a", "output": "b"}, 7], "here")
