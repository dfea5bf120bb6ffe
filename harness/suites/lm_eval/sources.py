"""From task names to loaded tasks: only the folders that are needed, one task after another.

What cannot be loaded (a data set out of reach, a missing package, code that may not run) is said
in one line for each task, before anything is evaluated.
"""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import torch
from lm_eval.tasks import TaskManager

from harness.core.errors import EnvironmentProblem, UserError, unknown
from harness.engine.io import write_json
from harness.suites.lm_eval.catalogue import DERIVED, FOLDERS
from harness.suites.lm_eval.settings import (
    OWN,
    Seeds,
    TaskSettings,
    files_of,
    folders_apart,
    questions,
)

logger = logging.getLogger(__name__)

ROOT = Path(lm_eval.__file__).parent / "tasks"
_BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_EXTRAS = {
    "langdetect": "lm-eval[ifeval]",
    "immutabledict": "lm-eval[ifeval]",
    "nltk": "lm-eval[ifeval]",
    "sympy": "lm-eval[math]",
    "math_verify": "lm-eval[math]",
    "antlr4": "lm-eval[math]",
}


@dataclass
class Loaded:
    """Tasks ready to run.

    Attributes:
        tasks: leaf task -> lm-eval's object.
        groups: group -> lm-eval's object.
        members: name as asked -> its leaf tasks.
        unavailable: name as asked -> why it cannot be loaded.
        local: leaf tasks that read a local file.
    """

    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    local: tuple[str, ...] = ()


def load_tasks(settings: TaskSettings, scratch: Path) -> Loaded:
    """Load the tasks of `settings`.

    Args:
        scratch: for task files and data made here, and for the data sets read from local files.

    Raises:
        UnknownName: lm-eval has no task of a name.
        UserError: local data that no task reads, or of an unknown kind.
    """
    included = [Path(name).expanduser().resolve() for name in settings.include]
    ours = [OWN, *folders_apart(settings.tasks)]
    own = _manager([*ours, *included])
    folders = [*ours, *_folders(settings.tasks, own), *included]
    manager = _complete(settings.tasks, _manager(folders))
    made = _write_task_files(settings, manager, scratch)
    if made:
        manager = _manager([*_paths(manager, folders), scratch / "tasks"])
    loaded = Loaded(local=tuple(made))
    for name in settings.tasks:
        _load_one(name, settings, manager, loaded)
    return loaded


def refuse_unavailable(loaded: Loaded, on_unavailable: str) -> None:
    """Stop when something cannot be loaded, unless it is to be skipped.

    Raises:
        EnvironmentProblem: naming every task that cannot be loaded, and why.
    """
    if not loaded.unavailable:
        return
    reasons = "; ".join(f"{name} ({why})" for name, why in loaded.unavailable.items())
    if on_unavailable == "skip":
        logger.warning("left out: %s", reasons)
        return
    total = len(loaded.unavailable) + len(loaded.members)
    raise EnvironmentProblem(
        f"{len(loaded.unavailable)} of {total} tasks cannot be loaded, nothing was evaluated: "
        f'{reasons}; give local files as data, or set on_unavailable = "skip" to record them as '
        "missing"
    )


def _manager(folders: list[Path]) -> TaskManager:
    unique = list(dict.fromkeys(folders))
    outer = [path for path in unique if not set(path.parents) & set(unique)]
    return TaskManager(include_path=[str(path) for path in outer], include_defaults=False)


def _paths(manager: TaskManager, folders: list[Path]) -> list[Path]:
    """Folders to index again; all of lm-eval's when `manager` had scanned them."""
    return [ROOT, *folders] if len(manager.all_tasks) > 5000 else folders


def _folders(names: tuple[str, ...], own: TaskManager) -> Iterator[Path]:
    """Folders of lm-eval that hold the tasks called `names`."""
    unplaced = []
    for name in names:
        if name in FOLDERS:
            yield ROOT / FOLDERS[name]
        elif name not in own.task_index and name not in DERIVED:
            unplaced.append(name)
    if unplaced:
        logger.info("looking for %s among all of lm-eval's task files", ", ".join(unplaced))
        yield from _search(unplaced)


def _search(names: list[str]) -> Iterator[Path]:
    """Folders whose files define a name, by a search of their text: no YAML is parsed."""
    spelled = "|".join(re.escape(name) for name in names)
    line = re.compile(
        rf"""^\s*(?:["']?(?:task|group|tag)["']?\s*:|-)\s*["']?(?:{spelled})["']?\s*$""",
        re.MULTILINE,
    )
    for path in sorted(ROOT.rglob("*yaml")):  # also of the files that others include
        if line.search(path.read_text(encoding="utf-8", errors="replace")):
            yield path.parent


def _complete(names: tuple[str, ...], manager: TaskManager) -> TaskManager:
    """`manager`, or one over all of lm-eval where a name or a group's child is missing in it."""
    missing = [name for name in names if not _resolved(name, manager)]
    if not missing:
        return manager
    logger.info("scanning all of lm-eval's task files for %s", ", ".join(missing))
    everything = _manager([ROOT, *(Path(path) for path in manager.include_path or ())])
    for name in missing:
        if not _resolved(name, everything):
            raise unknown("lm-eval task", name, everything.all_tasks, "lm_eval ls tasks")
    return everything


