"""Marks that a score wears wherever it is shown: fewer prompts than the set has, another judge.

A stage that writes cells does not know how many prompts there are in all, nor which judge the
publication used, and neither changes its result. Both are found from the stages behind it, in a
plan or in a store, when its cells are read:

    details["limit"] = "first 40 of 805 prompts"
    scale = "own"          in place of "paper", for another judge than the suite's published ones
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import CrucibleError
from harness.core.records import Cell, parse
from harness.engine import registry
from harness.engine.plan import Plan
from harness.engine.store import Store

LIMIT = "limit"  # detail of a cell, and setting of a suite
PAPER, OWN = "paper", "own"
_IMPORT = "import_"
_MODEL = "model"
_WHAT = {"import_authors": "authors", "import_dialogues": "dialogues"}
# Options of a judge's reference that do not change what it says.
_HARMLESS = ("key=", "max_tokens_field=")


@dataclass(frozen=True)
class Node:
    """A stage of a plan or of a store: its operation, parameters and inputs."""

    operation: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Sequence[str]]


Graph = Callable[[str], Node | None]


def nodes_of_plan(plan: Plan) -> Graph:
    """Stages by id."""

    def node(id: str) -> Node:
        stage = plan.stages[id]
        inputs = {
            key: [handle.id for handle in (value if isinstance(value, tuple) else (value,))]
            for key, value in stage.inputs.items()
        }
        return Node(stage.operation.name, stage.params.model_dump(mode="json"), inputs)

    return node


def nodes_of_store(store: Store) -> Graph:
    """Artifacts by id; None for one that the store does not have any more."""

    def node(id: str) -> Node | None:
        if not store.has(id):
            return None
        manifest = store.manifest(id)
        inputs = {
            key: value if isinstance(value, list) else [value]
            for key, value in manifest["inputs"].items()
        }
        return Node(manifest["operation"], manifest["params"], inputs)

    return node


def limit_of(graph: Graph, id: str) -> str:
    """ "first 40 of 805 prompts" for a stage that scores a part of its set; "" for the whole."""
    found = []
    for node in _behind(graph, id):
        limit = node.params.get(LIMIT)
        if isinstance(limit, int) and not isinstance(limit, bool):
            total = _total(node)
            if total is None or total > limit:
                what = _WHAT.get(node.operation, "prompts")
                found.append(f"first {limit:,}{f' of {total:,}' if total else ''} {what}")
    return ", ".join(sorted(set(found)))


def _behind(graph: Graph, id: str) -> Iterator[Node]:
    """The stages that a score is made from, without those that make its model."""
    waiting, seen = [id], {id}
    while waiting:
        now = waiting.pop()
        node = graph(now)
        if node is None:
            continue
        yield node
        if now != id and not _is_of_rows(node.operation):
            continue  # an import, or a file operation that trained or measured something
        ids = [other for name, many in node.inputs.items() if name != _MODEL for other in many]
        waiting += [other for other in ids if other not in seen]
        seen.update(ids)


def _is_of_rows(operation: str) -> bool:
    try:
        return registry.load_operation(operation).rows is not None
    except CrucibleError:
        return False


def _total(node: Node) -> int | None:
    """Number of rows that an import would give without its limit; None if nobody knows."""
    if not node.operation.startswith(_IMPORT):
        return None
    try:
        operation = registry.load_operation(node.operation)
        if operation.estimate is None:
            return None
        params = parse(operation.params, {**node.params, LIMIT: None}, node.operation)
        return operation.estimate(params).rows
    except (CrucibleError, OSError):
        return None


def published_judges(suite: str) -> set[str]:
    """Judges of the editions of a suite, without those of the nano world."""
    if suite not in registry.entries("suites"):
        return set()
    loaded = registry.load("suites", suite)
    settings = loaded.settings.model_fields.get("judge")
    named = [values.get("judge") for values in loaded.editions.values()]
    named += [settings.default if settings is not None else None]
    return {ref for ref in named if isinstance(ref, str) and ref and not ref.startswith("nano:")}


def scale_shown(cell: Cell, judges: Iterable[str] = ()) -> str:
    """The scale of a cell; "own" in place of "paper" where its judge is not a published one.

    Args:
        judges: published judges beside those of the suite, see `published_judges`.
    """
    if cell.scale != PAPER or not cell.judge:
        return cell.scale
    known = {_without_options(ref) for ref in (*published_judges(cell.suite), *judges)}
    return PAPER if _without_options(cell.judge) in known else OWN


def _without_options(ref: str) -> str:
    name, _, options = ref.partition("?")
    kept = [one for one in options.split("&") if one and not one.startswith(_HARMLESS)]
    return "?".join([name, "&".join(kept)] if kept else [name])


def marked(cell: Cell, limit: str, judges: Iterable[str] = ()) -> Cell:
    """A cell as it is shown, see `limit_of` and `scale_shown`."""
    update: dict[str, Any] = {}
    if limit:
        update["details"] = {**cell.details, LIMIT: limit}
    if (scale := scale_shown(cell, judges)) != cell.scale:
        update["scale"] = scale
    return cell.model_copy(update=update) if update else cell
