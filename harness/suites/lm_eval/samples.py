"""Convert the results of lm-eval to JSON rows and a summary.

There is one row per document and filter. Hashes of documents, prompts and targets are lm-eval's
(SHA-256). `question` is a digest of the messages before a chat template is applied, so that models
with different templates share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lm_eval.api.registry import AGGREGATION_REGISTRY
from lm_eval.utils import hash_string

from harness.core.hashing import digest
from harness.engine.operations import Row

Results = Mapping[str, Any]


def plain(value: Any) -> Any:
    """`value` as JSON data: numpy converted, NaN and infinities as None, objects as text."""
    if hasattr(value, "tolist") and callable(value.tolist):  # numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return getattr(value, "__name__", None) or str(value)


def rows(results: Results, prompts: Mapping[str, str]) -> Iterator[Row]:
    """Rows of all tasks.

    Args:
        prompts: digest of the messages, by rendered prompt; only for chat templates.
    """
    for task, samples in results["samples"].items():
        for sample in samples:
            yield _row(task, sample, prompts)


def _row(task: str, sample: Mapping[str, Any], prompts: Mapping[str, str]) -> Row:
    arguments = [list(each) for each in sample["arguments"]]
    prompt = arguments[0][0]
    return {
        "id": f"{task}/{sample['filter']}/{sample['doc_id']}",
        "task": task,
        "filter": sample["filter"],
        "doc_id": sample["doc_id"],
        "doc_hash": sample["doc_hash"],
        "prompt_hash": sample["prompt_hash"],
        "target_hash": sample["target_hash"],
        "question": prompts.get(prompt, sample["prompt_hash"]),
        "prompt": prompt,
        "continuations": [each[1] for each in arguments if isinstance(each[-1], str) and each[1:]],
        "target": plain(sample["target"]),
        "responses": plain(sample["resps"]),
        "filtered": plain(sample["filtered_resps"]),
        "metrics": {name: plain(sample[name]) for name in sample["metrics"] if name in sample},
    }


def summary(
    results: Results,
    made: Sequence[Row],
    tasks: Mapping[str, Any],
    groups: Mapping[str, Any],
    *,
    chat_template: bool,
) -> dict[str, Any]:
    """Description and values of each task and group, for scoring and for checks by a reader.

    Args:
        made: rows made from `results`.
        tasks, groups: lm-eval's objects by name.
        chat_template: whether a chat template was applied.
    """
    by_task: dict[str, list[Row]] = {name: [] for name in tasks}
    for row in made:
        by_task[row["task"]].append(row)
    return {
        "tasks": {
            name: _task(name, task, results, by_task[name], chat_template)
            for name, task in tasks.items()
        },
        "groups": {name: _group(name, group, results) for name, group in groups.items()},
    }


def _task(
    name: str, task: Any, results: Results, made: Sequence[Row], chat_template: bool
) -> dict[str, Any]:
    config = plain(dict(results["configs"][name]))
    config.pop("dataset_kwargs", None)  # may contain a path of this machine
    config.pop("metadata", None)
    version = results["versions"][name]
    first = [row for row in made if row["filter"] == made[0]["filter"]]
    first.sort(key=lambda row: row["doc_id"])
    asked = [[row["doc_hash"], row["question"]] for row in first]
    counts = results["n-samples"][name]
    samples = results["samples"][name]
    hashes = "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples)
    options = config.get("generation_kwargs") if task.OUTPUT_TYPE == "generate_until" else None
    return {
        "version": plain(version),
        "output_type": task.OUTPUT_TYPE,
        "num_fewshot": results["n-shot"][name],
        "generation_kwargs": options,
        "task_hash": hash_string(hashes),
        "config_hash": digest(config),
        "data_hash": digest([row["doc_hash"] for row in first]),
        # Two systems are comparable if all of this is equal.
        "prompt_set": digest([name, plain(version), chat_template, asked]),
        "n_original": counts["original"],
        "n_effective": counts["effective"],
        "chance": _chance(task, first),
        "metrics": list(_metrics(name, task, results)),
        "config": config,
    }


def _metrics(name: str, task: Any, results: Results) -> Iterator[dict[str, Any]]:
    known = {function: label for label, function in AGGREGATION_REGISTRY.items()}
    higher = results["higher_is_better"].get(name, {})
    for key, value in results["results"][name].items():
        metric, _, chosen = key.partition(",")
        if not chosen or metric.endswith("_stderr"):
            continue
        function = task.aggregation().get(metric)
        yield {
            "metric": metric,
            "filter": chosen,
            "value": plain(value),
            "aggregation": known.get(function, "mean" if function is None else "custom"),
            "higher_is_better": bool(higher.get(metric, True)),
        }


def _chance(task: Any, first: Sequence[Row]) -> float | None:
    """Accuracy of random guessing; None unless the task is multiple choice."""
    if task.OUTPUT_TYPE != "multiple_choice" or not first:
        return None
    doubled = 2 if "acc_mutual_info" in first[0]["metrics"] else 1
    return sum(doubled / len(row["responses"]) for row in first) / len(first)


def _group(name: str, group: Any, results: Results) -> dict[str, Any]:
    """Children and averages of a group, with the children that lack a metric."""
    children = [task.task_name for task in group.get_all_tasks()]
    found = results.get("groups", {}).get(name, {})
    rules = {each.metric: each for each in group.aggregate_metric_list or ()}
    averages = []
    for key, value in found.items():
        metric, _, chosen = key.partition(",")
        if chosen and metric in rules:
            averages.append(
                {
                    "metric": metric,
                    "filter": chosen,
                    "value": plain(value),
                    "by_size": bool(rules[metric].weight_by_size),
                    "missing": [c for c in children if key not in results["results"][c]],
                    "higher_is_better": bool(
                        results["higher_is_better"].get(name, {}).get(metric, True)
                    ),
                }
            )
    return {"children": children, "version": str(group.version), "averages": averages}
