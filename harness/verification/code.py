"""Check code by its tests in a confined child process; see `jail`.

Every result names the confinement that was applied: "namespaces", or "Landlock" if the machine does
not allow namespaces, or the weak "system call filter", which is used on request only. If none
works, no code is run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.core.errors import EnvironmentProblem, UserError
from harness.core.records import Record
from harness.verification.confinement import HOME
from harness.verification.reasons import hidden, told
from harness.verification.scripts import joined, split_tests

__all__ = ["CodeCheck", "Limits", "check_code", "extract_code", "isolation", "split_tests"]

NAMESPACES, LANDLOCK, FILTER = "namespaces", "Landlock", "system call filter"
JAIL = Path(__file__).with_name("jail.py")
LONGEST = 100_000  # characters; longer code is rejected without being run
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PYTHON = ("", "python", "python3", "py")


class Limits(Record):
    """Resource limits of checked code.

    Attributes:
        wall_s: time from start to last test, in seconds.
        cpu_s: CPU time of each process, in seconds.
        memory_mb: address space of each process, and memory of all processes together.
        file_mb: total size of files.
        files: number of files.
        open_files: open files of each process.
        processes: number of processes and threads of the code; always 1 without namespaces.
        output_kb: size of printed output.
        packages: installed packages can be imported, not only the standard library.
    """

    wall_s: float = Field(default=10.0, gt=0)
    cpu_s: int = Field(default=10, ge=1)
    memory_mb: int = Field(default=512, ge=64)
    file_mb: int = Field(default=16, ge=1)
    files: int = Field(default=64, ge=1)
    open_files: int = Field(default=64, ge=16)
    processes: int = Field(default=16, ge=1)
    output_kb: int = Field(default=64, ge=1)
    packages: bool = False


class CodeCheck(Record):
    """Result of the tests of one piece of code.

    Attributes:
        static_ok: the code compiles and was not rejected by `screening`.
        reason: reason of the first failure, or "".
        isolation: confinement that was applied; "" if nothing was run.
    """

    static_ok: bool
    tests_passed: int
    tests_total: int
    reason: str = ""
    isolation: str = ""


def extract_code(response: str) -> str:
    """The longest Python block of a response, or the whole response if it has none.

    >>> extract_code("So:\\n```python\\nx = 1\\n```\\nDone.")
    'x = 1\\n'
    """
    found = [code for name, code in _FENCE.findall(response) if name.lower() in _PYTHON]
    return max(found, key=len) if found else response


def check_code(
    code: str,
    tests: Sequence[str],
    limits: Limits | None = None,
    *,
    entry_point: str = "",
    allow_code_execution: bool = False,
    allow_weak_isolation: bool = False,
) -> CodeCheck:
    """Run tests against code in the jail, in order and in one global scope.

    Args:
        tests: scripts; each passes if nothing in it fails and at least one assertion holds.
            Functions `test*`, classes of tests, TestCases and `check(candidate)` that a script
            defines are called. Scripts that only prepare later ones belong to the next test.
        entry_point: name of what `check(candidate)` receives; "" means the only function.
        allow_weak_isolation: run code even where only the filter of system calls can be applied.

    Raises:
        UserError: `allow_code_execution` is not set.
        EnvironmentProblem: this machine supports no confinement, or only the weak one.
    """
    if not allow_code_execution:
        raise UserError(
            "checking code runs model-written code, confined, on this machine; give "
            "--allow-code-execution to permit it"
        )
    total = len(tests)
    if len(code) > LONGEST:
        reason = f"longer than {LONGEST:,} characters"
        return CodeCheck(static_ok=False, tests_passed=0, tests_total=total, reason=reason)
    used = isolation(allow_weak_isolation)
    with hidden() if used != NAMESPACES else nullcontext():
        found = _jailed(code, tests, limits or Limits(), used, entry_point=entry_point)
    if "setup" in found:
        raise EnvironmentProblem(f"the jail for code cannot be set up: {found['setup']}")
    stopped = found.get("stopped", "")
    reason = found.get("objection") or told(found.get("reason", ""), brief=used == FILTER)
    if not reason and stopped:
        reason = _REASONS.get(stopped, f"passed its limit of {stopped}")
    return CodeCheck(
        static_ok="objection" not in found,
        tests_passed=found.get("passed", 0),
        tests_total=total,
        reason=reason,
        isolation=used if "objection" not in found else "",
    )


_REASONS = {
    "ended early": "its process ended before the tests did",
    "forged": "spoke in the place of the program that runs the tests",
}


@cache
def isolation(weak: bool = False) -> str:
    """Name of the strongest confinement that works on this machine.

    Args:
        weak: a filter of system calls alone is enough.

    Raises:
        EnvironmentProblem: none works; the message gives the reasons.
    """
    problems: list[str] = []
    for name in (NAMESPACES, LANDLOCK, FILTER):
        found = _jailed("x = 1", ["import decimal\nassert x == 1"], Limits(), name)
        if found.get("passed") == 1:
            if name != FILTER or weak:
                return name
            raise EnvironmentProblem(
                "code can be confined on this machine by a filter of system calls only "
                f"({'; '.join(problems)}): it could read and write every file that you can, so "
                "none is run; use Linux 5.13 or later, or give --allow-weak-isolation as well if "
                "nothing on this machine is worth protecting"
            )
        problems.append(f"{name}: {found.get('setup') or found.get('reason') or found}")
    raise EnvironmentProblem(
        f"code cannot be confined on this machine ({'; '.join(problems)}), so none is run: use "
        "Linux on x86-64 or ARM64, where seccomp is not blocked"
    )


def _jailed(
    code: str,
    tests: Sequence[str],
    limits: Limits,
    how: str,
    python: str = sys.executable,
    *,
    entry_point: str = "",
) -> dict[str, Any]:
    """Result of one run as reported by the jail process."""
    paths = [sys.base_prefix]
    if limits.packages:
        paths.append(sysconfig.get_path("purelib"))
    request = {
        "caller": os.getpid(),
        "isolation": how,
        "temporary": tempfile.gettempdir(),
        "paths": paths,
        "limits": limits.model_dump(),
    }
    # The caller's environment is not passed on: it may contain keys.
    process = subprocess.Popen(
        [python, "-S", "-s", "-P", str(JAIL), json.dumps(request)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": HOME,
            "TMPDIR": HOME,
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    try:
        scripts = joined(tests)
        given: dict[str, Any] = {"code": code, "entry_point": entry_point}
        given |= {"tests": [s.text for s in scripts], "weights": [s.tests for s in scripts]}
        output, _ = process.communicate(json.dumps(given).encode(), timeout=limits.wall_s + 30)
        found: dict[str, Any] = json.loads(output)
    except (subprocess.TimeoutExpired, ValueError):
        found = {"stopped": "ended early", "passed": 0}
    finally:
        if process.poll() is None:
            process.terminate()  # it removes what it made, and its descendants end with it
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return found
