"""Cut the power at random moments of an evaluation; compare the board with that of a calm run.

Claim: after 30 cuts, each in a store of its own, the next run ends with the same board. The cut is
simulated: what was not flushed is lost (`tests/power_cuts.py`). With --loop, the store is on a real
ext4 file system in a file (needs root and a free loop device); its disk is copied while the run
goes on, and the copy, which has what ext4 had written by then, is mounted in its place.

    python benchmarks/power_cuts.py --cuts 30 [--loop]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITES, LIMIT = ["alpaca_eval2", "mt_bench"], 3


def evaluated(home: Path) -> str:
    """Run an evaluation and write its board."""
    from harness.reproduce import evaluate

    made = evaluate("nano:target", SUITES, limit=LIMIT)
    made.run(home)
    made.write_board()
    return made.render("json")


def simulated(cuts: int, draw: random.Random, folder: Path) -> int:
    """Number of cuts after which the board was another."""
    sys.path.insert(0, str(ROOT))
    from tests.power_cuts import disk_under

    with disk_under(folder / "calm") as disk:
        expected = evaluated(folder / "calm")
    print(f"an undisturbed run flushes {disk.flushes} times")
    bad = 0
    for number in range(cuts):
        home = folder / f"home-{number}"
        at = draw.randint(1, disk.flushes)
        with disk_under(home, at):
            evaluated(home)
        same = evaluated(home) == expected and not (home / "damaged").exists()
        print(f"cut {number + 1}, before flush {at}: equal: {same}")
        bad += not same
        shutil.rmtree(home)
    return bad


CHILD = "import sys; sys.path.insert(0, sys.argv[2]); from benchmarks import power_cuts as p; "
CHILD += "from pathlib import Path; p.evaluated(Path(sys.argv[1]))"


def sh(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def looped(cuts: int, draw: random.Random, folder: Path) -> int:
    """The same with a file system in a file."""
    expected = evaluated(folder / "calm")
    disk, place, bad = folder / "disk.img", folder / "mounted", 0
    place.mkdir()
    child = [sys.executable, "-c", CHILD, str(place / "home"), str(ROOT)]
    seconds = 0.0
    for number in range(-1, cuts):
        with disk.open("wb") as stream:
            stream.truncate(256 * 2**20)
        sh("mkfs.ext4", "-q", "-O", "^metadata_csum", str(disk))
        sh("mount", "-o", "loop", str(disk), str(place))
        start = time.monotonic()
        process = subprocess.Popen(child, stdout=subprocess.DEVNULL)
        if number < 0:  # how long it takes
            process.wait()
            seconds = time.monotonic() - start
            sh("umount", str(place))
            continue
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        process.send_signal(signal.SIGSTOP)
        after = folder / "after.img"
        shutil.copyfile(disk, after)  # dirty pages of the mounted system are not in it
        process.kill()
        process.wait()
        sh("umount", str(place))
        sh("mount", "-o", "loop", str(after), str(place))  # replays the journal of ext4
        found = len(list((place / "home").glob("artifacts/*/*")))
        same = evaluated(place / "home") == expected and not (place / "home" / "damaged").exists()
        print(f"cut {number + 1}, {found} artifacts on disk: equal: {same}")
        bad += not same
        sh("umount", str(place))
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loop", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = looped if options.loop else simulated
        bad = run(options.cuts, draw, Path(folder))
    print(f"{options.cuts - bad} of {options.cuts} boards equal")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