def _resolved(name: str, manager: TaskManager) -> bool:
    if name in DERIVED:
        return True
    entry = manager.task_index.get(name)
    if entry is None:
        return False
    children = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else None
    named = [child for child in children or () if isinstance(child, str)]
    return all(_resolved(child, manager) for child in named)


def _write_task_files(
    settings: TaskSettings, manager: TaskManager, scratch: Path
) -> dict[str, Path]:
    """Task files that point to local data, with absolute paths, for one run only."""
    made: dict[str, Path] = {}
    sources = {name: dict(files_of(files)) for name, files in settings.data.items()}
    for name in settings.tasks:
        source = questions(name)
        if source is not None:
            path = scratch / "data" / f"{name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not canonical: lm-eval's hash of a document depends on the order of its fields.
            lines = (json.dumps(row, ensure_ascii=False) for row in source.rows(name))
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            sources[name] = {"": str(path)}
    for name, files in sources.items():
        content = _local_task(name, files, manager, scratch)
        path = scratch / "tasks" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)  # JSON is YAML
        made[name] = path
    return made


def _local_task(
    name: str, files: Mapping[str, str], manager: TaskManager, scratch: Path
) -> dict[str, Any]:
    """A task file that includes another one and reads `files` in the place of its data set."""
    entry = manager.task_index.get(name)
    if name in DERIVED:
        base, config = ROOT / DERIVED[name][0], {}
    elif entry is None or entry.yaml_path is None or entry.kind.name == "GROUP":
        raise UserError(
            f'data names "{name}", which is no single task of this run; expected a task (not a '
            "group or tag) that tasks lists or contains"
        )
    else:
        base, config = entry.yaml_path, dict(entry.cfg or {})
    evaluated = config.get("test_split") or config.get("validation_split") or "test"
    by_split = {split or evaluated: str(Path(path).resolve()) for split, path in files.items()}
    suffixes = {Path(path).suffix for path in by_split.values()}
    if len(suffixes) > 1 or not suffixes <= _BUILDERS.keys():
        raise UserError(
            f'data of task "{name}": files of kind {", ".join(sorted(suffixes)) or "(none)"}; '
            f"expected one of {', '.join(_BUILDERS)}"
        )
    kept = {
        key: config.get(key) if config.get(key) in by_split else None
        for key in ("training_split", "validation_split", "test_split", "fewshot_split")
    }
    if not (kept["test_split"] or kept["validation_split"]):
        kept["test_split"] = evaluated
    return {
        "include": str(base),
        "task": name,
        "dataset_path": _BUILDERS[suffixes.pop()],
        "dataset_name": None,
        "custom_dataset": None,
        "dataset_kwargs": {"data_files": by_split, "cache_dir": str(scratch / "datasets")},
        **kept,
        "fewshot_split": kept["fewshot_split"] or kept["training_split"] or evaluated,
    }


def _load_one(name: str, settings: TaskSettings, manager: TaskManager, loaded: Loaded) -> None:
    if name in DERIVED and name not in manager.task_index:
        need = DERIVED[name][1]
        loaded.unavailable[name] = f'has no data set of its own: give data."{name}", {need}'
        return
    if not settings.allow_code_execution and _runs_code(name, manager):
        loaded.unavailable[name] = "runs code the model wrote: set allow_code_execution = true"
        return
    seed_everything(settings.seeds)  # some tasks shuffle options when they are loaded
    try:
        found = manager.load([name])
    except Exception as error:  # whatever a task's data set or Python code raises
        logger.debug("task %s", name, exc_info=True)
        loaded.unavailable[name] = explain(error)
        return
    loaded.tasks.update(found["tasks"])
    loaded.groups.update(found.get("groups", {}))
    loaded.members[name] = tuple(found["tasks"])


def _runs_code(name: str, manager: TaskManager) -> bool:
    """Whether a task, or one below a group or tag, is marked as running the model's code."""
    entry = manager.task_index.get(name)
    if entry is None:
        return False
    config = entry.cfg or {}
    if entry.kind.name == "GROUP":
        children = [child for child in config.get("task") or () if isinstance(child, str)]
        return any(_runs_code(child, manager) for child in children)
    if entry.kind.name == "TAG":
        return any(_runs_code(child, manager) for child in entry.tags)
    return bool(config.get("unsafe_code"))


def seed_everything(seeds: Seeds) -> None:
    """The global generators, which lm-eval's tasks draw from."""
    random.seed(seeds.python)
    np.random.seed(seeds.numpy)
    torch.manual_seed(seeds.torch)


def explain(error: BaseException) -> str:
    """Why a task could not be loaded, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"needs {package}: pip install '{_EXTRAS.get(package, package)}'"
    if "code_eval" in text:
        return "its metric code_eval cannot be fetched from the hub from here"
    reached = re.search(r"Couldn't reach '([^']+)'", text)
    if reached or isinstance(error, ConnectionError):
        what = f"data set {reached[1]}" if reached else "its data set"
        return f"{what} cannot be reached from here and is not cached"
    if "gated" in text.lower():
        found = re.search(r"'([\w.-]+/[\w.-]+)'", text)
        what = f"data set {found[1]}" if found else "its data set"
        return f"{what} is gated: accept its terms on the hub and log in"
    return f"{type(error).__name__}: {text[:200]}"
