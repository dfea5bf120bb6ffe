"""What is printed while a plan runs."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from harness.cli.progress import ProgressReporter
from harness.engine.plan import Plan


def test_the_notes_of_a_stage_follow_its_line(tmp_path: Path) -> None:
    plan, out = Plan(), io.StringIO()
    handle = plan.stage("import_model", ref="nano:target")
    stage = plan.stages[handle.id]
    with ProgressReporter(Console(file=out, width=100)) as reporter:
        for notes in (["a [b] \x1b[31m long note " + "word " * 30], []):
            reporter.begin(stage, 1, 2)
            for text in notes:
                reporter.note(stage, text)
            reporter.end(stage, 0.1)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3  # one at the start of each stage; a quick one has none at its end
    assert handle.id[:10] in lines[0]
    assert lines[2] == lines[0]
    assert lines[1].startswith("           note: a [b] <U+001B>[31m long note word")
