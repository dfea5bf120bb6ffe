"""Task trees in files, in the layout of the released code.

    tree_meta_info.json   nested nodes: raw_task_name, task_name, config_filename, reason, children
    <task_name>.json      the same fields and `examples`, one file per node

One file with nested nodes that contain their `examples` is read as well. A pruned node has
`"pruned": true` in both files, which the released code ignores. A file whose name an artifact uses
for something else is called `<task_name>-task.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import BadData
from harness.engine.io import read_json, write_json
from methods.explore_instruct.names import task_id
from methods.explore_instruct.tree import Example, Node, TaskTree

META = "tree_meta_info.json"
TAKEN = (META, "manifest.json", "summary.json")  # other files of an artifact
DEEPEST = 50  # levels; a released tree has three
LONGEST = 200  # bytes of an id
_FIELDS = ("instruction", "input", "output")


def read_tree(path: Path) -> TaskTree:
    """A tree from a folder in the released layout, or from one file with everything.

    Raises:
        BadData: a cycle, two nodes with one id or file, a missing or foreign file, or a field of
            the wrong type; with file and task.
    """
    folder = path if path.is_dir() else None
    meta = path / META if folder is not None else path
    if folder is not None and not meta.is_file():
        raise BadData(
            f"{folder} has no {META}; expected a folder in the layout of Explore-Instruct"
        )
    return tree_of(read_json(meta), meta, folder)


def tree_of(root: Any, where: Path, folder: Path | None = None) -> TaskTree:
    """A tree from nested objects; see `read_tree`."""
    first = _node(root, where, folder, {})
    tree = TaskTree(first.id, {first.id: first})
    files = {str(_file_of(root, first.id)): first.id}
    waiting = [(first.id, item, 1) for item in _children(root, where)]
    while waiting:
        parent, item, depth = waiting.pop(0)
        if depth > DEEPEST:
            raise BadData(f"{where}: more than {DEEPEST} levels; expected a tree without a cycle")
        node = _node(item, where, folder, tree.nodes)
        if node.id in tree.nodes:
            above = _path(tree, parent)
            what = "a task below itself (a cycle)" if node.id in above else "two tasks"
            raise BadData(f'{where}: {what} with the task_name "{node.id}"; expected unique ones')
        file = str(_file_of(item, node.id))
        if folder is not None and file in files:
            raise BadData(f'{where}: "{files[file]}" and "{node.id}" share the file {file}')
        files[file] = node.id
        tree.attach(parent, node)
        waiting += [(node.id, child, depth + 1) for child in _children(item, where)]
    return tree


def _path(tree: TaskTree, id: str) -> list[str]:
    parent = tree[id].parent
    return [id] if parent is None else [*_path(tree, parent), id]


def _node(item: Any, where: Path, folder: Path | None, known: Mapping[str, Node]) -> Node:
    name = _text(item, "raw_task_name", where)
    if not name.strip():
        raise BadData(f'{where}: a task has an empty "raw_task_name"')
    id = item.get("task_name") or task_id(name, known)
    if not isinstance(id, str) or not _names_a_file(id):
        raise BadData(f'{where}: the task_name of "{name}" is {id!r:.40}; expected a file\'s name')
    node = Node(id, name, _text(item, "reason", where, ""), pruned=bool(item.get("pruned")))
    if folder is None:
        node.examples = examples_of(item.get("examples", []), f'{where}, task "{name}"')
        return node
    file = folder / _file_of(item, id)
    if not file.is_file():
        raise BadData(f'{folder}: the file {file.name} of the task "{name}" is missing')
    found = read_json(file)
    if not isinstance(found, dict) or found.get("task_name", id) != id:
        said = found.get("task_name") if isinstance(found, dict) else found
        raise BadData(f'{file} is of the task {said!r:.60}; expected "{id}"')
    node.examples = examples_of(found.get("examples", []), str(file))
    return node


def _names_a_file(id: str) -> bool:
    plain = Path(id).name == id and id.strip(".") != "" and id.isprintable()
    return plain and len(id.encode()) <= LONGEST


def _file_of(item: Mapping[str, Any], id: str) -> Path:
    """The file of a node, always inside the tree's folder."""
    return Path(Path(str(item.get("config_filename") or f"{id}.json")).name)


def _children(item: Mapping[str, Any], where: Path) -> list[Any]:
    found = item.get("children", [])
    if not isinstance(found, list):
        raise BadData(f"{where}: children is {found!r:.40}; expected a list of tasks")
    return found


def _text(item: Any, key: str, where: Path, default: str | None = None) -> str:
    if not isinstance(item, dict):
        raise BadData(f"{where}: found {item!r:.40}; expected a task with raw_task_name")
    found = item.get(key, default)
    if not isinstance(found, str):
        raise BadData(f'{where}: "{key}" is {found!r:.40}; expected text')
    return found


def examples_of(items: Any, where: str) -> list[Example]:
    """Examples from a list of objects; other fields are ignored, a missing input is empty.

    Raises:
        BadData: with place and number.
    """
    if not isinstance(items, list):
        raise BadData(f"{where}: examples is {items!r:.40}; expected a list")
    found = []
    for number, item in enumerate(items, 1):
        given = item if isinstance(item, dict) else {}
        texts = {key: given.get(key) for key in _FIELDS}
        texts["input"] = texts["input"] or ""
        wrong = [key for key, text in texts.items() if not isinstance(text, str)]
        if wrong:
            raise BadData(f"{where}, example {number}: no text in {', '.join(wrong)}")
        found.append(Example.model_validate(texts))
    return found


def write_tree(folder: Path, tree: TaskTree) -> None:
    """Write a tree into a folder in the released layout."""
    files = _files(tree)
    write_json(folder / META, _nested(tree, tree.root, files), sort_keys=False, ascii=False)
    for node in tree.in_levels():
        examples = [one.model_dump() for one in node.examples]
        fields = {**_fields(node, files), "examples": examples}
        write_json(folder / files[node.id], fields, sort_keys=False, ascii=False)


def _files(tree: TaskTree) -> dict[str, str]:
    """File of each node, all different."""
    found: dict[str, str] = {}
    for id in tree.nodes:
        stem = id
        while f"{stem}.json" in (*TAKEN, *found.values()) or (stem != id and stem in tree.nodes):
            stem += "-task"
        found[id] = f"{stem}.json"
    return found


def _nested(tree: TaskTree, id: str, files: Mapping[str, str]) -> dict[str, Any]:
    children = [_nested(tree, child, files) for child in tree[id].children]
    return {**_fields(tree[id], files), "children": children}


def _fields(node: Node, files: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "raw_task_name": node.name,
        "task_name": node.id,
        "config_filename": files[node.id],
        "reason": node.reason,
    }
    return {**found, "pruned": True} if node.pruned else found
