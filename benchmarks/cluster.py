"""Runs on a Ray cluster of three nodes on this machine, against runs in one process.

    python benchmarks/cluster.py reproduce    reproduce wrpo --limit 100: inline, on Ray, and with
                                              a node killed midway; cells, time per stage
    python benchmarks/cluster.py kills        a worker killed at 10 random moments, the run at 10:
                                              equal rows, no finished batch computed again
    python benchmarks/cluster.py replicas     2,000 prompts answered by one and by two workers

Needs `crucible-bench[ray]`. Every run is a process of its own, as a user's is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CODE = "from harness.cli import main; main()"
NODES = 3
BATCHES, SLOW_S = 60, 0.05
PLUGIN = f"""
import json, os, sys, time
from harness.core.records import Record
from harness.engine.operations import operation

class P(Record):
    n: int = 0
    log: str = ""

@operation("bench_rows", version=1, params=P)
def rows(context, params):
    lines = [json.dumps({{"id": f"r{{i}}", "value": i}}) + "\\n" for i in range(params.n)]
    (context.directory / "rows.jsonl").write_text("".join(lines))

@operation("bench_slow", version=1, params=P, rows="rows", batch_size=lambda p: 2)
def slow(context, params, batches, *, rows):
    for batch in batches:
        time.sleep({SLOW_S})
        with open(params.log, "a") as log:
            log.write(f"{{os.getpid()}} {{params.n}} {{batch[0]['id']}}\\n")
        yield [{{"id": row["id"], "square": row["value"] ** 2}} for row in batch]

def execute(plan, targets, root, address, replicas):
    from functools import partial
    from pathlib import Path
    from harness.engine.calls import CallSettings
    from harness.engine.cluster.executor import ClusterExecutor
    from harness.engine.cluster.rays import RayPool
    from harness.engine.store import Store
    pool = partial(RayPool, calls=CallSettings(), address=address)
    ClusterExecutor(pool, replicas=replicas).execute(plan, targets, Store(Path(root)))

def sampled(root, address, replicas, count):
    from pathlib import Path
    from harness.engine.plan import Plan
    plan = Plan()
    prompts = plan.stage("import_prompts", ref="nano:train", limit=count)
    model = plan.stage("import_model", ref="nano:target")
    made = plan.stage("sample", prompts=prompts, model=model)
    execute(plan, [made], root, address, replicas)
    print(Path(root) / "artifacts" / made.id[:2] / made.id, end="")

def main(root, log, address):
    from harness.engine.plan import Plan
    plan = Plan()
    rows = plan.stage("bench_rows", n={2 * BATCHES})
    made = [plan.stage("bench_slow", rows=rows, n=n, log=log) for n in range(2)]
    execute(plan, made, root, address, 2)
    print("\\n".join(one.id for one in made))
