"""The search as operations; every tree is an artifact in the released layout, with a log.

    import_task_tree ──> extend_task_tree ──> prune_task_tree ──> enrich_task_tree
                                 ──> filter_task_tree ──> sample_task_tree: training rows

    log.jsonl      what was decided about each task, step by step
    summary.json   totals

Extension and enrichment ask an explorer, a model or any judge reference. A killed stage continues
where it was: its answers are in the stage's scratch folder, those of hosted models in the store of
responses as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from harness.backends.opening import open_engine
from harness.core.errors import BadData, check_planned
from harness.core.records import Record
from harness.data.instructions.diversity import diversity_filter
from harness.data.instructions.rouge_l import Compare
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.models.templates import alpaca_message
from methods.explore_instruct import bounds
from methods.explore_instruct.enrichment import Enriching
from methods.explore_instruct.explorer import Explorer
from methods.explore_instruct.extension import Extending
from methods.explore_instruct.files import read_tree, write_tree
from methods.explore_instruct.pruning import prune_tasks
from methods.explore_instruct.sampling import draw
from methods.explore_instruct.sampling_released import draw_released
from methods.explore_instruct.settings import Asking, Enrichment, Extension
from methods.explore_instruct.sources import TASK_TREES
from methods.explore_instruct.tree import Example, TaskTree

LOG, SUMMARY = "log.jsonl", "summary.json"


def _write(context: Context, tree: TaskTree, log: Sequence[Row] = (), **totals: Any) -> None:
    write_tree(context.directory, tree)
    kept = tree.kept()
    counts = {
        "tasks": len(tree),
        "pruned": len(tree) - len(kept),
        "by_depth": [len(level) for level in tree.levels()],
        "examples": sum(len(node.examples) for node in kept),
    }
    write_json(context.directory / SUMMARY, {**counts, **totals})
    write_rows(context.directory / LOG, log)


class ImportTreeParams(Record):
    """Which tree to import.

    Attributes:
        ref: see `methods.explore_instruct.sources`.
        digest: identity at planning time; makes the content part of the stage id.
    """

    ref: str
    digest: str | None = None


@operation(
    "import_task_tree",
    version=1,
    params=ImportTreeParams,
    estimate=lambda params: Estimate(rows=len(TASK_TREES.source(params.ref).rows(params.ref))),
)
def import_task_tree(context: Context, params: ImportTreeParams) -> None:
    """Write a seed tree.

    Raises:
        BadData: see `methods.explore_instruct.files.read_tree`.
        UserError: the reference leads nowhere.
    """
    found = TASK_TREES.identity(params.ref)
    check_planned(f"task tree {params.ref}", found, params.digest)
    _write(context, TASK_TREES.source(params.ref).rows(params.ref))


class ExtendParams(Asking):
    """See `methods.explore_instruct.settings`."""

    extension: Extension = Extension()


@operation(
    "extend_task_tree",
    version=1,
    params=ExtendParams,
    libraries=("torch", "transformers"),
    estimate=bounds.extending,
    asks=True,
)
def extend_task_tree(
    context: Context, params: ExtendParams, *, tree: Artifact, model: Artifact
) -> None:
    """Add sub-tasks down to a depth; depth 0 asks nothing.

    Raises:
        UserError, EnvironmentProblem: see `harness.backends.opening.open_engine`; the explorer is
            unavailable.
    """
    found = read_tree(tree.path)
    log: list[Row] = []
    if params.extension.depth:
        backend = open_engine(context, model, params)
        search = Extending(found, params.extension, params.wording, params.reader, params.seed)
        with Explorer(context, backend, params.sampling("extend")) as explorer:
            log = search.run(explorer)
    _write(context, found, log, calls=sum(entry["calls"] for entry in log), **_failures(log))
    _say_failures(context, log)


class EnrichParams(Asking):
    """See `methods.explore_instruct.settings`."""

    enrichment: Enrichment = Enrichment()


@operation(
    "enrich_task_tree",
    version=1,
    params=EnrichParams,
    libraries=("torch", "transformers"),
    estimate=bounds.enriching,
    asks=True,
)
def enrich_task_tree(
    context: Context, params: EnrichParams, *, tree: Artifact, model: Artifact
) -> None:
    """Add examples to every task that is not pruned.

    Raises:
        UserError, EnvironmentProblem: as for `extend_task_tree`.
    """
    found = read_tree(tree.path)
    backend = open_engine(context, model, params)
    work = Enriching(found, params.enrichment, params.wording, params.reader, params.seed)
    with Explorer(context, backend, params.sampling("enrich")) as explorer:
        log = work.run(explorer, lambda done, total: context.progress(done, total, unit="examples"))
    closed = Counter(entry["closed"] for entry in log)
    rejected = sum((Counter(entry["rejected"]) for entry in log), Counter[str]())
    _write(
        context,
        found,
        log,
        calls=sum(entry["calls"] for entry in log),
        closed=dict(sorted(closed.items())),
        rejected=dict(sorted(rejected.items())),
        **_failures(log),
    )
    short = len(log) - closed["complete"]
    if short:
        wanted = params.enrichment.examples
        context.note(f"{short} of {len(log)} tasks have fewer than {wanted} examples ({LOG})")
    _say_failures(context, log)


def _failures(log: Sequence[Row]) -> dict[str, int]:
    return {"failed_calls": sum(_failed(entry) for entry in log)}


def _failed(entry: Row) -> int:
    found = entry["failures"]
    return sum(found.values()) if isinstance(found, dict) else len(found)


def _say_failures(context: Context, log: Sequence[Row]) -> None:
    failed = sum(_failed(entry) for entry in log)
    if failed:
        calls = sum(entry["calls"] for entry in log)
        context.note(
            f"{failed} of {calls} calls failed; tasks were asked again within their budget"
        )


class PruneParams(Record):
    """threshold, compare: see `methods.explore_instruct.pruning.prune_tasks`."""

    threshold: float = 0.7
    compare: Compare = "float_compat"


@operation("prune_task_tree", version=1, params=PruneParams, estimate=bounds.same_tasks)
def prune_task_tree(context: Context, params: PruneParams, *, tree: Artifact) -> None:
    """Mark tasks whose names repeat those of earlier tasks; later stages leave them out."""
    found = read_tree(tree.path)
    nodes = found.in_levels()[1:]
    root = found[found.root].name
    names = [node.name for node in nodes]
    decisions = prune_tasks(root, names, params.threshold, compare=params.compare)
    log = []
    for node, decision in zip(nodes, decisions, strict=True):
        node.pruned = not decision.kept
        like = None if decision.most_similar is None else [root, *names][decision.most_similar]
        log.append(
            {
                "task": node.id,
                "pruned": node.pruned,
                "max_rouge_l": decision.max_rouge_l,
                "most_similar": like,
            }
        )
    _write(context, found, log)


class FilterParams(Record):
    """Which examples repeat others.

    Attributes:
        threshold, compare: see `harness.data.instructions.diversity.diversity_filter`.
        scope: "tree" compares each instruction with those of all tasks, in level order; "node" with
            those of its task alone, as released.
    """

    threshold: float = 0.7
    compare: Compare = "float_compat"
    scope: Literal["node", "tree"] = "tree"


@operation("filter_task_tree", version=1, params=FilterParams, estimate=bounds.same_tasks)
def filter_task_tree(context: Context, params: FilterParams, *, tree: Artifact) -> None:
    """Keep the examples whose instructions are different enough, of tasks that are not pruned."""
    found = read_tree(tree.path)
    nodes = found.kept()
    pairs = [(node.id, example) for node in nodes for example in node.examples]
    decisions = diversity_filter(
        [example.instruction for _, example in pairs],
        params.threshold,
        compare=params.compare,
        groups=[id for id, _ in pairs] if params.scope == "node" else None,
    )
    kept: dict[str, list[Example]] = {node.id: [] for node in nodes}
    for (id, example), decision in zip(pairs, decisions, strict=True):
        if decision.kept:
            kept[id].append(example)
    log = []
    for node in nodes:
        log.append({"task": node.id, "before": len(node.examples), "kept": len(kept[node.id])})
        node.examples = kept[node.id]
    _write(context, found, log, before=len(pairs))


class SampleParams(Record):
    """Which examples to train on.

    Attributes:
        n: number of rows; fewer are written if there are no more, with a note.
        cap: examples of a task that count at most; None counts all.
        rule: "released" rounds up, cuts the last tasks, repeats the root's examples, and samples
            pruned tasks.
    """

    n: int = Field(default=10_000, ge=1)
    cap: int | None = Field(default=500, ge=1)
    rule: Literal["largest_remainder", "released"] = "largest_remainder"
    seed: int = 42


@operation("sample_task_tree", version=1, params=SampleParams, estimate=bounds.sampling)
def sample_task_tree(context: Context, params: SampleParams, *, tree: Artifact) -> None:
    """Write training rows {"id", "messages", "response", "task", "instruction", "input"}.

    Raises:
        BadData: the tree has no examples.
        UserError: see `methods.explore_instruct.sampling_released.draw_released`.
    """
    found = read_tree(tree.path)
    released = params.rule == "released"
    nodes = found.in_levels() if released else found.kept()
    tasks = {
        node.id: [(f"{node.id}/{n}", node.id, one) for n, one in enumerate(node.examples)]
        for node in nodes
    }
    largest = max((len(examples) for examples in tasks.values()), default=0)
    if not largest:
        raise BadData("the task tree has no examples; expected some after enrichment and filter")
    chosen = (draw_released if released else draw)(
        tasks, params.n, seed=params.seed, cap=params.cap or largest
    )
    seen: Counter[str] = Counter()
    rows = []
    for id, task, example in chosen:
        seen[id] += 1
        again = f"#{seen[id]}" if seen[id] > 1 else ""
        rows.append(training_row(f"{id}{again}", example, task))
    write_rows(context.directory / "rows.jsonl", rows)
    counts = Counter(task for _, task, _ in chosen)
    summary = {"rows": len(rows), "tasks": {id: counts[id] for id in tasks}}
    write_json(context.directory / SUMMARY, summary, sort_keys=False)
    if len(rows) < params.n:
        context.note(f"{len(rows)} examples; {params.n} were asked for")


def training_row(id: str, example: Example, task: str = "") -> Row:
    """A row for `train_sft`; `task` names where the example is from."""
    asked = alpaca_message(example.instruction, example.input)
    return {
        "id": id,
        "messages": [{"role": "user", "content": asked}],
        "response": example.output,
        "task": task,
        "instruction": example.instruction,
        "input": example.input,
    }
