"""Verified answers per second: code by its tests in the jail, mathematics by equivalence.

    python benchmarks/verification.py [--checks 40] [--workers 1] [--repeats 3]

Code: functions with five tests each. The peer runs the same code and tests as one script in a plain
child process, without isolation, limits other than time, or proof that every test was reached: the
minimum cost of checking code. Mathematics: our checker keeps one child process per thread; the peer
starts a process per answer, which any checker with time-outs needs unless it keeps processes. The
verdicts are compared. Times are medians; memory is the largest child's.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.verification.code import check_code, isolation
from harness.verification.mathematics import MathChecker

Work = Callable[[int], bool]


def code_of(number: int) -> tuple[str, list[str]]:
    """A function and its tests; every fourth function is wrong."""
    wrong = "- 1" if number % 4 == 0 else ""
    code = f"def f(xs):\n    return sum(x * x for x in xs) + {number} {wrong}\n"
    tests = [f"assert f([1] * {n}) == {n + number}" for n in range(5)]
    return code, tests


def jailed(number: int) -> bool:
    code, tests = code_of(number)
    return check_code(code, tests, allow_code_execution=True).tests_passed == len(tests)


def plain(number: int) -> bool:
    code, tests = code_of(number)
    script = "\n".join([code, *tests])
    return (
        subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=10).returncode
        == 0
    )


def problem(number: int) -> tuple[str, str]:
    gold = f"\\frac{{{number + 1}}}{{{number + 2}}}"
    found = number + (number % 4 == 0)
    return gold, f"So the answer is $\\frac{{{2 * (found + 1)}}}{{{2 * (number + 2)}}}$."


def alone(number: int) -> bool:
    script = (
        "import sys; from harness.verification.equivalence import judge; "
        "print(judge(*sys.argv[1:])[0])"
    )
    told = subprocess.run([sys.executable, "-c", script, *problem(number)], capture_output=True)
    return told.stdout.strip() == b"True"


def measure(work: Work, checks: int, workers: int, repeats: int) -> tuple[float, list[bool]]:
    """Checks per second (median of the repeats), and the verdicts."""
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(work, range(checks)))
        rates.append(checks / (time.perf_counter() - started))
    return statistics.median(rates), found


def compare(what: str, ours: Work, peer: Work, options: argparse.Namespace, fewer: int = 1) -> None:
    rate, found = measure(ours, options.checks, options.workers, options.repeats)
    checks = max(4, options.checks // fewer)
    other, theirs = measure(peer, checks, options.workers, max(1, options.repeats // fewer))
    assert found[:checks] == theirs, f"{what}: verdicts differ"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{what:24} ours {rate:8.1f} checks/s   peer {other:8.1f} checks/s   "
        f"ratio {rate / other:6.2f}   largest child {peak:.0f} MiB"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--checks", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    compare(f"code, {isolation()}", jailed, plain, options)
    with MathChecker() as checker:

        def kept(number: int) -> bool:
            return bool(checker.check(*problem(number)).correct)

        kept(0)  # starts the child process
        compare("mathematics", kept, alone, options, fewer=8)


if __name__ == "__main__":
    main()
