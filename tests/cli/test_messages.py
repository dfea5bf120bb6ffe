"""Bad input at the command line: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.in_process import crucible_here


def crucible(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", "CRUCIBLE_HOME": str(cwd / "home"), **env},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "wrpp"], 'no method named "wrpp"; did you mean "wrpo"? (crucible methods)'),
        (["reproduce", "wrpo", "--scale", "nanno"], 'did you mean "nano"?'),
        (["reproduce", "wrpo", "--suite", "arena_hrd"], 'did you mean "arena_hard"?'),
        (["eval", "nano:target", "--suite", "mt_bnch"], 'did you mean "mt_bench"?'),
        (["eval", "nano:target", "--suite", "lm_nano", "--judge", "x"], "omit --judge"),
        (["eval", "nano:tarjet"], 'did you mean "target"?'),
        (["eval", "no-such-folder"], 'no model "no-such-folder"'),
        (["eval", "nano:target", "--judge", "nano:orakle"], 'did you mean "nano:oracle"?'),
        (
            ["eval", "x", "--suite", "mt_bench", "--suite", "lm_nano"],
            "given 2 times; expected once",
        ),
        (["eval", "x", "--judge", "a", "--judge", "b"], "'--judge': given 2 times"),
        (["plan", "wrpo", "--set", "train.betta=1"], 'unknown key "train.betta"'),
        (["plan", "wrpo", "--set", "trian.beta=1"], 'did you mean "train"?'),
        (["plan", "wrpo", "--set", "seed=many"], "key \"seed\" is 'many'"),
        (["plan", "wrpo", "--fit", "8xA100"], '"8xA100" does not name GPUs; expected their number'),
        (["plan", "wrpo", "--fit", "0x80GB"], '"0x80GB" names no GPUs that exist'),
        (["plan", "wrpo", "--set", "train.lora.rank=0"], 'key "train.lora.rank"'),
        (["plan", "wrpo", "--set", "train.lora.target=x"], 'did you mean "targets"?'),
        (["plan", "wrpo", "--set", "seed"], '--set expects "key=value"'),
        (["board", "nothing"], 'no board named "nothing"'),
        (["board", "wrpo-nano", "--format", "pdf"], 'no format named "pdf"'),
        (["show", "123"], "no artifact"),
        (["new-method", "Not A Name"], "cannot name a method"),
        (["new-method", "wrpo"], 'a method "wrpo" exists already'),
        (["reprodcue"], "Did you mean 'reproduce'?"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_two(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = crucible_here(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "store.json"]
    assert left == []


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "store.json").write_text('{"format": 2}')
    done = crucible("reproduce", "wrpo", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "format 2, this version reads up to 1" in done.stderr


def test_help_teaches_and_version_prints(tmp_path: Path) -> None:
    assert "crucible reproduce wrpo" in crucible("--help", cwd=tmp_path).stdout
    assert crucible("--version", cwd=tmp_path).stdout.startswith("crucible ")
    listed = crucible("methods", cwd=tmp_path).stdout
    assert all(name in listed for name in ("wrpo", "ln_dpo", "arXiv 2412.03187"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_that_the_same_command_resumes(
    number: signal.Signals, tmp_path: Path
) -> None:
    code = (
        "import os\nfrom harness.engine.run import InlineExecutor\n"
        f"InlineExecutor.execute = lambda *_: os.kill(os.getpid(), {int(number)})\n"
        "from harness.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "reproduce", "dpo", "--limit", "4"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    assert "finished work is kept, the same command resumes" in done.stderr
    assert "Traceback" not in done.stderr
