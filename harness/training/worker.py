"""One rank of a training: `python -m harness.training.worker JOB`, see `harness.training.launch`.

Runs the operation of a job. Rank 0 writes into the folder of the stage and reports; the others get
a folder of their own for what they write. All share the scratch folder, in which checkpoints lie.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from harness.core.errors import kind_of
from harness.core.records import parse
from harness.engine.calls import Services
from harness.engine.operations import Artifact


@dataclass
class RankContext:
    """Implementation of `harness.engine.operations.Context` whose calls become lines of a file."""

    directory: Path
    scratch: Path
    device: str
    events: Path
    services: Services = field(default_factory=Services)

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        self.send("progress", {"done": done, "total": total, "unit": unit})

    def count(self, **numbers: Any) -> None:
        self.send("count", numbers)

    def note(self, text: str) -> None:
        self.send("note", text)

    def send(self, kind: str, value: Any) -> None:
        """Append an event."""
        with self.events.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([kind, value]) + "\n")


def main(path: Path) -> int:
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    folder = path.parent
    log = os.open(folder / f"rank-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    job = json.loads(path.read_text(encoding="utf-8"))
    directory = Path(job["directory"]) if rank == 0 else folder / f"rank-{rank}"
    directory.mkdir(exist_ok=True)
    device = job["device"] if job["device"] == "cpu" else f"cuda:{local}"
    context = RankContext(directory, Path(job["scratch"]), device, folder / f"rank-{rank}.jsonl")
    try:
        _run(job, context)
    except BaseException as error:
        traceback.print_exc()
        known = kind_of(error)
        text = " ".join(str(error).split())[:500]
        context.send(
            "error", {"kind": known, "text": text if known else f"{type(error).__name__}: {text}"}
        )
        sys.stderr.flush()
        os._exit(1)  # other ranks may never come to where this one would wait for them
    context.send("done", None)
    return 0


def _run(job: dict[str, Any], context: RankContext) -> None:
    if context.device != "cpu":
        import torch

        torch.cuda.set_device(context.device)
    function = _named(*job["function"]).__wrapped__
    params = parse(_named(*job["record"]), job["params"], "job of the launch")
    inputs = {name: _artifact(value) for name, value in job["inputs"].items()}
    function(context, params, **inputs)
    import torch.distributed

    with suppress(Exception):  # the work is done
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _named(module: str, name: str) -> Any:
    return reduce(getattr, name.split("."), importlib.import_module(module))


def _artifact(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_artifact, value))
    return None if value is None else Artifact(**{**value, "path": Path(value["path"])})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
