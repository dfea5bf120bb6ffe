"""Training over several processes, through `accelerate launch`.

    this process                                              ranks 0, 1, ...
    an operation marked `over_processes`
       └─ job.json ─> warden ─> accelerate launch ──────────> worker.py: the same operation
       <─ progress, notes, counts ── rank-0.jsonl ──────────  (rank 0 fills the stage's folder)
       <─ errors ── rank-*.jsonl; all output ── rank-*.log

Everything lies in the folder `ranks` of the stage's scratch folder. The warden ends all ranks when
this process ends in any way; when one rank ends with an error, accelerate ends the others.

`RunSettings.launch` says how a training runs, not what it gives, so it is no part of a stage's id.
The rows of each update are those of one process, in the same order, divided
(`RunSettings.per_process`, `harness.training.shares`), and every term is divided by the counts of
all processes. Losses, gradients and weights equal those of one process up to rounding (a test holds
losses to 1e-6 and weights to 1e-5). Where the model has dropout, each process draws its own, as
another device would.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from harness.core.errors import CrucibleError, remade
from harness.engine.children import ChildProcess, first_error
from harness.engine.io import disk_errors, write_json
from harness.engine.machines import Process, machines_of
from harness.engine.operations import Artifact, Context
from harness.training.launch_checks import checked_launch
from harness.training.settings import RunSettings

FOLDER, JOB = "ranks", "job.json"
WORKER = "harness.training.worker"
POLL_S = 0.1
GRACE_S = 3.0  # from the request to end until ranks are killed

# Ranks that failed in the report of torch's launcher, which lists the first of them last.
_FAILED = re.compile(r"^ +rank +: (\d+) .*?^ +exitcode +: (-?\d+)", re.DOTALL | re.MULTILINE)


def over_processes(function: Callable[..., None]) -> Callable[..., None]:
    """Let a file operation with `RunSettings` run in the processes of `params.launch`."""

    @functools.wraps(function)
    def run(context: Context, params: RunSettings, **inputs: Any) -> None:
        if params.launch is None:
            function(context, params, **inputs)
        elif _only_saving_is_left(context):
            function(context, params.model_copy(update={"launch": None}), **inputs)
        else:
            _launch(function, context, params, inputs)

    return run


def _only_saving_is_left(context: Context) -> bool:
    from harness.training.saving import kept_is_sound

    return kept_is_sound(context.scratch)


def _launch(
    function: Callable[..., None], context: Context, params: RunSettings, inputs: Mapping[str, Any]
) -> None:
    assert params.launch is not None
    options = checked_launch(params.launch, context.device, params.dtype)
    folder = context.scratch / FOLDER
    with disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / JOB, _job(function, context, params, inputs))
    _free_memory()
    events = Events(folder / "rank-0.jsonl")
    with ExitStack() as stack:
        launchers = _started(context, params.launch.machines, options, folder, stack)
        while (
            (codes := [each.exit_code for each in launchers]) and None in codes and not any(codes)
        ):
            _deliver(events, context)
            time.sleep(POLL_S)
    _deliver(events, context)
    if any(codes) or not events.done:
        raise failure(folder, params, events.progress)


def _started(
    context: Context, machines: int, options: list[str], folder: Path, stack: ExitStack
) -> list[Process]:
    """The launcher of each machine, this one first; they end with the stack."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    work = ["-m", WORKER, str(folder / JOB)]
    if machines == 1:
        log = folder / "launcher.log"
        own = ChildProcess([*launcher, *work], _environment(), log, grace_s=GRACE_S)
        return [stack.enter_context(own)]
    given = machines_of(context.services, machines)
    launcher += ["--main_process_ip", given.address]
    found: list[Process] = []
    for rank in range(machines):
        command = [*launcher, "--machine_rank", str(rank), *work]
        log = folder / f"launcher-{rank}.log"
        if rank == 0:
            made: Process = ChildProcess(command, _environment(), log, grace_s=GRACE_S)
        else:
            made = given.others[rank - 1].start(command, _environment(), log, GRACE_S)
        stack.callback(made.close)
        found.append(made)
    return found


