"""Batch scripts for several nodes: Ray is started on each, the command is told, all end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import app
from harness.cli.slurm import script
from harness.engine import extras
from tests.cli.test_launch import checked, job, launched, program

JOINS = "print(2)"
NEVER = "print(1)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fakes of ray and srun, which write down their words and end when they are told to."""
    monkeypatch.chdir(tmp_path)
    note = "open('{}', 'a').write(json.dumps(sys.argv[1:]) + chr(10))\n"
    program(tmp_path, "ray", note.format("ray.txt") + "import time; time.sleep(600)")
    split = "at = [a.startswith('--') for a in sys.argv].index(False, 1)\n"
    program(
        tmp_path, "srun", note.format("srun.txt") + split + "os.execv(sys.argv[at], sys.argv[at:])"
    )
    program(tmp_path, "show", "print(json.dumps(sys.argv[1:]))")
    return tmp_path


def run(here: Path, joins: str, *words: str) -> subprocess.CompletedProcess[str]:
    counting = program(here, "counts", joins)
    text = script(
        job(str(here / "show"), *words, nodes=2, ray=str(here / "ray"), python=str(counting))
    )
    checked(text, here)
    text = text.replace("sleep 5\n", "").replace("seq 60", "seq 2")
    environ = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711"}
    return subprocess.run(["bash", "-c", text], env=environ, capture_output=True, text=True)


def written(here: Path, name: str) -> list[list[str]]:
    return [json.loads(line) for line in (here / f"{name}.txt").read_text().splitlines()]


def test_the_command_runs_on_a_cluster_of_all_nodes(here: Path) -> None:
    done = run(here, JOINS, "reproduce", "wrpo")
    assert done.returncode == 0, done.stderr
    words = json.loads(done.stdout.splitlines()[-1])
    assert words[:3] == ["reproduce", "wrpo", "--executor"]
    address = words[3].removeprefix("ray:")
    assert address.endswith(":24711")  # a port of the job's own
    head, other = written(here, "ray")
    assert head[:2] == ["start", "--head"]
    assert "--port=24711" in head
    assert other[:2] == ["start", f"--address={address}"]
    assert written(here, "srun")[0][:2] == ["--nodes=1", "--ntasks=1"]
    left = subprocess.run(["pgrep", "-f", f"{here}/ray"], capture_output=True, text=True)
    assert left.stdout == ""


def test_a_cluster_that_lacks_nodes_ends_the_job(here: Path) -> None:
    done = run(here, NEVER, "reproduce", "wrpo")
    assert done.returncode == 3
    assert "crucible: only 1 of 2 nodes joined the cluster at" in done.stderr


def test_a_script_asks_for_its_nodes(here: Path) -> None:
    text = launched("--nodes", "3", "--gpus", "8", "--", "reproduce", "target", "--scale", "small")
    assert "#SBATCH --nodes=3\n" in text
    assert f"python={sys.executable}\n" in text
    checked(text, here)
    assert "ray=" not in launched("--", "reproduce", "target")


def test_without_ray_several_nodes_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.setattr(extras, "missing", lambda wanted: list(wanted))
    done = CliRunner().invoke(app, ["launch", "slurm", "--nodes", "2", "reproduce", "target"])
    assert "pip install 'crucible-bench[ray]'" in str(done.exception)


def test_a_run_of_nano_models_asks_for_no_gpu(here: Path) -> None:
    assert "gpus-per-node" not in launched("--", "reproduce", "target")
    assert "#SBATCH --gpus-per-node=1" in launched("--", "reproduce", "target", "--scale", "small")
