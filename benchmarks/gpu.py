"""Every GPU figure in one command: rows in order of value, results written as they come.

Each row is measured in a child process with its share of the time; a row that fails, takes too
long or needs more than the machine has is a line with its reason. One JSON object per line is
added to the results file as soon as both sides of a comparison are known; at the end, the lines of
this run are printed as one JSON list and as a Markdown table for `gpu_results.md`.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --rows logprobs update --seconds 200
    python benchmarks/gpu.py --small                # every row on the CPU, tiny: does it work?

Needs torch 2.11, transformers 5.16, numpy and the light core. Without a GPU, prints what it would
run. Exit codes: 0 done, 1 nothing could be measured, 2 your input, 3 this machine, 130 stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from gpu_card import Card, devices, find_card, on_cpu, others, outdated
from gpu_measures import Measurement, Row
from gpu_rows import LIST, ROWS
from gpu_table import Line, markdown, plan, row_lines, text_of

from harness.core.errors import CrucibleError, EnvironmentProblem, UserError, unknown
from harness.engine.io import disk_errors, replace_file

CHILD = Path(__file__).with_name("gpu_rows.py")
VERSIONS = ("torch", "transformers", "numpy", "trl", "accelerate", "lm_eval", "mergekit")
STOPPED = 130
LEAST_SECONDS = 5  # no row starts with less


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        rows = chosen(options.rows)
        if options.small and (problem := outdated()):
            raise EnvironmentProblem(problem)
        card, reason = (on_cpu(), "") if options.small else find_card(ask_torch)
        if card is None:
            print(plan(rows, options.seconds, reason))
            return 0
        return carry_out(rows, card, options)
    except CrucibleError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--rows", nargs="+", metavar="NAME", help=f"of {', '.join(ROWS)}")
    made.add_argument("--seconds", type=seconds, default=480, help="for all rows (default: 480)")
    made.add_argument("--small", action="store_true", help="tiny sizes, on the CPU")
    made.add_argument("--out", type=Path, default=Path("gpu_results.jsonl"), help="results file")
    return made


def seconds(text: str) -> float:
    value = float(text)
    if not LEAST_SECONDS <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected at least {LEAST_SECONDS}, found {text}")
    return value


def chosen(names: Sequence[str] | None) -> list[Row]:
    """The named rows in order of value; names may also be joined by commas.

    Raises:
        UnknownName: with the nearest row.
    """
    wanted = [name.strip() for text in names or () for name in text.split(",") if name.strip()]
    if names and not wanted:
        raise UserError(f"--rows names no row; rows: {', '.join(ROWS)}")
    for name in wanted:
        if name not in ROWS:
            raise unknown("row", name, ROWS)
    return [row for row in LIST if not wanted or row.name in wanted]


def carry_out(rows: list[Row], card: Card, options: argparse.Namespace) -> int:
    """Measure, write and print all rows; returns the exit code."""
    shared = Line(
        row="",
        case="",
        against="",
        small=options.small,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        card=card.name,
        driver=card.driver,
        other_processes="" if options.small else others(card),
        versions=versions(),
    )
    say(f"{card.name}, at most {options.seconds:g} s; results: {options.out}")
    if shared.other_processes:
        say(f"figures may be wrong: {shared.other_processes}")
    lines: list[Line] = []
    code = 0
    with disk_errors(options.out), Results(options.out) as results:
        try:
            for line in measured_lines(rows, shared, options):
                results.add(line)
                lines.append(line)
                say(f"  {text_of(line)}")
        except KeyboardInterrupt:
            say("stopped; what was measured is kept")
            code = STOPPED
    print(json.dumps([line.model_dump() for line in lines]))
    print()
    print(markdown(lines))
    return code or int(all(line.ours is None for line in lines))


class Results:
    """A file of JSON lines that is replaced as a whole with every line; earlier lines are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = b""

    def __enter__(self) -> Results:
        if self.path.exists():
            whole = self.path.read_bytes()
            self._data = whole if whole.endswith(b"\n") or not whole else whole + b"\n"
        replace_file(self.path, self._data)  # notice now, not after the first row
        return self

    def __exit__(self, *_: object) -> None: ...

    def add(self, line: Line) -> None:
        self._data += json.dumps(line.model_dump()).encode() + b"\n"
        replace_file(self.path, self._data)


def measured_lines(rows: list[Row], shared: Line, options: argparse.Namespace) -> Iterator[Line]:
    end = time.monotonic() + options.seconds
    for place, row in enumerate(rows):
        left = end - time.monotonic()
        share = left * row.weight / sum(each.weight for each in rows[place:])
        if share < LEAST_SECONDS:
            reason = f"not run: of --seconds {options.seconds:g}, {max(left, 0):.0f} are left"
            yield from row_lines(row, {}, reason, shared)
            continue
        say(f"{row.name}: {row.title if not options.small else 'small sizes'} ({share:.0f} s)")
        yield from run_row(row, share, shared)


def run_row(row: Row, share: float, shared: Line) -> Iterator[Line]:
    """Run one row in a child process; yields its lines as they become known."""
    with tempfile.TemporaryDirectory(prefix=f"gpu-{row.name}-") as name:
        folder = Path(name)
        more = ["--row", row.name, "--scratch", str(folder), *["--small"] * shared.small]
        given: set[tuple[str, str]] = set()
        with Child(folder, more, cpu=shared.small) as child:
            end = time.monotonic() + share
            while True:
                running = child.running
                found = {(m.case, m.side): m for m in child.measurements()}
                for line in row_lines(row, found, "", shared):
                    if (line.case, line.against) not in given:
                        given.add((line.case, line.against))
                        yield line
                if not running:
                    reason = child.ending()
                    break
                if time.monotonic() > end:
                    reason = f"killed after {share:.0f} s, its share of the time"
                    break
                time.sleep(0.1)
        for line in row_lines(row, found, reason, shared):
            if (line.case, line.against) not in given:
                yield line


class Child:
    """A child process with its report, in a process group that is killed at the end."""

    def __init__(self, folder: Path, arguments: Sequence[str], *, cpu: bool) -> None:
        self.report, self.log = folder / "report.jsonl", folder / "log.txt"
        command = [sys.executable, str(CHILD), "--report", str(self.report), *arguments]
        silent = {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **silent, **devices(cpu)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def objects(self) -> list[dict[str, Any]]:
        """The whole lines of the report."""
        if not self.report.exists():
            return []
        whole = self.report.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def measurements(self) -> list[Measurement]:
        return [Measurement.model_validate(value) for value in self.objects()]

    def ending(self) -> str:
        """Why a finished process has reported no more."""
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            more = " (the machine may be out of memory)" if name == "SIGKILL" else ""
            return f"the process was ended by {name}{more}"
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["no message"]
        return f"the process ended with code {code}: {lines[-1]}"[:300]


def ask_torch() -> dict[str, Any]:
    """What torch says of the card, from a child: this process must not take memory on it."""
    with (
        tempfile.TemporaryDirectory(prefix="gpu-probe-") as name,
        Child(Path(name), ["--probe"], cpu=False) as child,
    ):
        try:
            child.process.wait(120)
        except subprocess.TimeoutExpired:
            return {"message": "torch gave no answer about the GPU within 120 s"}
        found = child.objects()
        return found[0] if found else {"message": child.ending()}


def versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
