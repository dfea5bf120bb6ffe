"""The benchmark of growth at small sizes: every part, and every stage of WRPO, has its lines."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
GROWTH = ROOT / "benchmarks" / "growth"
PARTS = {
    "engine": ("1000", "64 per batch, resumed"),
    "boards": ("10", "html page"),
    "pages": ("200", "pages written"),
    "alignment": ("1000", "documents, warping"),
    "teachers": ("10000", "mapped"),
    "candidates": ("200", "candidate_table"),
}


def printed(*arguments: str) -> list[list[str]]:
    """The lines of the table, without its head."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(GROWTH), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()
    ][2:]


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("measuring", GROWTH / "measuring.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "measuring", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_a_line_per_size(part: str) -> None:
    size, name = PARTS[part]
    (line,) = printed(part, "--sizes", size, "--repeats", "1", "--only", name)
    assert line[0] == name
    assert line[1].startswith(f"{int(size):,} ")
    assert float(line[3]) >= float(line[2]) - 0.05  # a core at most


@pytest.mark.slow
def test_the_stages_of_wrpo_have_their_rows() -> None:
    lines = printed("wrpo", "--prompts", "30", "--sources", "2", "--samples", "3", "--no-training")
    rows = {line[0]: int(line[1]) for line in lines}
    assert rows["answers and rewards of source-1"] == rows["rewards of source-0"] == 30
    assert (rows["best responses (sft)"], rows["best responses (preference)"]) == (10, 20)
    assert rows["preference rows"] == rows["reference log-probs"] == 20


def test_an_exponent_is_that_of_sizes_whose_time_is_not_fixed_costs(measuring: ModuleType) -> None:
    times = {10: 0.01, 100: 0.2, 1000: 2.0, 10_000: 20.0}
    points = [measuring.Point(size, cpu, cpu, 0.0, {}) for size, cpu in times.items()]
    slope, over = measuring.fit(points)
    assert (slope, over) == (pytest.approx(1.0), "100 to 10,000")
    assert measuring.fit(points[:2])[0] is None
