"""Batch scripts for Slurm: what they say, that they run, stop and are queued again; bad input."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.cli.slurm import TEMPLATE, Job, directive, script, seconds_of, signal_of
from harness.core.errors import BadRecord, CrucibleError, EnvironmentProblem, UserError
from tests.cli.test_messages import crucible

TARGET = ("reproduce", "target", "--limit", "6", "--suite", "alpaca_eval2")
ODD = (
    "two words",
    "it's",
    'say "so"',
    "$HOME and ${x}",
    "`id` $(id)",
    "a\nb\n\n#SBATCH --nodes=9",
    "back\\slash",
    "*?[a]",
    "{{ jinja }} {% if %}",
    "ünïcode",
    "",
    "-x",
    "!history;&|<>",
)


def launched(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["launch", "slurm", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def directives(text: str) -> dict[str, str]:
    """Option -> value of the #SBATCH lines."""
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if "#SBATCH" in line[:7]]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def job(*command: str, **more: object) -> Job:
    """A job that runs a program."""
    given = {"job_name": "x", "cpus": 1, "time": "10", "folder": "/", "log": "/x-%j.log"}
    return Job.model_validate({"command": command, **given, **more})


def program(folder: Path, name: str, text: str) -> Path:
    """An executable Python program."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport json, os, pathlib, signal, sys, time\n{text}\n")
    path.chmod(0o755)
    return path


def checked(text: str, folder: Path) -> None:
    """The script passes shellcheck where it is installed, and the shell's own parser anywhere."""
    path = folder / "checked.sh"
    path.write_text(text, encoding="utf-8")
    subprocess.run(["bash", "-n", path], check=True)
    beside = Path(sys.executable).with_name("shellcheck")
    found = str(beside) if beside.is_file() else shutil.which("shellcheck")
    if found:
        done = subprocess.run([found, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


# What the script says


def test_the_script_has_the_resources_and_the_command(here: Path) -> None:
    text = launched("--partition", "gpu", "--account", "lab-7", "--", *TARGET, "--scale", "nano")
    said = directives(text)
    assert said["--partition"] == "gpu"
    assert said["--account"] == "lab-7"
    assert said["--job-name"] == "crucible-reproduce-target"
    assert said["--time"] == "4:00:00"
    assert said["--chdir"] == str(here)
    assert said["--signal"] == "B:USR1@120"
    assert "--requeue" in said
    assert "--gpus-per-node" not in said  # nano
    assert shlex.join([*TARGET, "--scale", "nano"]) in text
    assert f"export CRUCIBLE_HOME={here / 'crucible-home'}" in text
    assert "export HF_HUB_OFFLINE=1" in text
    assert "HF_HUB_OFFLINE" not in launched("--online", *TARGET)
    checked(text, here)


def test_sizes_come_from_the_plan(here: Path) -> None:
    text = launched("reproduce", "wrpo", "--scale", "paper")
    said = directives(text)
    assert (said["--gpus-per-node"], said["--time"]) == ("1", "24:00:00")
    assert "hours of one A100-class GPU." in text
    assert "more than one GPU of 80 GiB has" in text
    assert "raise --requeues or --time" in text
    checked(text, here)
    small = launched("train", "dpo", "--out", "checkpoint", "--scale", "small")
    assert directives(small)["--time"] != "24:00:00"
    chosen = launched(
        "--gpus", "a100:2", "--time", "1-12", "--cpus", "3", "train", "dpo", "--out=x"
    )
    said = directives(chosen)
    assert (said["--gpus-per-node"], said["--time"], said["--cpus-per-task"]) == (
        "a100:2",
        "1-12",
        "3",
    )
    assert "Training takes one GPU today" in chosen
    assert "--gpus-per-node" not in directives(launched("store", "ls"))
    assert "--gpus-per-node" not in directives(launched("eval", "nano:target"))
    assert "--gpus-per-node" in directives(launched("--gpus", "1", "eval", "nano:target"))


def test_it_can_be_written_with_options_setup_and_a_folder_of_logs(here: Path) -> None:
    printed = launched(
        *("--out", "run.sh", "--logs", "logs of 100%", "--option=--qos=high", "--memory", "64G"),
        *("--setup", "module load cuda", "--signal", "USR2@60", "--store", "shared", "--", *TARGET),
    )
    assert printed == "script: run.sh\n"
    path = here / "run.sh"
    assert os.access(path, os.X_OK)
    text = path.read_text()
    said = directives(text)
    assert said["--qos"] == "high"
    assert said["--mem"] == "64G"
    assert said["--output"] == f'"{here}/logs of 100%%/%x-%j.log"'
    assert said["--signal"] == "B:USR2@60"
    assert (here / "logs of 100%").is_dir()
    assert "\nmodule load cuda\n" in text
    assert f"export CRUCIBLE_HOME={here / 'shared'}\n" in text
    assert "\ntrap stop_in_time USR2\n" in text
    checked(text, here)


def test_json_has_the_script(here: Path) -> None:
    found = json.loads(launched("--json", "--", *TARGET))
    assert found["script"].startswith("#!/bin/bash\n")
    assert (found["file"], found["job"]) == (None, None)
    assert found["log"].endswith("/crucible-reproduce-target-%j.log")


@pytest.mark.parametrize("word", ODD)
def test_odd_arguments_arrive_as_they_were_given(word: str, tmp_path: Path) -> None:
    show = program(tmp_path, "show", "print(json.dumps(sys.argv[1:]))")
    text = script(
        job(str(show), word, "last", environment={"ODD": word}, folder=str(tmp_path / "a 'b' \"c"))
    )
    checked(text, tmp_path)
    done = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [word, "last"]
    assert (
        sum(line.startswith("#SBATCH --nodes") for line in text.split("\nexport ")[0].splitlines())
        == 1
    )


def test_an_odd_command_line_is_quoted(here: Path) -> None:
    text = launched("--", *TARGET, "--tracker", "a\nb 'c' $d")
    assert shlex.quote("a\nb 'c' $d") in text
    origin = text.splitlines()[1]
    assert origin.startswith("# A run of Crucible under Slurm.")
    checked(text, here)


def test_values_of_directives_are_quoted_for_slurm() -> None:
    assert directive("/a/b c") == '"/a/b c"'
    assert directive('a"b\\c') == '"a\\"b\\\\c"'


# The script runs


def run(text: str, folder: Path, **env: str) -> subprocess.Popen[str]:
    path = folder / "job.sh"
    path.write_text(text, encoding="utf-8")
    return subprocess.Popen(
        ["bash", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **env},
    )


WAITS = """
def stop(number, frame):
    time.sleep(0.3)
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
pathlib.Path("began").write_text("")
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("sent", "restarts", "code", "queued"),
    [("USR1", "0", 0, True), ("USR1", "20", 130, False), ("TERM", "0", 130, False)],
)
def test_it_stops_cleanly_and_is_queued_again(
    sent: str, restarts: str, code: int, queued: bool, here: Path
) -> None:
    program(here, "waits", WAITS)
    program(here, "scontrol", "pathlib.Path('scontrol.json').write_text(json.dumps(sys.argv[1:]))")
    running = run(script(job("waits")), here, SLURM_JOB_ID="17", SLURM_RESTART_COUNT=restarts)
    for _ in range(200):
        if (here / "began").exists():
            break
        time.sleep(0.05)
    running.send_signal(getattr(signal, f"SIG{sent}"))
    out, err = running.communicate(timeout=30)
    assert running.returncode == code, err
    assert (here / "scontrol.json").exists() is queued
    if queued:
        assert json.loads((here / "scontrol.json").read_text()) == ["requeue", "17"]
    assert "job 17" in out


@pytest.mark.parametrize("code", [0, 2])
def test_an_ended_command_is_not_queued_again(code: int, here: Path) -> None:
    program(here, "ends", f"sys.exit({code})")
    program(here, "scontrol", "pathlib.Path('scontrol.json').write_text('')")
    running = run(script(job("ends")), here, SLURM_JOB_ID="17")
    running.communicate(timeout=30)
    assert running.returncode == code
    assert not (here / "scontrol.json").exists()


def test_a_run_is_launched_submitted_and_finished(here: Path) -> None:
    """The fake sbatch runs the script at once, with this interpreter's crucible."""
    program(
        here,
        "sbatch",
        "import subprocess\n"
        "done = subprocess.run(['bash'], stdin=sys.stdin, capture_output=True, text=True)\n"
        "pathlib.Path('said').write_text(done.stdout + done.stderr)\n"
        "assert sys.argv[1:] == ['--parsable']\nprint('4711;cluster')",
    )
    path = f"{here}:{os.environ['PATH']}"
    done = crucible("launch", "slurm", "--submit", "--", "suites", "--json", cwd=here, PATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "job: 4711\n"
    assert "alpaca_eval2" in (here / "said").read_text()


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command to launch; expected one such as"),
        (["--", "python", "x.py"], 'no command of crucible named "python"'),
        (["reprodcue", "wrpo"], 'did you mean "reproduce"?'),
        (["launch", "slurm", "doctor"], "is no job"),
        (["reproduce", "--help"], "is no job"),
        (["reproduce", "wrpp"], 'did you mean "wrpo"?'),
        (["reproduce", "wrpo", "--sedes", "3"], "--sedes"),
        (["reproduce"], "Missing argument"),
        (["--nodes", "2", "suites"], "--nodes is 2, but suites runs on one node"),
        (["--nodes", "2", *TARGET, "--executor", "ray"], "the script adds --executor itself"),
        (["--time", "1h", *TARGET], '--time is "1h"; expected minutes'),
        (["--time", "-5", *TARGET], '--time is "-5"'),
        (["--time", "0", *TARGET], '--time is "0"'),
        (["--time", "1:2:3:4", *TARGET], '--time is "1:2:3:4"'),
        (["--time", "1", *TARGET], "--signal is 120 seconds before a time limit of 60 seconds"),
        (["--signal", "KILL@9", *TARGET], '--signal is "KILL@9"; expected SECONDS'),
        (["--signal", "TERM@9", *TARGET], '--signal is "TERM@9"; expected SECONDS'),
        (["--signal", "soon", *TARGET], '--signal is "soon"'),
        (["--gpus", "many", *TARGET], "key \"gpus\" is 'many'; expected: a number of GPUs"),
        (["--memory", "lots", *TARGET], 'key "memory"'),
        (["--option", "qos=high", *TARGET], 'key "options"'),
        (["--job-name", "a/b", *TARGET], 'key "job_name"'),
        (["--partition", "a\nb", *TARGET], 'key "partition"'),
        (["--template", "absent.jinja", *TARGET], "cannot be read"),
        (["--submit", *TARGET], "sbatch is not on PATH"),
        (["--out", "absent/run.sh", *TARGET], "absent"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], message: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(here))
    done = CliRunner().invoke(app, ["launch", "slurm", *arguments], standalone_mode=False)
    assert done.exception is not None
    said = getattr(done.exception, "format_message", lambda: str(done.exception))()
    assert message in said
    assert "\n" not in said.strip()
    assert isinstance(done.exception, CrucibleError) or hasattr(done.exception, "exit_code")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("#!/bin/bash\n{{ nods }}\n", "'nods' is undefined; its variables are command, origin"),
        ("#!/bin/bash\n\n{% if gpus %}\n", "line 3"),
        ("#!/bin/bash\n{{ cpus | qoute }}\n", "line 2: No filter named 'qoute'"),
        ("#!/bin/bash\n{{ cpus.x.y }}\n", "has no attribute"),
        ("#!/bin/bash\n{{ 1 / (cpus - cpus) }}\n", "division by zero"),
        ("echo {{ cpus }}\n", "expected a script, whose first line is #!/bin/bash"),
    ],
)
def test_a_wrong_template_is_one_sentence(source: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my.jinja"
    path.write_text(source)
    with pytest.raises(BadRecord, match=r"template .*my\.jinja") as raised:
        script(job("x"), path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_template_is_printed_and_can_be_changed(here: Path) -> None:
    printed = launched("--print-template")
    assert printed == TEMPLATE.read_text()
    changed = printed.replace("#SBATCH --requeue\n", "#SBATCH --requeue\n#SBATCH --exclusive\n")
    (here / "mine.jinja").write_text(changed)
    text = launched("--template", "mine.jinja", *TARGET)
    assert "#SBATCH --exclusive\n" in text
    checked(text, here)


def test_an_sbatch_that_refuses_is_quoted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(here, "sbatch", "sys.exit('sbatch: error: invalid partition\\nBatch job failed')")
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    with pytest.raises(
        EnvironmentProblem, match=r"exit code 1\): sbatch: error: invalid partition B"
    ):
        launched("--submit", *TARGET)


def test_times_and_signals() -> None:
    assert seconds_of("30") == 1800
    assert seconds_of("30:15") == 1815
    assert seconds_of("1-0:30") == 88200
    assert signal_of("SIGUSR2@5") == ("USR2", 5)
    for wrong in ("", "1 day", "24:00:00:00", "1-", "-", "1.5", "１"):
        with pytest.raises(UserError, match="--time is"):
            seconds_of(wrong)
