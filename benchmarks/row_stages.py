"""Rows per second and peak memory of a row stage: a million rows of 1 kB, 64 rows per batch.

Claims: at most 200 MB above the interpreter, whatever the number of rows, also when the stage is
killed after half of its batches and resumed. `--root` runs the code of another checkout.

    python benchmarks/row_stages.py --rows 1000000 [--root OTHER_CHECKOUT]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def _mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stage(home: Path, rows: int, batch: int, stop: int | None) -> None:
    """Child process: run the stage, or kill this process after `stop` batches."""
    from harness.core.records import Record
    from harness.engine.operations import operation
    from harness.engine.plan import Plan
    from harness.engine.run import InlineExecutor
    from harness.engine.store import Store

    class Size(Record):
        rows: int = 0

    class Batched(Record):
        batch: int

    @operation("bench_rows", version=1, params=Size)
    def source(context: Any, params: Size) -> None:
        text = "lorem ipsum dolor sit " * 43
        with (context.directory / "rows.jsonl").open("w") as stream:
            for number in range(params.rows):
                stream.write(json.dumps({"id": f"row-{number:07d}", "text": text}) + "\n")

    @operation(
        "bench_mapped",
        version=1,
        params=Batched,
        rows="rows",
        batch_size=lambda params: params.batch,
    )
    def mapped(
        context: Any, params: Batched, batches: Iterable[list[Any]], *, rows: Any
    ) -> Iterator[list[Any]]:
        for number, batch in enumerate(batches):
            if number == stop:
                os._exit(9)
            yield [{**row, "length": len(row["text"])} for row in batch]

    store, plan = Store(home), Plan()
    made = plan.stage("bench_rows", rows=rows)
    InlineExecutor().execute(plan, [made], store)
    before, start, cpu = _mebibytes(), time.monotonic(), time.process_time()
    target = plan.stage("bench_mapped", rows=made, batch=batch)
    InlineExecutor().execute(plan, [target], store)
    seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    size = (store.folder(target.id) / "rows.jsonl").stat().st_size
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": _mebibytes() - before, "bytes": size}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        stage(Path(options.child[0]), options.rows, options.batch, int(options.child[1]) or None)
        return
    env = {**os.environ, "PYTHONPATH": str(options.root)}
    for name, stops in (("undisturbed", [0]), ("resumed", [options.rows // options.batch // 2, 0])):
        with tempfile.TemporaryDirectory() as folder:
            for stop in stops:
                command = [sys.executable, __file__, "--rows", str(options.rows)]
                command += ["--batch", str(options.batch)]
                command += ["--child", folder, str(stop)]
                done = subprocess.run(command, env=env, capture_output=True, text=True)
                assert done.returncode == (9 if stop else 0), done.stderr
            found = json.loads(done.stdout)
            print(
                f"{name}: {options.rows:,} rows ({found['bytes'] / 1e9:.2f} GB) in "
                f"{found['seconds']:.1f} s ({found['cpu']:.1f} s of CPU), "
                f"{options.rows / found['seconds']:,.0f} rows/s, "
                f"{found['mib']:.0f} MiB above the interpreter"
            )


if __name__ == "__main__":
    main()
