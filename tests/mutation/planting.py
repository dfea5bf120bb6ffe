"""Run tests against planted faults, each in a forked process.

    python -m tests.mutation.planting JOB.json     # in a copy of the repository

The tests are run once without a fault, which records the tests that execute each line of the
modules. Then each fault is written into the copy and meets the tests of its line, the quickest
first, up to the first failure. Libraries are imported once, before the processes are forked.

A job has `modules` (name -> file), `tests`, `faults` (module, line, source), `patience` (times as
long as without a fault that tests may take) and `folder`. Each result is one line of JSON. Limits
are on processor time, so that other load on the machine decides nothing; that on real time is
generous, for what waits without working.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.mutation.covering import LEFT_OUT, PROGRAMS

ALWAYS = "*"  # lines that are executed outside of a single test: imports, shared fixtures
GRACE, WAIT = 20, 300  # seconds of processor and of real time that come on top of the tests
MEMORY, FILE = 24 << 30, 1 << 30  # limits on a process, in bytes: a fault may ask for anything
# A browser does not start within the limits of a run.
OPTIONS = [
    "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", "-W", "ignore",
    "-m", "not browser", *(f"--deselect={test}" for test in LEFT_OUT),
]  # fmt: skip
_running: set[int] = set()  # processes that this one forked


class Recorder:
    """Lines of the modules per test, and the seconds of each test."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files
        self.test = ALWAYS
        self.lines: dict[str, dict[int, set[str]]] = {
            module: defaultdict(set) for module in files.values()
        }
        self.seconds: dict[str, tuple[float, float]] = {}  # of real and of processor time

    def trace(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        module = self.files.get(frame.f_code.co_filename)
        if module is None:
            return None
        lines = self.lines[module]

        def each(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
            lines[frame.f_lineno].add(self.test)
            return each

        return each(frame, event, arg)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.test, began, worked = item.nodeid, time.perf_counter(), time.process_time()
        result = yield
        spent = (time.perf_counter() - began, time.process_time() - worked)
        self.seconds[item.nodeid] = spent
        self.test = ALWAYS
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        test = self.test
        if fixturedef.scope != "function":
            self.test = ALWAYS
        try:
            return (yield)
        finally:
            self.test = test


def forked(work: Callable[[], int], log: Path, cpu: int, limit: float) -> tuple[str, float]:
    """Do work in a process of its own: "exit N" or "timeout", and its seconds.

    Args:
        cpu, limit: seconds of processor and of real time that it may take.
    """
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            output = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(output, stream)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _running.add(child)
    try:
        return _waited(child, began, limit)
    finally:
        _running.discard(child)


def _waited(child: int, began: float, limit: float) -> tuple[str, float]:
    while time.perf_counter() - began < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _kill(child)
            code = os.waitstatus_to_exitcode(status)
            outcome = "timeout" if code in (-signal.SIGXCPU, -signal.SIGKILL) else f"exit {code}"
            return outcome, time.perf_counter() - began
        time.sleep(0.02)
    _kill(child)
    os.waitpid(child, 0)
    return "timeout", limit


def end_with_parent(folder: Path) -> None:
    """When the other end of standard input closes, as it does with the process that has it, end.

    Forked processes and the folder go as well, whatever ended the parent.
    """

    def ended() -> None:
        os.read(0, 1)
        shutil.rmtree(folder, ignore_errors=True)  # while the main thread waits for the child
        for child in tuple(_running):
            _kill(child)
        shutil.rmtree(folder, ignore_errors=True)  # what the child made meanwhile
        os._exit(1)

    threading.Thread(target=ended, daemon=True).start()


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def record(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the tests without a fault; what they executed."""
    made = folder / "record.json"

    def work() -> int:
        recorder = Recorder({f: m for m, f in job["modules"].items()})
        threading.settrace(recorder.trace)
        sys.settrace(recorder.trace)
        code = int(pytest.main([*OPTIONS, *job["tests"]], plugins=[recorder]))
        sys.settrace(None)
        lines = {m: {n: sorted(t) for n, t in ls.items()} for m, ls in recorder.lines.items()}
        own = ("harness", "methods", "leaderboards", "tests", "conftest", "__main__")
        loaded = [name for name in sys.modules if name.split(".")[0] not in own]
        report = {"lines": lines, "seconds": recorder.seconds, "loaded": loaded}
        made.write_text(json.dumps(report), encoding="utf-8")
        return code

    outcome, _ = forked(work, folder / "record.log", 7200, 7200)
    if outcome != "exit 0":
        text = (folder / "record.log").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"the tests fail without a fault ({outcome}):\n{text[-3000:]}")
    found: dict[str, Any] = json.loads(made.read_text(encoding="utf-8"))
    return found


def chosen(recorded: dict[str, Any], module: str, line: int) -> list[str]:
    """The tests that execute a line, the quickest first; all where it is not known."""
    seconds = recorded["seconds"]
    tests = recorded["lines"][module].get(str(line), [])
    if module in PROGRAMS:
        tests = list(seconds)
    elif not tests or ALWAYS in tests:
        # Files whose tests execute lines of the module: checks of a record's fields execute none.
        touched = {
            t.partition("::")[0] for found in recorded["lines"][module].values() for t in found
        }
        tests = [test for test in seconds if test.partition("::")[0] in touched] or list(seconds)
    return sorted(tests, key=lambda test: tuple(seconds[test])[::-1])


def say(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path(job["folder"])
    end_with_parent(folder)
    recorded = record(job, folder)
    for name in recorded["loaded"]:
        try:
            import_module(name)
        except BaseException:
            continue
    executed = {m: sorted(int(n) for n in lines) for m, lines in recorded["lines"].items()}
    total = sum(worked for _, worked in recorded["seconds"].values())
    say({"tests": len(recorded["seconds"]), "seconds": total, "executed": executed})
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for number, fault in enumerate(job["faults"]):
        tests = chosen(recorded, fault["module"], fault["line"])
        outcome, seconds = plant(job, fault, tests, recorded["seconds"], folder)
        say({"fault": number, "outcome": outcome, "seconds": seconds})


def plant(
    job: dict[str, Any],
    fault: dict[str, Any],
    tests: list[str],
    seconds: dict[str, tuple[float, float]],
    folder: Path,
) -> tuple[str, float]:
    """Run tests against one fault: its outcome and seconds."""
    path = Path(job["modules"][fault["module"]])
    sound = path.read_bytes()
    path.write_text(fault["source"], encoding="utf-8")
    _forget_compiled(path)
    real, worked = (job["patience"] * sum(seconds[test][n] for test in tests) for n in (0, 1))

    def work() -> int:
        return int(pytest.main([*OPTIONS, "-x", f"--basetemp={folder / 'pytest'}", *tests]))

    try:
        return forked(work, folder / "fault.log", GRACE + int(worked), WAIT + real)
    finally:
        path.write_bytes(sound)
        _forget_compiled(path)  # by programs that tests started


def _forget_compiled(path: Path) -> None:
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


if __name__ == "__main__":
    main()
