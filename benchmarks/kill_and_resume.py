"""Kill a reproduction with SIGKILL at random moments, resume it each time, compare the boards.

Claims: the board of the interrupted run equals that of an undisturbed run byte for byte, and no
written batch is computed again (every batch in a stage's journal at the time of the kill is
reported as resumed by the next attempt).

    python benchmarks/kill_and_resume.py --kills 10 -- --limit 100 --set sampling.batch_size=8

With --trials, each kill has a store of its own, and evaluations and reproductions take turns:

    python benchmarks/kill_and_resume.py --trials 30
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CODE = "from harness.cli import main; main()"


EVALUATION = ["eval", "nano:target", "--suite", "alpaca_eval2,mt_bench", "--limit", "12"]
REPRODUCTION = ["reproduce", "target", "--suite", "alpaca_eval2,arena_hard", "--limit", "12"]


def command(extra: list[str]) -> list[str]:
    return crucible("reproduce", "wrpo", *extra)


def crucible(*arguments: str) -> list[str]:
    return [sys.executable, "-c", CODE, *arguments]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "CRUCIBLE_HOME": str(home), "HF_HUB_OFFLINE": "1"}


def written_batches(home: Path) -> dict[str, int]:
    """Number of complete journal lines per unfinished stage."""
    found = {}
    for path in home.glob("partial/*/journal.jsonl"):
        data = path.read_bytes()
        found[path.parent.name] = data[: data.rfind(b"\n") + 1].count(b"\n")
    return found


def resumed(home: Path, stage: str) -> int:
    """Number of batches that the finishing attempt of a stage resumed from its journal."""
    path = home / "artifacts" / stage[:2] / stage / "manifest.json"
    return int(json.loads(path.read_text())["resumed_batches"])


def board(home: Path) -> dict[str, bytes]:
    (folder,) = (home / "boards").iterdir()
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def scored(home: Path) -> dict[str, bytes]:
    """The cells of a store, by artifact."""
    return {path.parent.name: path.read_bytes() for path in home.glob("artifacts/*/*/cells.json")}


def trials(count: int, draw: random.Random, folder: Path) -> int:
    """Kill one run per store; returns the number of trials with other scores or lost batches."""
    calm, seconds = {}, {}
    for name, arguments in (("eval", EVALUATION), ("reproduce", REPRODUCTION)):
        start = time.monotonic()
        environ = environment(folder / name)
        subprocess.run(crucible(*arguments), env=environ, check=True, stdout=subprocess.DEVNULL)
        calm[name], seconds[name] = scored(folder / name), time.monotonic() - start
    bad = 0
    for number in range(count):
        name, arguments = (("eval", EVALUATION), ("reproduce", REPRODUCTION))[number % 2]
        home = folder / f"trial-{number}"
        process = subprocess.Popen(
            crucible(*arguments), env=environment(home), stdout=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0.1, 1.0) * seconds[name])
        late = process.poll() is not None
        process.kill()
        process.wait()
        written = written_batches(home)
        done = subprocess.run(
            crucible(*arguments), env=environment(home), capture_output=True, text=True
        )
        same = done.returncode == 0 and scored(home) == calm[name]
        lost = sum(max(0, count - resumed(home, stage)) for stage, count in written.items())
        clean = not (home / "damaged").exists()
        bad += not same or lost > 0 or not clean
        state = "finished before the kill" if late else f"killed, {sum(written.values())} batches"
        print(f"{number + 1}: {name}, {state}; equal: {same}; lost: {lost}; undamaged: {clean}")
    print(f"{count - bad} of {count} equal, nothing lost")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("extra", nargs="*", help="arguments for crucible reproduce wrpo")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    if options.trials:
        with tempfile.TemporaryDirectory() as folder:
            return 1 if trials(options.trials, draw, Path(folder)) else 0
    with tempfile.TemporaryDirectory() as folder:
        calm, rough = Path(folder) / "calm", Path(folder) / "rough"
        start = time.monotonic()
        subprocess.run(
            command(options.extra), env=environment(calm), check=True, stdout=subprocess.DEVNULL
        )
        seconds = time.monotonic() - start
        print(f"undisturbed run: {seconds:.0f} s")
        kills, written = 0, {}
        while kills < options.kills:
            process = subprocess.Popen(
                command(options.extra), env=environment(rough), stdout=subprocess.DEVNULL
            )
            time.sleep(draw.uniform(0.5, 2.4 * seconds / options.kills))
            if process.poll() is not None:
                print(f"the run finished before kill {kills + 1}")
                break
            process.kill()
            process.wait()
            kills += 1
            found = written_batches(rough)
            print(f"kill {kills}: {sum(found.values())} batches in {len(found)} journals")
            written.update(found)
        subprocess.run(
            command(options.extra), env=environment(rough), check=True, stdout=subprocess.DEVNULL
        )
        same = board(calm) == board(rough)
        lost = sum(max(0, count - resumed(rough, stage)) for stage, count in written.items())
    print(f"{kills} kills; board byte for byte the same: {same}; written batches lost: {lost}")
    return 0 if same and not lost else 1


if __name__ == "__main__":
    sys.exit(main())
