"""Progress bars of a running plan."""

from __future__ import annotations

import time

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

from harness.core.text import plain
from harness.engine.plan import Stage


class ProgressReporter:
    """Two bars on a terminal (stages, rows of the current stage), and one line per stage that took
    at least LISTED_S seconds or has notes, followed by its notes."""

    LISTED_S = 1.0

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
        self._current: TaskID | None = None
        self._number = self._total = 0
        self._first: tuple[int, float] | None = None
        self._notes: list[str] = []

    def __enter__(self) -> ProgressReporter:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def begin(self, stage: Stage, number: int, total: int) -> None:
        if self._all is None:
            self._all = self.bars.add_task("all stages", total=total, unit="stages", rate="")
        self._current = self.bars.add_task(stage.label, total=None, unit="", rate="")
        self._first, self._notes = None, []
        self._number, self._total = number, total

    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None:
        if self._current is None:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (done, now)
        made, seconds = done - self._first[0], now - self._first[1]
        rate = f", {made / seconds:.1f}/s" if made and seconds > 1 else ""
        self.bars.update(self._current, completed=done, total=total, unit=unit, rate=rate)

    def note(self, stage: Stage, text: str) -> None:
        if self._current is None:  # about the run, before its stages
            self.console.out(f"  {plain(stage.label)}: {plain(text)}", highlight=False)
        else:
            self._notes.append(text)

    def end(self, stage: Stage, seconds: float) -> None:
        if self._current is not None:
            self.bars.remove_task(self._current)
            self._current = None
        if self._all is not None:
            self.bars.advance(self._all)
        if seconds < self.LISTED_S and not self._notes:
            return
        self.console.print(
            f"  [dim]{self._number:>3}/{self._total}[/dim]  {stage.label:<44.44} "
            f"[dim]{seconds:7.1f} s  {stage.id[:10]}[/dim]",
            highlight=False,
        )
        for text in self._notes:
            self.console.out(f"           note: {plain(text)}", highlight=False)
