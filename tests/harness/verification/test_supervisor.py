"""The supervisor of a jail by itself: verdicts that it counts, limits, what it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.verification import jail
from harness.verification.jail import Run, Stop, holds, listen, read_verdicts, remove, wait_for
from tests.harness.verification.children import in_child

LIMITS = {"memory_mb": 64, "output_kb": 1, "files": 3, "file_mb": 1, "wall_s": 5.0}


def made(isolation: str = "namespaces", **limits: Any) -> Run:
    run = Run({"isolation": isolation, "limits": {**LIMITS, **limits}, "temporary": "/tmp"})
    run.meter = SimpleNamespace(  # type: ignore[assignment]
        pause=lambda: 0.001, exceeded=lambda: False, close=lambda: None, group=None
    )
    return run


def counted(*lines: list[str], weights: tuple[int, ...] = (1, 2, 4)) -> tuple[dict[str, Any], str]:
    """The result of messages, and what was sent to the tester."""
    run, (read, write) = made(), os.pipe()
    given = {"code": "x" * 99, "weights": weights}
    try:
        read_verdicts(run, given, iter(lines), write)
    finally:
        os.close(write)
        with open(read, "rb") as stream:
            sent = stream.read().decode()
    assert sent in ("", json.dumps(given) + "\n")
    return run.result, sent


READY, PASSED, DONE = ["ready"], ["verdict", "passed"], ["done"]


def test_verdicts_count_the_tests_that_they_stand_for() -> None:
    first, second = ["verdict", "first"], ["verdict", "second"]
    found, sent = counted(READY, ["loaded"], PASSED, first, PASSED, DONE, ["setup", "later"])
    assert (found, sent != "") == ({"passed": 5, "reason": "first"}, True)
    assert counted(READY, first, second, PASSED, DONE)[0] == {"passed": 4, "reason": "first"}
    assert counted(READY, PASSED, PASSED, PASSED, DONE)[0] == {"passed": 7}


@pytest.mark.parametrize(
    ("lines", "stop"),
    [
        ([["setup", "why"]], ("setup", "why")),
        ([READY, ["setup", "late"]], ("setup", "late")),
        ([READY, ["not loaded", "raised"]], ("reason", "raised")),
        ([READY, ["loaded"], PASSED, ["forged"], PASSED], ("stopped", "forged")),
    ],
)
def test_messages_that_end_a_run(lines: list[list[str]], stop: tuple[str, str]) -> None:
    with pytest.raises(Stop) as caught:
        counted(*lines)
    assert caught.value.args == stop


def test_nothing_is_sent_to_a_tester_that_could_not_be_confined() -> None:
    read, write = os.pipe()
    with pytest.raises(Stop):
        read_verdicts(made(), {"weights": []}, iter([["setup", "no"]]), write)
    os.close(write)
    assert os.read(read, 9) == b""
    os.close(read)


class Line:
    """Pipes of verdicts and of printed output, and what `listen` yields of them."""

    def __init__(self, run: Run) -> None:
        self.verdicts, self.output = os.pipe(), os.pipe()
        self.open = {*self.verdicts, *self.output}
        self.found = listen(run, self.verdicts[0], self.output[0])

    def close(self, *descriptors: int) -> None:
        for descriptor in descriptors or tuple(self.open):
            os.close(descriptor)
            self.open.remove(descriptor)


@pytest.fixture
def line() -> Iterator[Line]:
    made_line = Line(made())
    yield made_line
    made_line.close()


def test_messages_are_lines_however_they_arrive(line: Line) -> None:
    os.write(line.verdicts[1], b'["ready"]\n["ver')
    assert next(line.found) == ["ready"]
    os.write(line.output[1], b"printed")
    line.close(line.output[1])  # an answer may close its output
    os.write(line.verdicts[1], b'dict","passed"]\n["done"]\n')
    assert [next(line.found), next(line.found)] == [["verdict", "passed"], ["done"]]
    line.close(line.verdicts[1])
    with pytest.raises(Stop) as caught:
        next(line.found)
    assert caught.value.args == ("stopped", "ended early")


def test_output_has_a_limit(line: Line) -> None:
    os.write(line.output[1], b"x" * 1024)
    os.write(line.verdicts[1], b'["ready"]\n')
    assert next(line.found) == ["ready"]
    os.write(line.output[1], b"x")
    with pytest.raises(Stop) as caught:
        next(line.found)
    assert caught.value.args == ("stopped", "output")


def test_memory_above_the_limit_stops_a_run(line: Line) -> None:
    run = made()
    run.meter.exceeded = lambda: True  # type: ignore[union-attr, method-assign]
    with pytest.raises(Stop) as caught:
        next(listen(run, line.verdicts[0], line.output[0]))
    assert caught.value.args == ("stopped", "memory")


def test_the_folder_of_a_run_is_looked_at_now_and_then(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, looks = made("Landlock"), []
    run.folder = str(tmp_path)

    def look(folder: str, files: int, size: int) -> bool:
        looks.append((time.monotonic(), folder, files, size))
        return len(looks) < 3

    monkeypatch.setattr(jail, "holds", look)
    began = time.monotonic()
    with pytest.raises(Stop) as caught:
        next(listen(run, line.verdicts[0], line.output[0]))
    assert caught.value.args == ("stopped", "files")
    assert {look[1:] for look in looks} == {(str(tmp_path), 3, 1 << 20)}
    times = [began, *(look[0] for look in looks)]
    assert min(after - before for before, after in pairwise(times)) >= 0.09


def test_number_and_size_of_files_have_limits(tmp_path: Path) -> None:
    folder = str(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 8192)
    (tmp_path / "gone").symlink_to("nowhere")
    size = os.lstat(tmp_path / "a" / "b" / "file").st_blocks * 512
    size += os.lstat(tmp_path / "gone").st_blocks * 512
    assert size >= 8192
    assert holds(folder, 4, size)
    assert not holds(folder, 3, size)
    assert not holds(folder, 4, size - 1)


def test_what_cannot_be_read_is_removed_too(tmp_path: Path) -> None:
    inner = tmp_path / "folder" / "closed"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (inner / "link").symlink_to(outside)
    for folder in (inner, tmp_path / "folder"):
        folder.chmod(0)
    remove(str(tmp_path / "folder"))
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").exists()


XCPU, LOST = signal.SIGXCPU, 3


@pytest.mark.parametrize(
    ("ended", "later", "code", "pauses"),
    [
        ([(7, 0)], [], 0, 0),
        ([(9, 0), (7, 0)], [], 0, 0),
        ([(9, XCPU), (7, 0)], [], 128 + XCPU, 0),
        ([(7, signal.SIGKILL)], [], 128 + signal.SIGKILL, 0),
        ([(7, 5 << 8)], [], 5, 0),
        ([(7, LOST << 8)], [(0, 0), (0, 0), (9, XCPU), (9, 0)], 128 + XCPU, 2),
        ([(7, LOST << 8)], [(9, signal.SIGSEGV)], LOST, 0),
        ([(9, 0), (7, LOST << 8)], [None], LOST, 0),
        ([(7, LOST << 8)], [None] * 100, LOST, 100),
    ],
)
def test_which_end_of_a_process_counts(
    ended: Any, later: Any, code: int, pauses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, looks, slept = iter(ended), iter(later), []

    def look(process: int, options: int) -> tuple[int, int]:
        assert (process, options) == (9, os.WNOHANG)
        found = next(looks)
        if found is None:
            raise ChildProcessError
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(os, "wait", lambda: next(waits))
    monkeypatch.setattr(os, "waitpid", look)
    monkeypatch.setattr(jail.time, "sleep", slept.append)
    assert wait_for(7, 9) == code
    assert slept == [0.005] * pauses


def child() -> int:
    """A process that waits until it is killed."""
    process = os.fork()
    if process == 0:
        time.sleep(300)
        os._exit(0)
    return process


def test_a_run_without_a_result_is_killed_and_waited_for() -> None:
    run = made()
    run.kill()  # there is nobody yet
    run.close()
    run.child = child()
    run.expire()
    run.close()
    assert (run.ended, run.result) == (-signal.SIGKILL, {"passed": 0, "stopped": "wall time"})
    with pytest.raises(ChildProcessError):
        os.waitpid(run.child, os.WNOHANG)
    run.kill()
    run.close()
    run.result["stopped"] = "memory"
    run.expire()
    assert run.result["stopped"] == "memory"


def test_a_run_that_ended_early_is_not_killed() -> None:
    run = made()
    run.child = os.fork()
    if run.child == 0:
        os._exit(7)
    run.result["stopped"] = "ended early"
    run.close()
    assert run.ended == 7


@pytest.mark.parametrize(
    ("group", "exceeded", "result", "found"),
    [
        ("g", True, {"stopped": "ended early"}, {"stopped": "memory"}),
        ("g", True, {"passed": 1}, {"passed": 1}),
        ("g", False, {"stopped": "output"}, {"stopped": "output"}),
        (None, True, {"stopped": "output"}, {"stopped": "output"}),
    ],
)
def test_a_kill_by_the_kernel_is_told(
    group: str | None, exceeded: bool, result: Any, found: Any, tmp_path: Path
) -> None:
    run, closed = made(), []
    run.meter = SimpleNamespace(  # type: ignore[assignment]
        group=group, exceeded=lambda: exceeded, close=lambda: closed.append(1)
    )
    run.result, run.folder = result, str(tmp_path / "own")
    (tmp_path / "own").mkdir()
    run.close()
    assert (run.result, closed) == (found, [1])
    assert list(tmp_path.iterdir()) == []


def test_an_orphaned_run_leaves_nothing(tmp_path: Path) -> None:
    def work(write: int) -> Any:
        run, ended = made(), []
        run.child, run.folder = child(), str(tmp_path / "own")
        os.mkdir(run.folder)
        leave = os._exit
        os._exit = ended.append  # type: ignore[assignment]
        run.orphaned()
        os._exit = leave
        ignored = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        return [run.ended, ended, ignored]

    assert in_child(work) == [-signal.SIGKILL, [1], True]
    assert list(tmp_path.iterdir()) == []


def test_without_namespaces_a_run_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jail, "hide", lambda: None)
    monkeypatch.setattr(jail, "be_init", lambda *_: os._exit(7))
    run = made("Landlock")
    run.request["temporary"] = str(tmp_path)
    for descriptor in run.start():
        os.close(descriptor)
    folder = Path(run.folder)
    assert (list(tmp_path.iterdir()), run.request["root"]) == ([folder], run.folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_supervisor_leaves_the_path_of_imports() -> None:
    code = "import sys; before = [*sys.path]; import harness.verification.jail; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code} sys.exit(sys.path != before)"],
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0


def test_a_supervisor_whose_caller_has_ended_starts_nothing(tmp_path: Path) -> None:
    """A request of another process than its parent, as after the end of that process."""
    request = {
        "caller": os.getppid(), "isolation": "Landlock", "temporary": str(tmp_path),
        "limits": LIMITS, "paths": [""],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-I", jail.__file__, json.dumps(request)],
        input='{"code": "", "tests": [], "weights": []}',
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (0, "", [])
