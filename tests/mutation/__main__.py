"""Plant small faults in modules and say which of them their tests notice.

    tox run -e mutation -- harness.stats.mcnemar
    python -m tests.mutation harness.training.parts --seed 1 --tests tests/harness/training
    python -m tests.mutation harness.training --sample 120      # drawn from all of its modules

Works on a copy of the tree. Exit status 0, however many faults are not noticed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.mutation.covering import tests_of
from tests.mutation.faults import Fault, faults, sample

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("harness", "methods", "leaderboards", "tests", "docs", "benchmarks")
PATIENCE = 5.0


def main() -> None:
    options = arguments()
    found = planned(options.modules, options.sample, options.seed, options.lines)
    if options.list:
        for module, fault in found:
            say(f"{module}:{fault}")
        return
    modules = list(dict.fromkeys(module for module, _ in found))
    tests = options.tests or within(dict.fromkeys(t for m in modules for t in tests_of(m, ROOT)))
    with tempfile.TemporaryDirectory(prefix="crucible-mutation-") as folder:
        os.chmod(folder, 0o755)  # tests start programs as another user
        results = list(outcomes(Path(folder).resolve(), modules, tests, found))
    summary(options.modules, found, results)
    if options.out:
        rows = [
            {"module": m, "line": f.line, "kind": f.kind, "fault": str(f), "outcome": outcome}
            for (m, f), outcome in zip(found, results, strict=True)
        ]
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "modules", nargs="+", metavar="MODULE", help="such as harness.stats.rows, or harness.stats"
    )
    parser.add_argument("--sample", type=int, default=40, help="faults per MODULE (40); 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.add_argument("--lines", metavar="A-B", help="only faults of these lines")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="instead of the mirrored folder")
    parser.add_argument("--list", action="store_true", help="print the faults, run nothing")
    parser.add_argument("--out", type=Path, help="a file for the outcomes, as lines of JSON")
    return parser.parse_args()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def file_of(module: str) -> Path:
    return Path(*module.split(".")).with_suffix(".py")


def modules_of(name: str) -> list[str]:
    """A module by itself, or the modules of a package and of those in it."""
    if (ROOT / file_of(name)).is_file():
        return [name]
    folder = ROOT / Path(*name.split("."))
    found = sorted(path.relative_to(ROOT) for path in folder.rglob("*.py"))
    modules = [".".join(path.with_suffix("").parts) for path in found]
    if not modules:
        raise SystemExit(f"there is no module {name} ({folder})")
    return [module for module in modules if not module.endswith(".__init__")]


def within(tests: Iterable[str]) -> list[str]:
    """Without those that lie in another one: pytest would run them twice."""
    paths = [Path(test) for test in tests]
    return [str(path) for path in paths if not any(other in path.parents for other in paths)]


def planned(names: list[str], count: int, seed: int, lines: str | None) -> list[tuple[str, Fault]]:
    """The faults of each module or package that are run."""
    first, last = (int(part) for part in (lines or "0-1000000").split("-"))
    found = []
    for name in names:
        every = [
            (module, fault)
            for module in modules_of(name)
            for fault in faults((ROOT / file_of(module)).read_text(encoding="utf-8"))
            if first <= fault.line <= last
        ]
        found += sample(every, count, seed) if count else every
    return found


def outcomes(
    folder: Path, modules: list[str], tests: list[str], found: list[tuple[str, Fault]]
) -> Iterator[str]:
    """ "noticed", "survived" or "timeout" for each fault, printed as they come."""
    copy = folder / "copy"
    copy.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (p for p in ROOT.iterdir() if p.is_file()):
        shutil.copy(path, copy / path.name)
    job = {
        "modules": {module: str(copy / file_of(module)) for module in modules},
        "tests": tests,
        "faults": [{"module": m, "line": f.line, "source": f.source} for m, f in found],
        "patience": PATIENCE,
        "folder": str(folder),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-m", "tests.mutation.planting", str(folder / "job.json")]
    pipe = subprocess.PIPE  # its standard input closes, and it ends, when this process ends
    with subprocess.Popen(
        command, cwd=copy, env=environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        say(f"tests without a fault: {' '.join(tests)}")
        for line in process.stdout:
            result: dict[str, Any] = json.loads(line)
            if "fault" not in result:
                say(f"{result['tests']} tests, {result['seconds']:.0f} s; {len(found)} faults")
                continue
            outcome = named(result["outcome"])
            module, fault = found[result["fault"]]
            say(f"{outcome:8} {result['seconds']:5.1f} s  {module}:{fault}")
            yield outcome
    if process.returncode:
        raise SystemExit(process.returncode)


def named(outcome: str) -> str:
    if outcome == "timeout":
        return outcome
    return "survived" if outcome == "exit 0" else "noticed"


def summary(names: list[str], found: list[tuple[str, Fault]], results: list[str]) -> None:
    """A row per module or package for the table in docs/."""
    say("\n| module | faults | noticed | of which by time | survived |\n|---|---|---|---|---|")
    for name in names:
        own = Counter(
            outcome
            for (module, _), outcome in zip(found, results, strict=True)
            if f"{module}.".startswith(f"{name}.")
        )
        total, caught = sum(own.values()), own["noticed"] + own["timeout"]
        share = f"{caught / total:.0%}" if total else "-"
        say(f"| {name} | {total} | {caught} ({share}) | {own['timeout']} | {own['survived']} |")
    for (module, fault), outcome in zip(found, results, strict=True):
        if outcome == "survived":
            say(f"survived: {module}:{fault}")


if __name__ == "__main__":
    main()
