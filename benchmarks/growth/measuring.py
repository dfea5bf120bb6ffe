"""Time and memory of one piece of work at growing sizes, each in a process of its own.

A case prepares files of a size and returns the work on them. The process first does the same at the
smallest size, so that imports and caches are no part of the measurement. The garbage collector does
not walk what was made before; memory is the peak of the resident set above what is then in use.
"""

from __future__ import annotations

import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent
ROOT = BENCHMARKS.parent
FITTED = 0.1  # seconds of CPU; shorter runs are shown and not fitted: fixed costs decide them

Work = Callable[[], "Mapping[str, float] | None"]


@dataclass(frozen=True)
class Case:
    """One line of a table per size.

    Attributes:
        prepare: (size, empty folder) -> the work to measure, which may return further figures.
        sizes: in the unit `counts`.
        largest: a size to which the fit is extended in a further line; 0 for none.
    """

    prepare: Callable[[int, Path], Work]
    sizes: tuple[int, ...]
    counts: str
    largest: int = 0


@dataclass(frozen=True)
class Point:
    """Medians of the repeats at one size."""

    size: int
    cpu: float
    seconds: float
    mib: float
    more: Mapping[str, float]


def apart(work: Callable[[], Any]) -> None:
    """Do something in a process of its own, so that its memory is no part of this one's."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise SystemExit(f"preparation failed with exit code {status}")


def measure(case: Case, size: int, folder: Path) -> dict[str, Any]:
    """In this process: prepare, warm up, measure."""
    from peak_memory import measured

    places = [folder / "warm", folder / "measured"]
    for place in places:
        place.mkdir(parents=True)
    case.prepare(case.sizes[0], places[0])()
    work = case.prepare(size, places[1])
    gc.freeze()
    more, found = measured(work)
    return {**found, "mib": found["bytes"] / 2**20, "more": more or {}}


def in_children(part: str, name: str, size: int, repeats: int, root: Path | None) -> Point:
    """Medians over child processes."""
    found = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=root) as folder:
            found.append(child(part, "--child", name, str(size), folder))
    middle = {
        key: statistics.median(one[key] for one in found) for key in ("cpu", "seconds", "mib")
    }
    return Point(size, **middle, more=found[-1]["more"])


def child(*arguments: str) -> dict[str, Any]:
    """The JSON that this benchmark prints last, run with arguments."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, str(Path(__file__).parent), *arguments]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Slope of the least-squares line through the logarithms of (size, value).

    >>> round(exponent([(1, 3.0), (10, 300.0), (100, 30000.0)]), 9)
    2.0
    """
    logs = [(math.log(size), math.log(value)) for size, value in points]
    means = [statistics.mean(column) for column in zip(*logs, strict=True)]
    above = sum((x - means[0]) * (y - means[1]) for x, y in logs)
    return above / sum((x - means[0]) ** 2 for x, _ in logs)


def fit(points: Sequence[Point]) -> tuple[float | None, str]:
    """Exponent of the CPU time, and the sizes that count; None if fewer than two do."""
    fitted = [point for point in points if point.cpu >= FITTED]
    if len(fitted) < 2:
        return None, f"fewer than two sizes take {FITTED:g} s"
    found = exponent([(point.size, point.cpu) for point in fitted])
    return found, f"{fitted[0].size:,} to {fitted[-1].size:,}"


def report(part: str, cases: Mapping[str, Case], options: Any) -> None:
    """Print one table for a part as Markdown, line by line as the figures are known."""
    print("| what | size | CPU s | wall s | peak MiB | more | exponent |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, case in cases.items():
        if options.only and name not in options.only:
            continue
        sizes = options.sizes or case.sizes
        points = []
        for size in sizes:
            repeats = 1 if size == max(sizes) else options.repeats
            points.append(in_children(part, name, size, repeats, options.folder))
            told = _line(name, case, points[-1])
            if size != sizes[-1]:
                print(f"{told} | |", flush=True)
        slope, over = fit(points)
        print(f"{told} | {'—' if slope is None else f'{slope:.2f}'} ({over}) |", flush=True)
        if case.largest and slope is not None:
            seconds = points[-1].cpu * (case.largest / points[-1].size) ** slope
            where = f"{case.largest:,} {case.counts}"
            print(f"| {name} | {where} | {seconds:,.0f} | | | extrapolated | |", flush=True)


def _line(name: str, case: Case, point: Point) -> str:
    more = ", ".join(f"{key} {value:,.0f}" for key, value in point.more.items())
    figures = f"{point.cpu:.2f} | {point.seconds:.2f} | {point.mib:.0f}"
    return f"| {name} | {point.size:,} {case.counts} | {figures} | {more}"
