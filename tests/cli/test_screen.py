"""What goes to stdout and what to stderr; options that every command has; completion."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from harness.cli import completion, noise, progress, screen
from harness.cli.main import app
from harness.engine.plan import Plan
from tests.cli.test_messages import crucible
from tests.few_boards import few_boards
from tests.hand_made import HandMade, arena_row

ROOT = Path(__file__).resolve().parents[2]


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    waiting: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", {})
        waiting += [(f"{name} {key}".strip(), value) for key, value in inner.items()]
        if not inner or name == "store":
            found[name] = command
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_has_the_common_options(name: str) -> None:
    flags = {flag for param in commands()[name].params for flag in param.opts}
    assert {"--store", "--json", "--quiet", "-q"} <= flags
    said = CliRunner().invoke(app, [*name.split(), "-h"], env={"COLUMNS": "140"})
    assert said.exit_code == 0
    assert "--store" in said.output


@pytest.fixture
def store(hand_made: HandMade, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A store with judged cells, and an empty current folder."""
    monkeypatch.chdir(tmp_path)
    few_boards(monkeypatch, tmp_path)
    rows = [arena_row(f"p{number}", ("A>B", "B>A")) for number in range(3)]
    hand_made.judged("judge_arena", "arena", rows, judge="gold", metric="gold")
    return hand_made.store.root


CELL = "target/arena_hard/gold"
JSON = [
    ["methods"],
    ["suites"],
    ["suites", "fusechat3"],
    ["models"],
    ["judges"],
    ["doctor"],
    ["store"],
    ["store", "ls"],
    ["store", "verify"],
    ["store", "gc", "--dry-run"],
    ["show"],
    ["show", CELL],
    ["board"],
    ["board", "wrpo-nano"],
    ["board", "--claims"],
    ["board", "wrpo-nano", "--check"],
    ["compare", "wrpo", "dpo", "--board", "wrpo-nano"],
    ["plan", "dpo", "--limit", "4", "--suite", "alpaca_eval2"],
    ["reproduce", "dpo", "--limit", "4", "--suite", "alpaca_eval2", "--dry-run"],
    ["train", "dpo", "--limit", "4", "--dry-run", "--out", "x"],
    ["eval", "nano:target", "--suite", "arena_hard", "--limit", "4", "--dry-run"],
    ["judge-agreement", CELL, CELL, "--rounds", "10"],
    ["new-method", "mine"],
]


