"""Settings of a run of lm-eval tasks, shared by the suites and the stage that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import UserError
from harness.core.hashing import digest, file_digest
from harness.core.records import Record
from harness.data.sources import Source, registered
from harness.engine.recipe import Refers
from harness.models.references import Dtype

Option = bool | int | float | str | list[str] | None
Files = str | dict[str, str]  # a file, or one for each split
OWN = Path(__file__).parent / "tasks"
# Task files of ours that are part of a run's identity only if one of their tasks runs.
APART = {"crucible_halueval": Path(__file__).parent / "halueval"}


class Seeds(Record):
    """lm-eval's own defaults; published numbers are made with them."""

    python: int = 0
    numpy: int = 1234
    torch: int = 1234
    fewshot: int = 1234


class TaskSettings(Record):
    """What is asked, and how.

    Attributes:
        tasks: names of lm-eval tasks, groups or tags, or of ours (`crucible_*`).
        num_fewshot: examples in the prompt, for all tasks or by name; None leaves it to the task.
            As in lm-eval, a task that fixes 0 keeps it; naming such a task is an error.
        limit: evaluate the first documents of each task only; such cells are marked.
        batch_size: requests in a forward pass; a number, for results may depend on it in the
            last digits, and detection would make it depend on free memory.
        chat_template: render prompts with the model's template. Cells with and without one are
            never compared: with a template the choices of a multiple-choice task lose the space
            in front of them.
        chat_template_args: passed to the template, for example enable_thinking.
        gen_kwargs: decoding settings over the tasks' own. Sampling needs do_sample = true.
        data: local files (jsonl, json, csv, parquet) that a task reads instead of its data set:
            one file for the evaluated split, or a table from split to file.
        include: folders with task files of one's own. They may name Python code: trust them.
        on_unavailable: what a task that cannot be loaded does: "stop" before anything is
            evaluated, or "skip" it, which is recorded as a cell without a value.
        allow_code_execution: let tasks run code that the model wrote, on this machine.
        think_end_token: text after which a reasoning model's answer begins.
        max_length: most tokens of prompt and answer; None takes the model's.
        dtype: None leaves it to the model artifact.
    """

    tasks: Annotated[tuple[str, ...], Refers("tasks")] = Field(min_length=1)
    num_fewshot: Annotated[int | dict[str, int] | None, Refers("layout")] = None
    limit: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    chat_template: bool = False
    chat_template_args: dict[str, Option] = {}
    system_instruction: str | None = None
    gen_kwargs: dict[str, Option] = {}
    seeds: Seeds = Seeds()
    data: Annotated[dict[str, Files], Refers("layout")] = {}
    include: Annotated[tuple[str, ...], Refers("layout")] = ()
    on_unavailable: str = Field(default="stop", pattern="^(stop|skip)$")
    allow_code_execution: bool = False
    think_end_token: str | None = None
    max_length: int | None = Field(default=None, ge=1)
    dtype: Dtype | None = None


class RunParams(TaskSettings):
    """Parameters of `lm_eval_run`: the settings, and what else its result depends on.

    Attributes:
        lm_eval: version of lm-eval; task versions may change with any of them.
        content: digest of our own task files, of `include` and of the files in `data`.
        world: version of the nano world or of another source of documents, see `questions`.
    """

    lm_eval: str = "absent"
    content: str = ""
    world: int | str | None = None


def run_arguments(settings: TaskSettings) -> dict[str, object]:
    """Parameters of the running stage for `settings`; reads local files, imports nothing heavy.

    Raises:
        UserError: a file or folder of the settings does not exist.
    """
    chosen = {name: getattr(settings, name) for name in TaskSettings.model_fields}
    return {
        **{name: _plain(value) for name, value in chosen.items()},
        "lm_eval": installed_version(),
        "content": _content(settings),
        "world": _world(settings.tasks),
    }


def installed_version() -> str:
    """Version of lm-eval here, or "absent"."""
    try:
        return metadata.version("lm-eval")
    except metadata.PackageNotFoundError:
        return "absent"


def _plain(value: object) -> object:
    return value.model_dump() if isinstance(value, Record) else value


def questions(task: str) -> Source[str, list[dict[str, Any]]] | None:
    """Source of the documents of a task `crucible_<scheme>_<name>`; None for other tasks."""
    own, _, rest = task.partition("_")
    return registered("questions", rest.partition("_")[0]) if own == "crucible" else None


def _world(tasks: Sequence[str]) -> int | str | None:
    """Version of what generates the documents of the tasks; a number, if it is one number."""
    sources = ((task, questions(task)) for task in tasks)
    found = {source.identity(task, None) for task, source in sources if source is not None}
    joined = ", ".join(sorted(found))
    return int(joined) if joined.isdecimal() else joined or None


def folders_apart(tasks: Sequence[str]) -> list[Path]:
    """Folders beside `OWN` that these tasks need."""
    return [f for prefix, f in APART.items() if any(name.startswith(prefix) for name in tasks)]


def _content(settings: TaskSettings) -> str:
    named = (Path(name).expanduser() for name in settings.include)
    folders = [OWN, *folders_apart(settings.tasks), *named]
    found: list[object] = [_folder(folder) for folder in folders]
    for task in sorted(settings.data):
        for split, name in sorted(files_of(settings.data[task]).items()):
            path = Path(name).expanduser()
            if not path.is_file():
                raise UserError(f'data of task "{task}": no file {path}')
            found.append([task, split, file_digest(path)])
    return digest(found)


def _folder(folder: Path) -> str:
    if not folder.is_dir():
        raise UserError(f"include: no folder {folder}; expected one that holds task files (.yaml)")
    kept = (".py", ".yaml", "_yaml")
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name.endswith(kept)]
    return file_digest(*sorted(paths))


def files_of(files: Files) -> dict[str, str]:
    """Files by split; one file alone stands under ""."""
    return {"": files} if isinstance(files, str) else files
