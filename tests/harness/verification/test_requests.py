"""What a check of code sends to the jail and makes of its result; no process is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from harness.core.errors import EnvironmentProblem
from harness.verification import code as checking
from harness.verification.code import Limits, check_code, extract_code


class Process:
    """Stands for a jail: what it was started with, and the output that it gives."""

    output: Any = b'{"passed": 1}'
    made: list[Process] = []

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command, self.options = command, options
        self.steps: list[Any] = []
        self.ended: int | None = None
        Process.made.append(self)

    def communicate(self, given: bytes, timeout: float) -> tuple[bytes, None]:
        self.given, self.timeout = json.loads(given), timeout
        if isinstance(self.output, BaseException):
            raise self.output
        self.ended = 0
        return self.output, None

    def poll(self) -> int | None:
        return self.ended

    def terminate(self) -> None:
        self.steps.append("terminate")

    def kill(self) -> None:
        self.steps.append("kill")

    def wait(self, *timeout: float) -> None:
        self.steps.append(("wait", *timeout))
        if timeout and Process.stubborn:
            raise subprocess.TimeoutExpired("jail", timeout[0])

    stubborn = False


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    monkeypatch.setattr(checking.subprocess, "Popen", Process)
    monkeypatch.setattr(Process, "made", [])
    return Process


def test_limits_of_checked_code() -> None:
    assert Limits().model_dump() == {
        "wall_s": 10.0, "cpu_s": 10, "memory_mb": 512, "file_mb": 16, "files": 64,
        "open_files": 64, "processes": 16, "output_kb": 64, "packages": False,
    }  # fmt: skip
    least = {"cpu_s": 1, "memory_mb": 64, "file_mb": 1, "files": 1, "open_files": 16,
             "processes": 1, "output_kb": 1}  # fmt: skip
    assert Limits(**least).model_dump(include=set(least)) == least  # type: ignore[arg-type]
    for name, value in {**least, "wall_s": 1}.items():
        with pytest.raises(ValueError):
            Limits(**{name: value - 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("packages", [False, True])
def test_what_a_jail_is_started_with(packages: bool, process: type[Process]) -> None:
    limits = Limits(wall_s=3, packages=packages)
    tests = ["import m", "assert f(1)", "assert f(2)"]
    found = checking._jailed("code", tests, limits, "Landlock", entry_point="f")
    (made,) = process.made
    assert found == {"passed": 1}
    python, *flags, script, request = made.command
    assert (python, flags) == (sys.executable, ["-S", "-s", "-P"])
    assert script == os.path.join(os.path.dirname(checking.__file__), "jail.py")
    import tempfile

    libraries = [sysconfig.get_path("purelib")] if packages else []
    assert json.loads(request) == {
        "caller": os.getpid(), "isolation": "Landlock", "temporary": tempfile.gettempdir(),
        "paths": [sys.base_prefix, *libraries], "limits": limits.model_dump(),
    }  # fmt: skip
    assert made.given == {
        "code": "code", "entry_point": "f",
        "tests": ["import m\nassert f(1)", "assert f(2)"], "weights": [2, 1],
    }  # fmt: skip
    assert made.timeout == 33
    assert (made.options["cwd"], made.options["start_new_session"]) == ("/", True)
    streams = [made.options[name] for name in ("stdin", "stdout", "stderr")]
    assert streams == [subprocess.PIPE, subprocess.PIPE, subprocess.DEVNULL]
    assert made.options["env"] == {
        "PATH": "/usr/bin:/bin", "HOME": "/jail", "TMPDIR": "/jail", "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    assert made.steps == [("wait", 10)]


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_jail_that_gives_no_result_is_ended(
    stubborn: bool, process: type[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "stubborn", stubborn)
    monkeypatch.setattr(process, "output", subprocess.TimeoutExpired("jail", 1))
    early = {"stopped": "ended early", "passed": 0}
    assert checking._jailed("code", [], Limits(), "Landlock") == early
    ends = ["kill", ("wait",)] if stubborn else []
    assert process.made[0].steps == ["terminate", ("wait", 10), *ends]
    monkeypatch.setattr(process, "output", b"no JSON")
    assert checking._jailed("code", [], Limits(), "Landlock") == early


def checked(found: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    seen = []

    def jailed(*args: Any, **more: Any) -> dict[str, Any]:
        seen.append((args, more, checking.hidden_now))  # type: ignore[attr-defined]
        return found

    class Hidden:
        def __enter__(self) -> None:
            checking.hidden_now = True  # type: ignore[attr-defined]

        def __exit__(self, *_: object) -> None:
            checking.hidden_now = False  # type: ignore[attr-defined]

    monkeypatch.setattr(checking, "hidden_now", False, raising=False)
    monkeypatch.setattr(checking, "hidden", Hidden)
    monkeypatch.setattr(checking, "_jailed", jailed)
    monkeypatch.setattr(checking, "isolation", lambda weak: how)
    result = check_code("x", ["a", "b"], entry_point="f", allow_code_execution=True)
    ((args, more, hidden),) = seen
    assert (args, more) == (("x", ["a", "b"], Limits(), how), {"entry_point": "f"})
    assert hidden is (how != "namespaces")  # the environment is in reach otherwise
    return result.model_dump()


@pytest.mark.parametrize(
    ("found", "how", "result"),
    [
        ({"passed": 2}, "namespaces", (True, 2, "", "namespaces")),
        ({"passed": 1, "reason": "raised E: x"}, "Landlock", (True, 1, "raised E: x", "Landlock")),
        (
            {"passed": 1, "reason": "raised E: x"},
            "system call filter",
            (True, 1, "raised E", "system call filter"),
        ),
        ({"objection": "uses x"}, "namespaces", (False, 0, "uses x", "")),
        (
            {"passed": 1, "stopped": "CPU time"},
            "namespaces",
            (True, 1, "passed its limit of CPU time", "namespaces"),
        ),
        (
            {"passed": 0, "stopped": "output", "reason": "raised E"},
            "namespaces",
            (True, 0, "raised E", "namespaces"),
        ),
        (
            {"passed": 0, "stopped": "ended early"},
            "namespaces",
            (True, 0, "its process ended before the tests did", "namespaces"),
        ),
        (
            {"passed": 0, "stopped": "forged"},
            "namespaces",
            (True, 0, "spoke in the place of the program that runs the tests", "namespaces"),
        ),
    ],
)
def test_results_of_a_jail(
    found: Any, how: str, result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    static, passed, reason, isolation = result
    assert checked(found, how, monkeypatch) == {
        "static_ok": static, "tests_passed": passed, "tests_total": 2, "reason": reason,
        "isolation": isolation,
    }  # fmt: skip


def test_a_jail_that_cannot_be_set_up_is_a_problem_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be set up: no space"):
        checked({"setup": "no space", "passed": 0}, "namespaces", monkeypatch)


@pytest.mark.parametrize(
    ("working", "weak", "chosen"),
    [
        ({"namespaces", "Landlock", "system call filter"}, False, "namespaces"),
        ({"Landlock", "system call filter"}, True, "Landlock"),
        ({"system call filter"}, True, "system call filter"),
        ({"system call filter"}, False, r"filter of system calls only.*no namespaces; .*Landlock"),
        (set(), True, r"cannot be confined.*namespaces: no namespaces; Landlock: no .*filter: no"),
    ],
)
def test_the_strongest_confinement_that_works_is_chosen(
    working: set[str], weak: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def jailed(code: str, tests: list[str], limits: Limits, how: str) -> dict[str, Any]:
        asked.append(how)
        assert limits == Limits()
        return {"passed": 1} if how in working else {"setup": f"no {how}", "passed": 0}

    monkeypatch.setattr(checking, "_jailed", jailed)
    find = checking.isolation.__wrapped__
    if chosen in working:
        assert find(weak) == chosen
        assert asked[-1] == chosen
        return
    with pytest.raises(EnvironmentProblem, match=chosen):
        find(weak)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("```python\na\n```\n```\nbcd\n```", "bcd\n"),
        ("```PYTHON3 title\na = 1\n```", "a = 1\n"),
        ("```bash\nlonger than a\n```\n```py\na\n```", "a\n"),
        ("```c++\nx\n```", "```c++\nx\n```"),
        ("``` \nab\n```\n```\ncd\n```", "ab\n"),
        ("plain", "plain"),
    ],
)
def test_the_longest_block_is_the_code(response: str, code: str) -> None:
    assert extract_code(response) == code


def test_long_code_is_told_and_not_run(process: type[Process]) -> None:
    found = check_code("x" * 100_001, ["a"] * 3, allow_code_execution=True)
    assert found.model_dump() == {
        "static_ok": False, "tests_passed": 0, "tests_total": 3,
        "reason": "longer than 100,000 characters", "isolation": "",
    }  # fmt: skip
    assert process.made == []
