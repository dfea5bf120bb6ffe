"""The operation `score_lm_eval`: cells from the rows and results of a run.

    arc_easy:acc_norm                 one cell per task, metric and filter ("none" is omitted)
    gsm8k:exact_match:strict-match
    mmlu:acc                          an average that lm-eval defines for a group
    commonsense                       an average that the suite defines

Every value is recomputed from the rows and must equal lm-eval's. Intervals resample documents. The
draws of a task depend only on its prompts, so comparisons of models are paired by document; an
average resamples each of its tasks independently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Cell, Interval, Record, Resampled
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats.bootstrap import cluster_counts, percentile_interval
from harness.suites.lm_eval.catalogue import SHARES, UNITS
from harness.suites.lm_eval.measures import Measured, mean_of, measure
from harness.suites.scoring import write_cells

Json = Mapping[str, Any]
OVER_DOCUMENTS = "bootstrap over documents"
WITHIN_TASKS = "bootstrap over documents within tasks"
Detail = float | int | str | bool | None


class ScoreParams(Record):
    """Parameters of `score_lm_eval`.

    Attributes:
        suite, system, scale: copied into the cells.
        seed: seed of the run that made the system.
        headline: primary "metric,filter" by task or group; default: a task's first.
        averages: members of each macro average, by name; "bbh/*" means the tasks of a group.
        absent: reason, by benchmark that cannot be run.
        rounds: resamples per interval.
        level: level of the intervals.
    """

    suite: str
    system: str
    scale: str
    seed: int = 0
    headline: dict[str, str] = {}
    averages: dict[str, tuple[str, ...]] = {}
    absent: dict[str, str] = {}
    rounds: int = Field(default=1000, ge=1)
    level: float = Field(default=0.95, gt=0, lt=1)


@operation("score_lm_eval", version=2, params=ScoreParams)
def score_lm_eval(
    context: Context, params: ScoreParams, *, results: Artifact, model: Artifact | None = None
) -> None:
    """Write the cells of one system.

    Raises:
        BadData: a recomputed value differs from lm-eval's.
    """
    known = results.read_json("results.json")
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in results.rows():
        rows.setdefault((row["task"], row["filter"]), []).append(row)
    links = {"results": results.id} | ({"checkpoint": model.id} if model is not None else {})
    write_cells(context, cells_of(params, known, rows, links))


def cells_of(
    params: ScoreParams,
    known: Json,
    rows: Mapping[tuple[str, str], list[Row]],
    links: dict[str, str],
) -> list[Cell]:
    """Cells of a run: tasks, groups, averages, then missing benchmarks.

    Args:
        known: content of results.json.
        rows: rows by (task, filter).
        links: artifact ids for the cells.

    Raises:
        BadData: a recomputed value differs from lm-eval's.
    """
    maker = _Maker(params, known, links)
    for name, task in known["tasks"].items():
        for metric in task["metrics"]:
            maker.task(name, task, metric, rows[name, metric["filter"]])
    for name, group in known["groups"].items():
        for average in group["averages"]:
            maker.group(name, group, average)
    for name, members in params.averages.items():
        maker.average(name, members)
    for name, why in {**known["unavailable"], **params.absent}.items():
        maker.missing(name, why)
    return maker.cells


class _Maker:
    def __init__(self, params: ScoreParams, known: Json, links: dict[str, str]) -> None:
        self.params, self.known, self.links = params, known, links
        self.cells: list[Cell] = []
        self.measured: dict[tuple[str, str], Measured] = {}  # task or group, "metric,filter"

    def task(self, name: str, task: Json, metric: Json, rows: list[Row]) -> None:
        """One metric of one task."""
        rows = sorted(rows, key=lambda row: int(row["doc_id"]))
        counts = cluster_counts(
            task["prompt_set"], [row["doc_id"] for row in rows], self.params.rounds
        )
        values = [row["metrics"].get(metric["metric"]) for row in rows]
        found = measure(metric["aggregation"], values, counts)
        if found is None:  # a corpus-level metric, which cannot be resampled here
            found = Measured(metric["value"], None, len(rows), len(rows))
        _check(name, metric, found)
        key = f"{metric['metric']},{metric['filter']}"
        self.measured[name, key] = found
        in_group = any(name in self._leaves(group) for group in self.known["groups"])
        self._add(
            name,
            metric,
            found,
            prompt_set=task["prompt_set"],
            decode=self._decode([task]),
            primary=self._headline(name) == key and not (in_group and self._unasked(name)),
            details=self._details(task, metric, rows),
        )

    def group(self, name: str, group: Json, average: Json) -> None:
        """An average that lm-eval defines, over the children that have the metric."""
        key = f"{average['metric']},{average['filter']}"
        children = [child for child in group["children"] if (child, key) in self.measured]
        weights = [
            float(self.known["tasks"][child]["n_effective"]) if average["by_size"] else 1.0
            for child in children
        ]
        found = mean_of([self.measured[child, key] for child in children], weights)
        _check(name, average, found)
        self.measured[name, key] = found
        tasks = [self.known["tasks"][child] for child in children]
        details: dict[str, Detail] = {
            "tasks": len(children),
            "weighted_by_size": average["by_size"],
            "group_version": group["version"],
            **self._shared(tasks),
        }
        if average["missing"]:
            details["missing"] = ", ".join(average["missing"])
        self._add(
            name,
            average,
            found,
            prompt_set=digest([name, [task["prompt_set"] for task in tasks]]),
            decode=self._decode(tasks),
            primary=self._headline(name) == key,
            details=details,
            kind=WITHIN_TASKS,
        )

    def average(self, name: str, members: Sequence[str]) -> None:
        """A macro average that the suite defines; details name missing members."""
        wanted = [task for member in members for task in self._expanded(member)]
        keys = [(task, self._average_key(task, members)) for task in wanted]
        present = [key for key in keys if key in self.measured]
        absent = [task for task, key in keys if (task, key) not in self.measured]
        if not present:
            self.missing(name, f"none of its members has a value: {', '.join(absent)}")
            return
        found = mean_of([self.measured[key] for key in present], [1.0] * len(present))
        leaves = [leaf for task, _ in present for leaf in self._leaves(task) or (task,)]
        tasks = [self.known["tasks"][leaf] for leaf in leaves]
        details: dict[str, Detail] = {"tasks": len(present), **self._shared(tasks)}
        if absent:
            details["missing"] = ", ".join(absent)
        prompts = [[task, self.known["tasks"][task]["prompt_set"]] for task in leaves]
        self._append(
            name,
            found,
            unit="%",
            factor=100.0,
            prompt_set=digest([name, present, prompts]),
            decode=self._decode(tasks),
            primary=True,
            higher_is_better=True,
            details=details,
            kind=WITHIN_TASKS,
        )

    def missing(self, name: str, why: str) -> None:
        """A cell without a value."""
        key = self._headline(name)
        metric = _label(name, *key.split(",")) if key else name
        self._append(
            metric,
            Measured(None, None, 0, 0),
            unit="%",
            factor=100.0,
            prompt_set="",
            decode=None,
            primary=name in self.params.headline or name in self.params.averages,
            higher_is_better=True,
            details={"reason": why},
        )

    def _headline(self, name: str) -> str:
        """Primary metric of a task or group, or ""."""
        if name in self.params.headline:
            return self.params.headline[name]
        task = self.known["tasks"].get(name)
        listed = task["metrics"] if task else self.known["groups"].get(name, {}).get("averages", [])
        return f"{listed[0]['metric']},{listed[0]['filter']}" if listed else ""

    def _average_key(self, task: str, members: Sequence[str]) -> str:
        """Primary metric of a member; for a task of a "group/*" member, that of the group."""
        for member in members:
            if member.endswith("/*") and task in self._leaves(member[:-2]):
                return self._headline(member[:-2])
        return self._headline(task)

    def _expanded(self, member: str) -> Sequence[str]:
        return self._leaves(member[:-2]) or (member,) if member.endswith("/*") else (member,)

    def _leaves(self, group: str) -> Sequence[str]:
        leaves: Sequence[str] = self.known["groups"].get(group, {}).get("children", ())
        return leaves

    def _unasked(self, task: str) -> bool:
        """Whether a task was run only as part of a group."""
        return task not in self.known["members"]

    def _decode(self, tasks: Sequence[Json]) -> str:
        """Fingerprint of decoding options, chat template, batch size and lm-eval version."""
        run = self.known["run"]
        options = [task["generation_kwargs"] for task in tasks]
        settings = [run.get(key) for key in ("chat_template", "batch_size", "lm_eval")]
        return digest([options, settings])[:16]

    def _shared(self, tasks: Sequence[Json]) -> dict[str, Detail]:
        """Details common to cells of one or several tasks."""
        run = self.known["run"]
        found: dict[str, Detail] = {
            "lm_eval": run.get("lm_eval"),
            "chat_template": run.get("chat_template"),
            "dtype": run.get("dtype"),
            "batch_size": run.get("batch_size"),
            "limited": any(task["n_effective"] < task["n_original"] for task in tasks),
        }
        if any(task["truncated"] for task in tasks):
            found["truncated"] = sum(task["truncated"] for task in tasks)
        if any(task["blanks_moved"] for task in tasks):
            found["blanks_moved"] = sum(task["blanks_moved"] for task in tasks)
        return found

    def _details(self, task: Json, metric: Json, rows: list[Row]) -> dict[str, Detail]:
        found: dict[str, Detail] = {
            "task_version": task["version"],
            "task_hash": task["task_hash"],
            "config_hash": task["config_hash"],
            "data_hash": task["data_hash"],
            "shots": task["num_fewshot"],
            "filter": metric["filter"],
            "local_data": task["local"],
            "n_original": task["n_original"],
            **self._shared([task]),
        }
        if task["chance"] is not None and metric["metric"].startswith("acc"):
            found["chance"] = 100 * task["chance"]
        unparsed = sum("[invalid]" in _flat(row["filtered"]) for row in rows)
        if unparsed:
            found["unparsed"] = unparsed
        return found

    def _add(
        self,
        name: str,
        metric: Json,
        found: Measured,
        *,
        prompt_set: str,
        decode: str,
        primary: bool,
        details: dict[str, Detail],
        kind: str = OVER_DOCUMENTS,
    ) -> None:
        share = metric["metric"] in SHARES
        self._append(
            _label(name, metric["metric"], metric["filter"]),
            found,
            unit="%" if share else UNITS.get(metric["metric"], "points"),
            factor=100.0 if share else 1.0,
            prompt_set=prompt_set,
            decode=decode,
            primary=primary,
            higher_is_better=metric["higher_is_better"],
            details=details,
            kind=kind,
        )

    def _append(
        self,
        metric: str,
        found: Measured,
        *,
        unit: str,
        factor: float,
        prompt_set: str,
        decode: str | None,
        primary: bool,
        higher_is_better: bool,
        details: dict[str, Detail],
        kind: str = OVER_DOCUMENTS,
    ) -> None:
        params = self.params
        value = None if found.value is None else factor * found.value
        draws = () if found.replicates is None else tuple((factor * found.replicates).tolist())
        sample = found.sample(factor)
        self.cells.append(
            Cell(
                system=params.system,
                suite=params.suite,
                metric=metric,
                unit=unit,
                value=value,
                interval=_interval(draws, value, params.level, kind, sample),
                n_expected=found.expected,
                n_scored=found.scored,
                n_failed=found.expected - found.scored,
                bounds=_bounds(found, factor),
                seed=params.seed,
                scale=params.scale,
                judge=None,
                judge_fingerprint=None,
                decode_fingerprint=decode,
                prompt_set=prompt_set,
                artifacts=self.links,
                replicates=draws,
                resampled=sample if draws else None,
                higher_is_better=higher_is_better,
                primary=primary,
                details=details,
            )
        )


def _check(name: str, metric: Json, found: Measured) -> None:
    """Raise BadData if a value differs from lm-eval's, i.e. the aggregation was misidentified."""
    theirs, ours = metric["value"], found.value
    if theirs is None or ours is None or found.scored < found.expected:
        return  # lm-eval gives NaN; here it is a mean over the scored documents
    agree = isinstance(theirs, int | float) and math.isclose(
        theirs, ours, rel_tol=1e-9, abs_tol=1e-12
    )
    if not agree:
        raise BadData(
            f"{name}, {metric['metric']},{metric['filter']}: the rows give {ours}; expected "
            f"lm-eval's {theirs}: report this with the version of lm-eval"
        )


def _interval(
    draws: tuple[float, ...], value: float | None, level: float, kind: str, sample: Resampled
) -> Interval | None:
    if value is None or not draws:
        return None
    return percentile_interval(
        draws, level, point=value, kind=kind, units=sample.units, span=sample.span
    )


def _bounds(found: Measured, factor: float) -> tuple[float, float] | None:
    """Lowest and highest possible value if the documents without a value had one."""
    failed = found.expected - found.scored
    if not failed or found.value is None or found.span is None or factor != 100.0:
        return None
    total = found.value * found.scored
    low, high = (factor * (total + end * failed) / found.expected for end in found.span)
    return (low, high)


def _label(name: str, metric: str, chosen: str) -> str:
    return f"{name}:{metric}" + ("" if chosen == "none" else f":{chosen}")


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [item for each in value for item in _flat(each)]
    return [value]