"""


@contextmanager
def cluster(folder: Path, cpus: int = 1) -> Iterator[Any]:
    """Three nodes, and a module with slow operations that they find."""
    (folder / "bench_plugin.py").write_text(PLUGIN)
    here = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [here, str(folder), os.environ.get("PYTHONPATH", "")])
    )
    os.environ |= {"RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    from ray.cluster_utils import Cluster

    start, made = time.monotonic(), Cluster()
    for _ in range(NODES):
        made.add_node(num_cpus=cpus, include_dashboard=False)
    print(f"{NODES} nodes up in {time.monotonic() - start:.1f} s", flush=True)
    try:
        yield made
    finally:
        made.shutdown()


def crucible(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "CRUCIBLE_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], env=environ, stdout=subprocess.DEVNULL
    )


def timed(process: subprocess.Popen[bytes]) -> float:
    start = time.monotonic()
    if process.wait():
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return time.monotonic() - start


def scored(home: Path) -> dict[str, bytes]:
    """The cells of a store, by artifact."""
    return {path.parent.name: path.read_bytes() for path in home.glob("artifacts/*/*/cells.json")}


def by_operation(home: Path) -> dict[str, list[float]]:
    found = defaultdict(list)
    for path in home.glob("artifacts/*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        found[manifest["operation"]].append(manifest["ledger"]["seconds"])
    return found


def reproduce(folder: Path, limit: int) -> int:
    words = ("reproduce", "wrpo", "--limit", str(limit))
    inline = timed(crucible(folder / "inline", *words))
    print(f"inline: {inline:.0f} s", flush=True)
    with cluster(folder) as made:
        on_ray = (*words, "--executor", f"ray:{made.address}")
        seconds = timed(crucible(folder / "ray", *on_ray))
        same = scored(folder / "ray") == scored(folder / "inline")
        print(f"Ray: {seconds:.0f} s, {len(scored(folder / 'ray'))} files of cells equal: {same}")
        again = timed(crucible(folder / "ray", *on_ray))
        print(f"again, nothing left to do: {again:.1f} s", flush=True)
        process = crucible(folder / "killed", *on_ray)
        time.sleep(seconds / 2)
        made.remove_node(made.list_all_nodes()[-1], allow_graceful=False)
        killed = timed(process)
        rest = scored(folder / "killed") == scored(folder / "inline")
        print(f"a node killed after {seconds / 2:.0f} s: {killed:.0f} s more, cells equal: {rest}")
    print("| operation | stages | inline, s per stage | Ray, s per stage |\n|---|---|---|---|")
    there, here = by_operation(folder / "ray"), by_operation(folder / "inline")
    for name in sorted(here, key=lambda name: -sum(here[name])):
        means = [sum(found[name]) / len(found[name]) for found in (here, there)]
        print(f"| {name} | {len(here[name])} | {means[0]:.2f} | {means[1]:.2f} |")
    return 0 if same and rest else 1


def finished(home: Path) -> set[tuple[str, str]]:
    """Journal and first row of every batch that is in a journal."""
    found = set()
    for path in home.glob("partial/*/journal.jsonl"):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                rows = json.loads(line)["rows"]
                found.add((path.parent.name, rows[0]["id"]))
    return found


def kills(folder: Path, count: int, draw: random.Random) -> int:
    good = 0
    with cluster(folder) as made:
        for number in range(2 * count):
            which = "worker" if number < count else "run"
            home, log = folder / f"{which}-{number}", folder / f"{number}.log"
            good += _killed(which, home, log, made.address, draw)
    print(f"{good} of {2 * count}: equal rows, no finished batch computed again")
    return 0 if good == 2 * count else 1


def _killed(which: str, home: Path, log: Path, address: str, draw: random.Random) -> bool:
    call = f"import bench_plugin; bench_plugin.main({str(home)!r}, {str(log)!r}, {address!r})"
    words = [sys.executable, "-c", call]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    after = draw.randrange(2, 2 * BATCHES - 10)  # of all batches
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < after):
        time.sleep(0.005)
    target = process.pid if which == "run" else int(log.read_text().splitlines()[-1].split()[0])
    kept = finished(home)
    os.kill(target, signal.SIGKILL)
    lines = log.read_text().count("\n")
    if which == "run":
        process.wait()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate()
    ids = out.split()
    if process.returncode or len(ids) != 2:
        print(f"{which}: the run ended with {process.returncode}: {out}")
    rows = [home / "artifacts" / id[:2] / id / "rows.jsonl" for id in ids]
    wanted = [{"id": f"r{i}", "square": i * i} for i in range(2 * BATCHES)]
    same = len(ids) == 2 and all(
        [json.loads(line) for line in path.read_text().splitlines()] == wanted for path in rows
    )
    stages = dict(enumerate(ids))
    later = [line.split() for line in log.read_text().splitlines()[lines:]]
    again = Counter((stages[int(n)], id) in kept for _, n, id in later)[True] if same else -1
    total = log.read_text().count("\n")
    print(
        f"{which} killed after {after} of {2 * BATCHES} batches, {len(kept)} in journals: rows "
        f"equal: {same}; finished ones computed again: {again}; computed in all: {total}",
        flush=True,
    )
    return same and again == 0


def replicas(folder: Path, prompts: int) -> int:
    rates, bytes_of_rows = [], set()
    with cluster(folder) as made:
        for number in (1, 2):
            home = folder / f"replicas-{number}"
            call = f"bench_plugin.sampled({str(home)!r}, {made.address!r}, {number}, {prompts})"
            words = [sys.executable, "-c", f"import bench_plugin; {call}"]
            path = Path(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
            seconds = json.loads((path / "manifest.json").read_text())["ledger"]["seconds"]
            bytes_of_rows.add((path / "rows.jsonl").read_bytes())
            rates.append(prompts / seconds)
            print(f"{number} workers: {prompts} rows, {rates[-1]:.1f} rows/s", flush=True)
    same = len(bytes_of_rows) == 1
    print(f"two workers / one: {rates[1] / rates[0]:.2f}; bytes equal: {same}")
    return 0 if same else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["reproduce", "kills", "replicas"])
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "reproduce":
            return reproduce(folder, options.limit)
        if options.what == "kills":
            return kills(folder, options.kills, random.Random(options.seed))
        return replicas(folder, options.prompts)


if __name__ == "__main__":
    sys.exit(main())