@pytest.mark.parametrize("arguments", JSON, ids=" ".join)
def test_json_is_all_that_stdout_gets(arguments: list[str], store: Path) -> None:
    done = CliRunner().invoke(app, [*arguments, "--store", str(store), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert json.loads(done.stdout)


def test_quiet_leaves_stderr_empty_and_the_results(store: Path) -> None:
    arguments = ["eval", "nano:target", "--suite", "arena_hard", "--limit", "4", "--plan"]
    loud = CliRunner().invoke(app, arguments)
    quiet = CliRunner().invoke(app, [*arguments, "-q"])
    assert "planning an evaluation on arena_hard ... " in loud.stderr
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout != ""


def test_a_store_is_used_by_commands_that_do_not_open_one(
    hand_made: HandMade, tmp_path: Path
) -> None:
    board = hand_made.store.root / "boards" / "own"
    board.mkdir(parents=True)
    (board / "cells.jsonl").write_text("")
    done = CliRunner().invoke(app, ["board", "--store", str(hand_made.store.root)])
    assert str(board) in done.stdout.replace("\n", "")
    assert str(board) not in CliRunner().invoke(app, ["board"]).stdout.replace("\n", "")


def test_a_line_that_was_begun_is_ended_once(capsys: pytest.CaptureFixture[str]) -> None:
    screen.choose()
    screen.begin("planning")
    screen.say("7 stages")
    screen.begin("reading")
    screen.status().print("more")
    screen.end_line()
    assert capsys.readouterr().err == "planning ... 7 stages\nreading ... \nmore\n"
    screen.choose(quiet=True)
    screen.begin("planning")
    screen.say("7 stages")
    assert capsys.readouterr().err == ""
    screen.choose()


class Clock:
    """Time set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_a_line_says_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, out, plan = Clock(), io.StringIO(), Plan()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    handle = plan.stage("import_model", ref="nano:target", label="train target")
    stage = plan.stages[handle.id]
    reporter = progress.ProgressReporter(Console(file=out, width=40))
    reporter.begin(stage, 2, 7)
    assert out.getvalue() == f"    2/7  train target  {handle.id[:10]}\n"
    clock.now = 60.0
    assert reporter.so_far(clock.now) == ["  2/7  train target: 1 min 00 s"]
    reporter.progress(stage, 10, 110, "updates")
    clock.now = 80.0
    reporter.progress(stage, 30, 110, "updates")
    (said,) = reporter.so_far(clock.now)
    assert said.endswith("30 of 110 updates, 1 min 20 s, 1.0/s, about 1 min 20 s left")
    reporter.end(stage, 80.0)
    assert out.getvalue().endswith("    2/7  done in 1 min 20 s\n")


def test_stages_that_run_side_by_side_are_told_apart() -> None:
    out, plan = io.StringIO(), Plan()
    handles = [plan.stage("import_model", ref=f"nano:{n}", label=n) for n in ("target", "plain")]
    first, second = (plan.stages[handle.id] for handle in handles)
    reporter = progress.ProgressReporter(Console(file=out, width=40))
    reporter.begin(first, 1, 2)
    reporter.begin(second, 2, 2)
    reporter.progress(first, 1, 4, "rows")
    reporter.note(first, "of the first")
    said = [line.split(",")[0] for line in reporter.so_far(0.0)]
    assert said[0] == "  1/2  target: 1 of 4 rows"
    assert said[1].startswith("  2/2  plain: ")
    reporter.end(second, 2.0)
    assert out.getvalue().endswith("    2/2  done in 2.0 s\n")
    reporter.end(first, 3.0)
    assert out.getvalue().endswith("    1/2  done in 3.0 s\n           note: of the first\n")


def test_the_clock_prints_while_a_stage_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(progress.ProgressReporter, "EVERY_S", 0.02)
    out, plan = io.StringIO(), Plan()
    stage = plan.stages[plan.stage("import_model", ref="nano:target", label="slow").id]
    with progress.ProgressReporter(Console(file=out, width=100)) as reporter:
        reporter.begin(stage, 1, 1)
        until = time.monotonic() + 20
        while out.getvalue().count("slow: ") < 2 and time.monotonic() < until:
            time.sleep(0.01)
        reporter.end(stage, 0.1)
    lines = out.getvalue().splitlines()
    assert sum("1/1  slow: " in text for text in lines) >= 2
    assert not any("done in" in text for text in lines)  # it took less than a second


NOISY = """
import logging, sys, warnings
from harness.cli.noise import hush
hush()
warnings.warn("from a library")
logging.getLogger("some.library").warning("from a library's logger")
logging.getLogger("harness.somewhere").warning("ours,\\non two lines \\x1b[31m")
import os
print(os.environ["TQDM_DISABLE"], os.environ["TRANSFORMERS_VERBOSITY"])
"""


def test_libraries_are_silent_and_our_warnings_are_lines(tmp_path: Path) -> None:
    def run(**more: str) -> subprocess.CompletedProcess[str]:
        import os

        kept = {k: v for k, v in os.environ.items() if k not in noise.SETTINGS}
        return subprocess.run(
            [sys.executable, "-c", NOISY],
            capture_output=True,
            text=True,
            env={**kept, "PYTHONPATH": str(ROOT), **more},
        )

    quiet = run()
    assert quiet.stderr == "warning: ours, on two lines <U+001B>[31m\n"
    assert quiet.stdout == "1 error\n"
    loud = run(CRUCIBLE_WARNINGS="1", TQDM_DISABLE="0", TRANSFORMERS_VERBOSITY="info")
    assert "from a library" in loud.stderr
    assert run(TQDM_DISABLE="0").stdout == "0 error\n"  # a user's setting stays


def test_values_are_completed() -> None:
    assert "wrpo" in completion.methods("wr")
    assert completion.suites("mt_bench,arena_h")[0].startswith("mt_bench,arena_h")
    assert completion.scales("p") == ["paper"]
    assert "nano:target" in completion.models("nano:ta")
    assert "wrpo-nano" in completion.boards("wrpo")
    assert completion.methods("no such") == []


def test_the_shell_gets_completions() -> None:
    import os

    code = "from harness.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_CRUCIBLE_COMPLETE": "complete_bash",
            "_TYPER_COMPLETE_ARGS": "crucible reproduce wrp",
            "COMP_WORDS": "crucible reproduce wrp",
            "COMP_CWORD": "2",
        },
    )
    assert "wrpo" in done.stdout.split(), done.stdout + done.stderr


def test_a_run_prints_json_alone_and_its_stages_on_stderr(tmp_path: Path) -> None:
    """In a process of its own, as a script would run it: nothing of a library is printed."""
    done = crucible(
        *("eval", "nano:target", "--suite", "arena_hard", "--limit", "4", "--json"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["scores"]
    main = next(score for score in scores if score["primary"])
    assert main["interval"]["low"] <= main["value"] <= main["interval"]["high"]
    assert main["n_expected"] == 4
    lines = done.stderr.splitlines()
    assert lines[0].startswith("planning an evaluation on arena_hard ... ")
    stages = [text for text in lines if re.match(r" +\d+/\d+  ", text)]
    assert len(stages) >= 4
    known = ("planning ", "nano:target on ", " stages", "done in ", "note: ", " prompts only")
    assert all(text in stages or any(word in text for word in known) for text in lines), lines
