"""Progress of a running plan, on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness.core.text import line, plain
from harness.engine.plan import Stage


@dataclass
class _Running:
    """A stage that runs, with its rows or steps; `first` is where its rate is counted from."""

    place: str
    label: str
    bar: TaskID
    started: float
    done: int = 0
    total: int = 0
    unit: str = ""
    first: tuple[int, float] | None = None
    notes: list[str] = field(default_factory=list)

    def count(self, done: int, total: int, unit: str, now: float) -> None:
        self.done, self.total, self.unit = done, total, unit
        if self.first is None:
            self.first = (done, now)

    def rate(self, now: float) -> float | None:
        """Units per second since the first count; None until a second has passed."""
        if self.first is None:
            return None
        made, seconds = self.done - self.first[0], now - self.first[1]
        return made / seconds if made and seconds > 1 else None

    def so_far(self, now: float) -> str:
        """The stage with its rows, rate and time left, as far as they are known."""
        parts = [duration(now - self.started)]
        if self.total:
            parts.insert(0, f"{self.done:,} of {self.total:,} {self.unit}".rstrip())
        if rate := self.rate(now):
            left = (self.total - self.done) / rate
            parts += [f"{rate:.1f}/s", f"about {duration(left)} left"]
        return f"{self.label}: {', '.join(parts)}"


class ProgressReporter:
    """Reports stages as they start and end.

    On a terminal: bars (stages, rows of each running stage), and one line per stage that took at
    least LISTED_S seconds or has notes. Elsewhere: a line at the start of each stage, every EVERY_S
    seconds a line with rate and time left, and one at the end of a stage that took LISTED_S.
    """

    LISTED_S = 1.0
    EVERY_S = 30.0

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<36.36}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._all: TaskID | None = None
        self._running: dict[str, _Running] = {}  # by stage id
        self._stopped = threading.Event()
        self._clock: threading.Thread | None = None

    def __enter__(self) -> ProgressReporter:
        self.bars.start()
        if not self.console.is_terminal and not self.console.quiet:
            self._clock = threading.Thread(target=self._tick, daemon=True)
            self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._clock is not None:
            self._clock.join()
        self.bars.stop()

    def begin(self, stage: Stage, number: int, total: int) -> None:
        if self._all is None:
            self._all = self.bars.add_task("all stages", total=total, unit="stages", rate="")
        bar = self.bars.add_task(stage.label, total=None, unit="", rate="")
        made = _Running(f"{number:>3}/{total}", line(stage.label, 80), bar, time.monotonic())
        self._running[stage.id] = made
        if not self.console.is_terminal:
            self._line(f"{made.place}  {made.label}  {stage.id[:10]}")

    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None:
        running = self._running.get(stage.id)
        if running is None:
            return
        now = time.monotonic()
        running.count(done, total, unit, now)
        rate = running.rate(now)
        said = "" if rate is None else f", {rate:.1f}/s"
        self.bars.update(running.bar, completed=done, total=total, unit=unit, rate=said)

    def note(self, stage: Stage, text: str) -> None:
        if stage.id in self._running:
            self._running[stage.id].notes.append(text)
        else:  # about the run, before its stages
            self._line(f"{plain(stage.label)}: {plain(text)}")

    def end(self, stage: Stage, seconds: float) -> None:
        running = self._running.pop(stage.id, None)
        if running is None:
            return
        self.bars.remove_task(running.bar)
        if self._all is not None:
            self.bars.advance(self._all)
        if seconds >= self.LISTED_S or (running.notes and self.console.is_terminal):
            self._end_line(stage, seconds, running.place)
        for text in running.notes:
            self.console.out(f"           note: {plain(text)}", highlight=False)

    def _end_line(self, stage: Stage, seconds: float, place: str) -> None:
        if not self.console.is_terminal:
            self._line(f"{place}  done in {duration(seconds)}")
            return
        self.console.print(
            f"  [dim]{place}[/dim]  {stage.label:<44.44} "
            f"[dim]{seconds:7.1f} s  {stage.id[:10]}[/dim]",
            highlight=False,
        )

    def _tick(self) -> None:
        while not self._stopped.wait(self.EVERY_S):
            for text in self.so_far(time.monotonic()):
                self._line(text)

    def so_far(self, now: float) -> list[str]:
        """A line for each running stage: rows, rate and time left, as far as they are known."""
        return [f"{one.place}  {one.so_far(now)}" for one in list(self._running.values())]

    def _line(self, text: str) -> None:
        self.console.out(f"  {text}", highlight=False)


def duration(seconds: float) -> str:
    """Seconds in a unit that a reader grasps.

    >>> duration(0.44), duration(75), duration(7260)
    ('0.4 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
