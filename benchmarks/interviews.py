"""PsyCoT's full load: 247 real essays, five dialogues each, 12,103 turns with a local server.

Claims: at concurrency 64 the client takes at most 60 s and 500 MB; a client killed with SIGKILL at
random moments resumes without repeating stored turns and produces the rows of an undisturbed run.

    python benchmarks/interviews.py                          # 12,103 turns
    python benchmarks/interviews.py --kill 10                # and again, killed ten times
    python benchmarks/interviews.py --authors 20 --kill 3    # quick

The client runs the operations `import_authors` and `interview_authors` on its own store. Client and
server are separate processes. Texts are read from $CRUCIBLE_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.backends.api.responses import ResponseStore

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
BAR_S, BAR_MB = 60.0, 500.0


def client(url: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run the interviews; this is the process that is measured and killed."""
    begun, cpu = time.perf_counter(), time.process_time()
    from harness.core.hashing import digest
    from harness.engine.calls import CallSettings, Services
    from harness.engine.plan import Plan
    from harness.engine.run import InlineExecutor
    from harness.engine.store import Store

    store, plan = Store(folder), Plan()
    model = plan.stage("import_model", ref=f"openai:reader@{url}?max_tokens_field=max_tokens")
    ref = "official:essays_test"
    authors = plan.stage("import_authors", ref=ref, scheme="big_five", limit=options.authors)
    how = {"form": "psycot", "frame": options.frame}
    labels = plan.stage("interview_authors", authors=authors, model=model, **how)
    settings = CallSettings(responses=folder / "responses.sqlite", concurrency=options.concurrency)
    with Services(settings) as services:
        InlineExecutor(services).execute(plan, [labels], store)
        spent = services.account.models.get("reader")
    rows = store.artifact(labels.id).rows()
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "rows": len(rows),
        "failed": sum("error" in row for row in rows),
        "requests": spent.requests if spent else 0,
        "digest": digest(rows),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def attempt(command: list[str], log: Path, kill_after_s: float | None = None) -> dict[str, Any]:
    """The client's report; {} if it was killed, `kill_after_s` after its first answer."""
    size = log.stat().st_size if log.exists() else 0
    environment = {"CRUCIBLE_DATA": str(DATA), **os.environ}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        if kill_after_s is not None:
            while process.poll() is None and log.stat().st_size == size:
                time.sleep(0.01)
            time.sleep(kill_after_s)
            process.kill()
        output = process.stdout.read()
    if process.returncode not in (0, -9):
        sys.exit(f"the client ended with {process.returncode}")
    found: dict[str, Any] = json.loads(output) if output else {}
    return found


def stored(folder: Path) -> set[str]:
    """Names, as in the server's log, of the conversations whose answer is stored."""
    path = folder / "responses.sqlite"
    if not path.exists():
        return set()
    store = ResponseStore(path)
    try:
        return {json.loads(row.body)["id"] for row in store.all()}
    finally:
        store.close()


def disturbed(
    command: list[str], folder: Path, log: Path, kills: int, seconds: float
) -> tuple[dict[str, Any], int, int]:
    """Kill the client `kills` times: its final report, number of kills, and repeated turns."""
    draw = random.Random(0)
    done = repeated = 0
    while True:
        kept, place = stored(folder), len(log.read_text().split())
        wait = draw.uniform(0, 1.6 * seconds / (kills + 1)) if done < kills else None
        report = attempt(command, log, wait)
        time.sleep(0.3)  # the server writes its log shortly after its answers
        repeated += sum(name in kept for name in log.read_text().split()[place:])
        if report:
            return report, done, repeated
        done += 1
        print(f"kill {done}, {wait:.1f} s after the first answer: {len(stored(folder))} turns kept")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--authors", type=int, default=247)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--frame", default="chat", help="chat or flat")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--kill", type=int, default=0, help="kills of an additional second run")
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(json.dumps(client(options.client[0], Path(options.client[1]), options)))
        return 0
    checks: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "answered.txt"
        command = [sys.executable, str(HERE / "completion_server.py"), "--interviews"]
        command += ["--log", str(log), "--delay", str(options.delay)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
            run = [sys.executable, *sys.argv, "--client", url]
            whole = attempt([*run, str(Path(name) / "whole")], log)
            print(
                f"{whole['rows']} authors, {whole['requests']} turns: {whole['seconds']:.1f} s, "
                f"{whole['cpu']:.1f} s of CPU, peak {whole['peak_mb']:.0f} MB"
            )
            checks |= {
                f"{49 * whole['rows']} turns": whole["requests"] == 49 * whole["rows"],
                "no turn failed": whole["failed"] == 0,
                f"at most {BAR_S:g} s": whole["seconds"] <= BAR_S,
                f"at most {BAR_MB:g} MB": whole["peak_mb"] <= BAR_MB,
            }
            if options.kill:
                other = Path(name) / "killed"
                found, kills, repeated = disturbed(
                    [*run, str(other)], other, log, options.kill, whole["seconds"]
                )
                checks |= {
                    f"{kills} kills of {options.kill} wanted": kills == options.kill,
                    f"stored turns repeated: {repeated}": repeated == 0,
                    "rows equal the undisturbed run's": found["digest"] == whole["digest"],
                }
            server.communicate()
    for text, held in checks.items():
        print(f"{'yes' if held else 'NO ':<4}{text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
