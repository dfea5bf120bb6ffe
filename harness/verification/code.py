"""Check code by its tests in a confined child process; see `jail`.

Every result names the confinement that was applied: "namespaces", or the weaker "system call
filter" if the machine does not allow namespaces. If neither works, no code is run.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.core.errors import EnvironmentProblem, UserError
from harness.core.records import Record
from harness.verification.confinement import HOME

JAIL = Path(__file__).with_name("jail.py")
LONGEST = 100_000  # characters; longer code is rejected without being run
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PYTHON = ("", "python", "python3", "py")


class Limits(Record):
    """Resource limits of checked code.

    Attributes:
        wall_s: time from start to last test, in seconds.
        cpu_s: CPU time of each process, in seconds.
        memory_mb: address space of each process, and private memory of all processes together.
        file_mb: total size of files; without namespaces, size of each file.
        files: number of files; not limited without namespaces.
        open_files: open files of each process.
        processes: number of processes and threads; always 1 without namespaces.
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


def split_tests(script: str) -> tuple[str, ...]:
    """Split a test script: one test per top-level assert, with the lines before it.

    A script without a top-level assert, or that does not parse, is one test.

    >>> split_tests("x = f(1)\\nassert x == 1\\nassert f(2) == 4\\n")
    ('x = f(1)\\nassert x == 1', 'assert f(2) == 4')
    """
    try:
        body = ast.parse(script).body
        found = {node.end_lineno or 0 for node in body if isinstance(node, ast.Assert)}
    except SyntaxError:
        found = set()
    lines, inner = script.split("\n"), sorted(found)[:-1]
    spans = zip([0, *inner], [*inner, len(lines)])
    return tuple("\n".join(lines[start:end]).rstrip() for start, end in spans)


def check_code(
    code: str,
    tests: Sequence[str],
    limits: Limits | None = None,
    *,
    allow_code_execution: bool = False,
) -> CodeCheck:
    """Run tests against code in the jail, in order and in one global scope.

    Raises:
        UserError: `allow_code_execution` is not set.
        EnvironmentProblem: this machine supports no confinement.
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
    used = isolation()
    found = _jailed(code, tests, limits or Limits(), used)
    if "setup" in found:
        raise EnvironmentProblem(f"the jail for code cannot be set up: {found['setup']}")
    stopped = found.get("stopped", "")
    reason = found.get("objection") or found.get("reason") or ""
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
def isolation() -> str:
    """Name of the strongest confinement that works on this machine.

    Raises:
        EnvironmentProblem: none works; the message gives the reasons.
    """
    problems = []
    for name in ("namespaces", "system call filter"):
        found = _jailed("", ["import decimal"], Limits(), name)
        if found.get("passed") == 1:
            return name
        problems.append(f"{name}: {found.get('setup') or found.get('reason') or found}")
    raise EnvironmentProblem(
        f"code cannot be confined on this machine ({'; '.join(problems)}), so none is run: use "
        "Linux on x86-64 or ARM64, where seccomp is not blocked"
    )


def _jailed(
    code: str, tests: Sequence[str], limits: Limits, how: str, python: str = sys.executable
) -> dict[str, Any]:
    """Result of one run as reported by the jail process."""
    paths = [sys.base_prefix]
    if limits.packages:
        paths.append(sysconfig.get_path("purelib"))
    with tempfile.TemporaryDirectory(prefix="jail-", ignore_cleanup_errors=True) as root:
        home = HOME if how == "namespaces" else root
        request = {
            "caller": os.getpid(),
            "isolation": how,
            "root": root,
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
                "HOME": home,
                "TMPDIR": home,
                "LANG": "C.UTF-8",
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )
        try:
            given = json.dumps({"code": code, "tests": list(tests)}).encode()
            output, _ = process.communicate(given, timeout=limits.wall_s + 30)
            found: dict[str, Any] = json.loads(output)
        except (subprocess.TimeoutExpired, ValueError):
            found = {"stopped": "ended early", "passed": 0}
        finally:
            process.kill()  # the kernel then kills its descendants, which are tied to it
            process.wait()
        return found
