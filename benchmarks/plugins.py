"""`crucible methods` with 50 installed plugins: at most 0.7 s, and no plugin is imported.

    python benchmarks/plugins.py [--plugins N] [--rounds N]

Each plugin is a dist-info folder, with METADATA as long as a real README, and a module that raises
on import. Compared in turn: the command with plugins, the command without them, and the peer, an
interpreter that only reads all entry points by `importlib.metadata`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

COMMAND = "import sys; sys.argv = ['crucible', 'methods']; from harness.cli import main; main()"
PEER = "from importlib.metadata import entry_points; print(len(entry_points()))"
LIMIT_S = 0.7


def install(site: Path, number: int) -> None:
    """Write one plugin as pip installs it."""
    info = site / f"crucible_plugin_{number}-1.0.dist-info"
    info.mkdir()
    (site / f"crucible_plugin_{number}.py").write_text("raise RuntimeError('imported')\n")
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: crucible-plugin-{number}\nVersion: 1.0\n"
        f"Summary: plugin number {number}\n\n" + "A line of its README, as long as others.\n" * 400
    )
    (info / "entry_points.txt").write_text(
        f"[crucible.methods]\nplugin_{number} = crucible_plugin_{number}:METHOD\n"
    )


def seconds(code: str, path: str) -> tuple[float, float, str]:
    """Elapsed seconds, CPU seconds (independent of other load), and the output."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return elapsed, spent, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.plugins):
            install(Path(folder), number)
        listed = seconds(COMMAND, folder)[2]
        assert all(f"plugin_{number}" in listed for number in range(options.plugins))
        runs = {"with plugins": (COMMAND, folder), "without": (COMMAND, ""), "peer": (PEER, folder)}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, (code, path) in runs.items():
                times[name].append(seconds(code, path)[:2])
    console = Console()
    for name, found in times.items():
        elapsed, spent = (statistics.median(values) for values in zip(*found))
        console.print(f"{name:<13} {elapsed:.2f} s, CPU {spent:.2f} s", highlight=False)
    full, bare, peer = (statistics.median(spent for _, spent in times[name]) for name in runs)
    console.print(
        f"{options.plugins} plugins: CPU {full:.2f} s (limit {LIMIT_S} s), "
        f"{full / bare:.2f} of the command without them, {full / peer:.2f} of the peer",
        highlight=False,
    )


if __name__ == "__main__":
    main()
