"""The mutation run: which faults are planted, which tests they meet, how outcomes are told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mutation.__main__ import ROOT, file_of, modules_of, named, summary, within
from tests.mutation.covering import LEFT_OUT, PROGRAMS
from tests.mutation.covering import tests_of as covering
from tests.mutation.faults import faults, sample
from tests.mutation.planting import ALWAYS, chosen

SOURCE = '''
"""A docstring stays."""

from __future__ import annotations
from math import floor

LIMIT: int = 3


def first(values: list[int], most: float = 0.5) -> list[int]:
    """Another one."""
    if len(values) > LIMIT and most:
        raise ValueError(f"{len(values) + 1} values; expected at most {LIMIT}")
    kept = sorted(values, key=abs)[1:]
    for value in kept:
        if value == 0:
            continue
        kept.append(floor(value / 2))
    return kept if not values else [min(kept), max(kept)]
'''


def planted(source: str) -> dict[str, set[str]]:
    """What each expression becomes."""
    found: dict[str, set[str]] = {}
    for fault in faults(source):
        found.setdefault(fault.before, set()).add(fault.after)
    return found


def test_small_mistakes_are_planted_in_expressions_and_statements() -> None:
    found = planted(SOURCE)
    assert found["len(values) > LIMIT"] == {"len(values) >= LIMIT", "len(values) < LIMIT"}
    assert found["len(values) > LIMIT and most"] == {
        "len(values) > LIMIT or most", "len(values) > LIMIT", "most"
    }  # fmt: skip
    assert found["0.5"] == {"0.525"}
    assert found["3"] == {"4", "2"}
    assert found["value / 2"] == {"value * 2"}
    assert found["sorted(values, key=abs)"] == {
        "sorted(values)", "values", "sorted(values, key=abs, reverse=True)"
    }  # fmt: skip
    assert found["1:"] == {":"}
    assert found["continue"] == {"break", "pass"}
    assert found["min(kept)"] == {"max(kept)"}
    assert found["floor(value / 2)"] == {"ceil(value / 2)"}
    assert found["kept.append(floor(value / 2))"] == {"pass"}
    assert found["not values"] == {"values"}
    assert any(before.startswith("raise ValueError") for before in found)


def test_texts_annotations_and_imports_are_left_alone() -> None:
    for fault in faults(SOURCE):
        assert "Another one." in fault.source
        assert "from math import floor" in fault.source
        assert "values: list[int], most: float" in fault.source
        assert "len(values) + 1" in fault.source or "pass" in fault.source
        compile(fault.source, "fault", "exec")
    assert faults('"""Nothing."""\nNAME: str\n') == []
    texts = [fault.source for fault in faults(SOURCE)]
    assert len(texts) == len(set(texts)) > 25


def test_swapped_arguments_and_keywords_left_out() -> None:
    found = planted("f(a, b, c=1)\nisinstance(a, b)\ng('text', b)\n")
    assert found["f(a, b, c=1)"] == {"f(b, a, c=1)", "f(a, b)", "pass"}
    assert found["isinstance(a, b)"] == {"pass"}
    assert found["g('text', b)"] == {"pass"}


def test_a_sample_has_all_kinds_and_depends_on_its_seed_alone() -> None:
    every = [(module, fault) for module in ("a", "b") for fault in faults(SOURCE)]
    few = sample(every, 12, 3)
    assert few == sample(every, 12, 3) != sample(every, 12, 4)
    assert len({fault.kind for _, fault in few}) == 12
    assert few == [pair for pair in every if pair in few]
    assert sample(every, 1000, 0) == every


def test_a_package_stands_for_its_modules() -> None:
    assert modules_of("harness.stats.rows") == ["harness.stats.rows"]
    inside = modules_of("harness.distillation")
    assert {"harness.distillation.mapping", "harness.distillation.align.dtw"} <= set(inside)
    assert not any(module.endswith("__init__") for module in inside)
    with pytest.raises(SystemExit, match=r"there is no module harness\.nothing"):
        modules_of("harness.nothing")


def test_tests_inside_other_tests_are_not_run_twice() -> None:
    inner = [
        "tests/harness/suites/mt_bench",
        "tests/harness/suites",
        "tests/harness/test_damage.py",
    ]
    assert within(inner) == inner[1:]


def test_a_fault_meets_the_tests_of_its_line_the_quickest_first() -> None:
    recorded = {
        "seconds": {"a": [1.0, 3.0], "b": [9.0, 1.0], "c": [2.0, 2.0], "other": [0.1, 0.1]},
        "lines": {"m": {"4": ["a", "b"], "5": [ALWAYS, "b"], "6": ["c"]}},
    }
    assert chosen(recorded, "m", 4) == ["b", "a"]
    assert chosen(recorded, "m", 5) == chosen(recorded, "m", 9) == ["b", "c", "a"]
    recorded["lines"] = {PROGRAMS[0]: {"4": ["a"]}}
    assert chosen(recorded, PROGRAMS[0], 4) == ["other", "b", "c", "a"]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("harness.stats.rows", ["tests/harness/stats"]),
        ("harness.suites.arena_hard.metrics", ["tests/harness/suites/arena_hard"]),
        ("harness.suites.scoring", ["tests/harness/suites"]),
        ("leaderboards.board", ["tests/leaderboards"]),
        ("harness.engine.io", ["tests/harness/engine", "tests/harness/test_damage.py"]),
    ],
)
def test_the_mirrored_folder_protects_a_module(module: str, expected: list[str]) -> None:
    assert covering(module, ROOT) == expected


def test_the_tests_and_programs_that_the_table_names_exist() -> None:
    for test in LEFT_OUT:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text()
    assert all((ROOT / file_of(module)).is_file() for module in PROGRAMS)


def test_outcomes_are_counted_per_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert [named(text) for text in ("exit 0", "exit 1", "exit -9", "timeout")] == [
        "survived", "noticed", "noticed", "timeout"
    ]  # fmt: skip
    one, two, three = faults("a < b\n")[0], *faults("3 - 2\n")[:2]
    found = [("m", one), ("n", two), ("n", three)]
    summary(["m", "n"], found, ["survived", "noticed", "timeout"])
    said = capsys.readouterr().out
    assert "| m | 1 | 0 (0%) | 0 | 1 |" in said
    assert "| n | 2 | 2 (100%) | 1 | 0 |" in said
    assert "survived: m:1: comparison: a < b -> a <= b" in said


FORKING = """
import os, sys, time
from pathlib import Path
from tests.mutation.planting import end_with_parent, forked
folder = Path(sys.argv[1])
end_with_parent(folder / "copy")
def work():
    (folder / "started").write_text(str(os.getpid()))
    time.sleep(600)
forked(work, folder / "log", 600, 600)
"""


def test_a_run_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        started = tmp_path / "started"
        wait_until(lambda: started.is_file() and started.read_text() != "")
        assert process.stdin is not None
        process.stdin.close()  # as the system does when the other process is killed
        assert process.wait(60) == 1
    child = Path("/proc", started.read_text())
    wait_until(lambda: not child.exists() or ") Z " in (child / "stat").read_text())
    assert not (tmp_path / "copy").exists()


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)