def _job(
    function: Callable[..., None], context: Context, params: RunSettings, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    kind = type(params)
    return {
        "function": [function.__module__, function.__qualname__],
        "record": [kind.__module__, kind.__qualname__],
        "params": params.model_dump(mode="json"),
        "inputs": {name: _plain(value) for name, value in inputs.items()},
        "directory": str(context.directory),
        "scratch": str(context.scratch),
        "device": context.device,
    }


def _plain(value: Artifact | tuple[Artifact, ...] | None) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if value is None:
        return None
    return {
        "id": value.id,
        "path": str(value.path),
        "operation": value.operation,
        "params": value.params,
    }


def _environment() -> dict[str, str]:
    """Ranks import what this process does, and nothing from the folder that it is started in."""
    places = os.pathsep.join(str(Path(place).absolute()) for place in sys.path if place)
    return {**os.environ, "PYTHONPATH": places, "PYTHONSAFEPATH": "1"}


def _free_memory() -> None:
    """Ranks need the memory of the models that earlier stages left in this process."""
    from harness.models.checkpoints import forget_models

    forget_models()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Events:
    """The events that a rank has written to its file.

    Attributes:
        done: the last event was that of a finished operation.
        progress: updates done, and of the whole run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = False
        self.progress = (0, 0)
        self._read = 0

    def new(self) -> Iterator[tuple[str, Any]]:
        """Kind and value of complete events since the last call."""
        with suppress(FileNotFoundError), self.path.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                kind, value = json.loads(line)
                self.done = kind == "done"
                if kind == "progress":
                    self.progress = (value["done"], value["total"])
                yield kind, value


def _deliver(events: Events, context: Context) -> None:
    for kind, value in events.new():
        if kind in ("progress", "count"):
            getattr(context, kind)(**value)
        elif kind == "note":
            context.note(value)


def failure(folder: Path, params: RunSettings, progress: tuple[int, int]) -> CrucibleError:
    """The error for ranks that did not finish, from what they left in their folder.

    Args:
        progress: updates done, and of the whole run.
    """
    assert params.launch is not None
    raised = {int(p.stem.partition("-")[2]): _error_of(p) for p in folder.glob("rank-*.jsonl")}
    for found in raised.values():
        if found is not None and found[0]:  # the user's mistake, or the machine's
            return remade(*found)
    launchers = sorted(folder.glob("launcher*.log"))
    texts = [launcher.read_text(errors="replace") for launcher in launchers]
    failed = [(int(rank), int(status)) for t in texts for rank, status in _FAILED.findall(t)]
    # Others fail when a killed one leaves them, and are then terminated.
    killed = [one for one in failed if one[1] < 0 and one[1] != -signal.SIGTERM]
    said = [error for error in map(first_error, launchers) if error]
    what = said[0] if said else "accelerate launch ended"
    if failed:
        what = _what_happened(*(killed or failed)[-1], raised)
    done, total = progress
    where = f"after update {done} of {total}" if total else "before the first update"
    again = "starts it again"
    if params.save_steps is not None and done >= params.save_steps:
        again = "resumes from the newest checkpoint"
    return CrucibleError(
        f"training over {params.launch.processes} processes failed {where}: {what}; all ranks were "
        f"ended, their logs are {folder}/*.log; the same command {again}"
    )


def _what_happened(rank: int, status: int, raised: Mapping[int, tuple[str, str] | None]) -> str:
    found = raised.get(rank)
    if found is not None:
        return f"rank {rank}: {found[1]}"
    if status < 0:
        return f"rank {rank} was killed ({signal.Signals(-status).name})"
    return f"rank {rank} ended with exit status {status}"


def _error_of(path: Path) -> tuple[str, str] | None:
    """Name of a Crucible error, or "", and text of the error that a rank ended with."""
    events = list(Events(path).new())
    if events and events[-1][0] == "error":
        return events[-1][1]["kind"], events[-1][1]["text"]
    return None
