"""However a launch ends, no rank is left; errors of ranks are those of the operation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, CrucibleError, StoreProblem
from harness.engine.io import write_json
from harness.training.launch import Events, failure, over_processes
from harness.training.settings import LaunchSettings, RunSettings
from tests.tiny_models import FakeContext

TWO = RunSettings(learning_rate=1.0, launch=LaunchSettings(processes=2))
REPORT = """
Other Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : {others} (pid: 11)
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : {first} (pid: 12)
"""


class Interrupted(FakeContext):
    """Ctrl-C with the first report of progress."""

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        raise KeyboardInterrupt


@over_processes
def waits(context: Any, params: RunSettings) -> None:
    """Both ranks write their process ids; rank 0 reports once both have."""
    rank = os.environ["RANK"]
    (context.scratch / f"pid-{rank}.part").write_text(str(os.getpid()))
    (context.scratch / f"pid-{rank}.part").rename(context.scratch / f"pid-{rank}")
    while len(list(context.scratch.glob("pid-?"))) < 2:
        time.sleep(0.02)
    context.progress(1, 2, "updates")
    time.sleep(600)


@over_processes
def lacks(context: Any, params: RunSettings) -> None:
    """Rank 1 has no model, rank 0 waits for it."""
    if os.environ["RANK"] == "1":
        raise BadData("/models/m: there is no such model on this machine")
    time.sleep(600)


def made(kind: type[FakeContext], folder: Path) -> FakeContext:
    context = kind(folder / "out", folder / "scratch")
    context.directory.mkdir()
    context.scratch.mkdir()
    return context


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_ctrl_c_ends_every_rank(tmp_path: Path) -> None:
    context = made(Interrupted, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        waits(context, TWO)
    pids = [int(path.read_text()) for path in context.scratch.glob("pid-?")]
    assert len(pids) == 2
    assert not any(map(alive, pids))


def test_an_error_of_a_rank_is_that_of_the_stage(tmp_path: Path) -> None:
    context = made(FakeContext, tmp_path)
    with pytest.raises(BadData, match=r"^/models/m: there is no such model on this machine$"):
        lacks(context, TWO)
    assert "BadData" in (context.scratch / "ranks" / "rank-1.log").read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    context = FakeContext(tmp_path / "out", tmp_path / "scratch")
    context.scratch.write_text("a file")
    with pytest.raises(StoreProblem, match="scratch"):
        lacks(context, TWO)


def left(folder: Path, report: str, **events: list[Any]) -> CrucibleError:
    (folder / "launcher.log").write_text(report)
    for rank, event in events.items():
        (folder / f"{rank.replace('_', '-')}.jsonl").write_text(f"{event}\n".replace("'", '"'))
    return failure(folder, TWO, (0, 0))


def test_the_rank_that_failed_first_is_named(tmp_path: Path) -> None:
    lost = ["error", {"kind": "", "text": "RuntimeError: Connection reset by peer"}]
    died = ["error", {"kind": "", "text": "OSError: no space"}]
    after = (
        f"all ranks were ended, their logs are {tmp_path}/*.log; the same command starts it again"
    )
    start = "training over 2 processes failed before the first update: "
    found = left(tmp_path, REPORT.format(others=1, first=1), rank_0=lost, rank_1=died)
    assert str(found) == f"{start}rank 1: OSError: no space; {after}"
    found = left(tmp_path, REPORT.format(others=-9, first=1), rank_0=lost)
    assert str(found) == f"{start}rank 0: RuntimeError: Connection reset by peer; {after}"
    (tmp_path / "rank-0.jsonl").unlink()
    found = left(tmp_path, REPORT.format(others=-11, first=-15))
    assert str(found) == f"{start}rank 0 was killed (SIGSEGV); {after}"
    (tmp_path / "rank-1.jsonl").unlink()
    found = left(tmp_path, REPORT.format(others=-15, first=3))
    assert str(found) == f"{start}rank 1 ended with exit status 3; {after}"
    found = left(tmp_path, "RuntimeError: The server socket has failed: port 29500 in use\n")
    assert "The server socket has failed: port 29500 in use" in str(found)
    assert left(tmp_path, "").exit_code == 1


def test_half_an_event_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path, events = tmp_path / "rank-0.jsonl", Events(tmp_path / "rank-0.jsonl")
    assert list(events.new()) == []
    path.write_text('["note", "a"]\n["progress", {"done": 1,')
    assert list(events.new()) == [("note", "a")]
    with path.open("a") as stream:
        stream.write(' "total": 3, "unit": "updates"}]\n["done", null]\n')
    assert [kind for kind, _ in events.new()] == ["progress", "done"]
    assert events.progress == (1, 3)
    assert events.done


def test_only_saving_is_left_to_this_process(tmp_path: Path) -> None:
    """An attempt that trained to the end is saved without a launch."""
    context = made(FakeContext, tmp_path)
    from harness.engine.integrity import list_files

    kept = context.scratch / "trained"
    kept.mkdir()
    write_json(kept / "training_log.json", {})
    list_files(kept, kept / "files.json")
    seen = []
    over_processes(lambda context, params: seen.append(params.launch))(context, TWO)
    assert seen == [None]
