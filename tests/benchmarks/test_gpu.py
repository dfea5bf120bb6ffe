"""benchmarks/gpu.py: every row at small sizes, and what it says where something is lacking."""

from __future__ import annotations

import argparse
import doctest
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("gpu", "gpu_card", "gpu_measures", "gpu_rows", "gpu_table", "peak_memory")
    return {name: importlib.import_module(name) for name in names}


@pytest.fixture
def gpu(modules: dict[str, ModuleType]) -> Any:
    return modules["gpu"]


@pytest.fixture
def card(modules: dict[str, ModuleType]) -> Any:
    return modules["gpu_card"]


@pytest.fixture
def rows(modules: dict[str, ModuleType]) -> Any:
    return modules["gpu_rows"]


@pytest.fixture
def table(modules: dict[str, ModuleType]) -> Any:
    return modules["gpu_table"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER / "gpu.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.mark.slow
def test_every_row_runs_at_small_sizes_on_the_cpu(table: Any, rows: Any, tmp_path: Path) -> None:
    out, before = tmp_path / "results.jsonl", resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time on the clock depends on what else runs here: a generous limit, and a strict one of work.
    done = command("--small", "--seconds", "1800", "--out", str(out))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 200
    listed, _, text = done.stdout.partition("\n")
    lines = json.loads(listed)
    assert lines == [json.loads(line) for line in out.read_text().splitlines()]
    keys = [(line["row"], line["case"], line["against"]) for line in lines]
    expected = [(u.row, u.case, u.against) for u in table.unmeasured(rows.LIST)]
    assert sorted(keys) == sorted(expected)
    for line in lines:
        if "not installed" in line["reason"]:
            continue
        assert line["reason"] == "", line
        assert line["ours"] > 0
        assert line["peer"] is None if line["against"] == "" else line["ratio"] > 0
        assert line["small"]
        assert line["versions"]["torch"]
        assert f"| {line['against'] or '(no peer)'} |" in text
        if line["row"] == "generation":
            assert line["agreement"] == "6 of 6 equal"
        if line["row"] == "reproduce":
            verdicts, of_cpu = line["outcomes"]
            assert verdicts == of_cpu
            assert verdicts
            assert line["agreement"] == f"{len(verdicts)} of {len(verdicts)} equal"
        limits = {"logprobs": 0.01, "update": 0.001, "fusion": 0.01, "processes": 1e-6}
        for name, limit in limits.items():
            if line["row"] == name and line["against"] != "all weights":
                ours, peer = line["outcomes"]
                assert ours == pytest.approx(peer, rel=limit)


@pytest.mark.slow
def test_without_a_card_the_command_says_what_it_would_run(tmp_path: Path) -> None:
    done = command("--rows", "fusion,logprobs", "--out", str(tmp_path / "results.jsonl"))
    assert done.returncode == 0, done.stderr
    assert "No GPU" in done.stdout
    assert done.stdout.index("| logprobs |") < done.stdout.index("| fusion |")
    assert "dense 24 GiB" in done.stdout
    assert "| update |" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_row_is_answered_with_the_nearest(
    gpu: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(["--rows", "logprob"]) == 2
    assert 'did you mean "logprobs"?' in capsys.readouterr().err
    assert gpu.main(["--rows", ","]) == 2
    with pytest.raises(SystemExit):
        gpu.main(["--seconds", "nan"])


OLD = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."


def test_a_driver_too_old_for_torch_is_one_sentence(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "ask_torch", lambda: {"message": OLD, "build": "13.0"})
    assert gpu.main([]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "supports CUDA 11.4, but torch was built for CUDA 13.0" in said


def fake_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, apps: str, used: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(
        f"""#!/bin/sh
case "$1" in
--query-gpu=uuid,name,driver_version) echo "GPU-1, Card One, 1.2"; echo "GPU-2, Card Two, 3.4" ;;
--query-gpu=uuid,memory.used) echo "GPU-1, 0"; echo "GPU-2, {used}" ;;
*) printf '{apps}' ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_driver_and_other_processes_are_those_of_the_card_in_use(
    card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_smi(tmp_path, monkeypatch, "GPU-1, 7, python, 100\\nGPU-2, 8, trainer, 900\\n")
    found, _ = card.find_card(lambda: {"name": "Two", "uuid": "2", "total": 80 << 30})
    assert (found.name, found.driver) == ("Two, 80 GiB", "3.4")
    assert card.others(found) == "other processes use this card: trainer (8, 900 MiB)"
    fake_smi(tmp_path, monkeypatch, "", used=5000)
    assert card.others(found).startswith("5000 MiB of this card are in use")
    fake_smi(tmp_path, monkeypatch, "")
    assert card.others(found) == ""


def test_a_card_that_torch_does_not_see_is_a_problem_of_the_machine(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_smi(tmp_path, monkeypatch, "")
    monkeypatch.setattr(gpu, "ask_torch", lambda: {"message": "", "build": ""})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.main([]) == 3
    assert "it is built without CUDA" in capsys.readouterr().err
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.main([]) == 0


def test_torch_or_transformers_too_old_is_one_sentence(
    gpu: Any, card: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(card.metadata, "version", lambda name: "2.9.1+cu128")
    assert gpu.main(["--small"]) == 3
    assert "torch 2.9.1+cu128 is installed; expected 2.11 or newer" in capsys.readouterr().err


def test_what_a_side_lacks_is_said_by_name_and_in_gib(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (20 << 30, 24 << 30))
    row = rows.ROWS["logprobs"]
    job = rows.Job("", "dense", (), "cuda", tmp_path)
    large = rows.absent(row, rows.Side("dense", 24), job)
    assert large == "skipped: needs about 24 GiB of GPU memory, 20.0 GiB are free"
    assert rows.absent(row, rows.Side("ours", 5), job) == ""
    lacking = rows.absent(row, rows.Side("x", 5, ("no_such_module", "json")), job)
    assert lacking == "skipped: no_such_module not installed"


def test_running_out_of_memory_is_a_line_and_does_not_stop_the_row(
    rows: Any, tmp_path: Path
) -> None:
    import dataclasses

    import torch

    def full(job: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")

    row = dataclasses.replace(rows.ROWS["logprobs"], measure=full)
    made = rows.attempt(row, rows.Job("", "dense", (), "cpu", tmp_path), rows.Side("dense", 24))
    assert made.seconds is None
    assert made.reason.startswith("out of memory (expected to need about 24 GiB): CUDA out")
    row = dataclasses.replace(row, measure=lambda job: {"seconds": float("nan")})
    made = rows.attempt(row, rows.Job("", "dense", (), "cpu", tmp_path), rows.Side("dense", 24))
    assert 'key "seconds" is nan' in made.reason


CHILD = """
import json, os, signal, subprocess, sys, time
report = sys.argv[sys.argv.index("--report") + 1]
def side(name):
    with open(report, "a") as stream:
        stream.write(json.dumps({"case": "", "side": name, "seconds": 2.0}) + "\\n")
side("ours"); side("dense")
"""


def lines_of(gpu: Any, table: Any, folder: Path, ending: str, share: float = 60) -> list[Any]:
    """The lines of the first row, with a child that reports two sides and then does `ending`."""
    gpu.CHILD = folder / "child.py"
    gpu.CHILD.write_text(CHILD + ending)
    shared = table.EMPTY.model_copy(update={"small": True})
    return list(gpu.run_row(gpu.LIST[0], share, shared))


@pytest.fixture
def restored(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "CHILD", gpu.CHILD)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (the machine may be out of memory)"),
        ("sys.exit('no kernel image')", "the process ended with code 1: no kernel image"),
    ],
)
def test_a_crash_keeps_what_was_measured_and_is_the_reason_of_the_rest(
    gpu: Any, table: Any, tmp_path: Path, ending: str, reason: str
) -> None:
    dense, trl = lines_of(gpu, table, tmp_path, ending)
    assert (dense.against, dense.ratio, dense.reason) == ("dense", 1.0, "")
    assert trl.ours == 2.0
    assert trl.reason.startswith("trl: ")
    assert reason in trl.reason


@pytest.mark.usefixtures("restored")
def test_a_row_that_exceeds_its_share_is_killed_with_its_children(
    gpu: Any, table: Any, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    ending = f"""
child = subprocess.Popen(["sleep", "600"])
open({str(pid)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    start = time.monotonic()
    _, trl = lines_of(gpu, table, tmp_path, ending, share=5)
    assert time.monotonic() - start < 60
    assert trl.reason == "trl: killed after 5 s, its share of the time"
    for _ in range(100):
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{pid.read_text()}/stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    pytest.fail("the grandchild still runs")


@pytest.mark.usefixtures("restored")
def test_results_are_written_as_they_come_after_those_of_earlier_runs(
    gpu: Any,
    table: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "results.jsonl"
    out.write_text('{"earlier": 1}')  # without the end of its line
    line = table.EMPTY.model_copy(update={"row": "logprobs", "against": "dense", "ours": 1.0})

    def stopped(*_: object) -> Any:
        yield line
        assert len(out.read_text().splitlines()) == 2
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(gpu, "measured_lines", stopped)
    assert gpu.main(["--small", "--out", str(out)]) == 130
    assert json.loads(out.read_text().splitlines()[0]) == {"earlier": 1}
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[0])[0]["ours"] == 1.0
    assert "| logprobs | dense | 1 s |" in printed


def test_a_row_without_time_is_said_and_not_started(gpu: Any, table: Any) -> None:
    options = argparse.Namespace(seconds=1.0, small=True)
    lines = list(gpu.measured_lines(gpu.LIST, table.EMPTY, options))
    assert len(lines) == len(table.unmeasured(gpu.LIST))
    assert lines[0].reason == "not run: of --seconds 1, 1 are left"


def test_the_committed_table_lists_every_comparison(table: Any, rows: Any) -> None:
    committed = (FOLDER / "gpu_results.md").read_text()
    for line in table.markdown(table.unmeasured(rows.LIST)).splitlines():
        cells = line.split(" | ")
        assert any(each.split(" | ")[:2] == cells[:2] for each in committed.splitlines()), line


def test_examples_in_docstrings(modules: dict[str, ModuleType]) -> None:
    assert [doctest.testmod(module).failed for module in modules.values()] == [0] * len(modules)


def test_a_section_is_measured_in_passes(modules: dict[str, ModuleType]) -> None:
    calls: list[str] = []
    result, taken = modules["peak_memory"].measured(
        lambda: calls.append("work") or len(calls),
        passes=2,
        before=lambda: calls.append("before"),
    )
    assert calls == ["before", "work"] * 2
    assert result == 4
    assert taken["seconds"] >= 0
    assert taken["bytes"] >= 0
