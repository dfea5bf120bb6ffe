"""805 judge calls with log-probabilities to a local server without latency.

Claim: the client's overhead for a suite of AlpacaEval's size is about one second, a twentieth of
alpaca-eval's decoder at its defaults (5 threads, a new client per call); reading 10,000 stored
responses takes about one second.

    python benchmarks/judge_client.py                     # the peer takes half a minute or more
    python benchmarks/judge_client.py --peer-calls 100    # extrapolated to 805, as printed

Every measurement runs in its own process, and so does the server. "import" is the openai SDK's,
once per run; responses are written to disk as they arrive, as in a real run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CALLS = 805
STORED = 10_000
PROMPT = "Which of the two outputs is better, m or M?\n" + "some words of an answer " * 120


def ours(url: str, calls: int, folder: str) -> dict[str, float]:
    """Send `calls` requests, or read their responses if they are stored."""
    from harness.backends.api.endpoint import Endpoint
    from harness.backends.base import Message, Request, Sampling
    from harness.backends.openai import OpenAIBackend
    from harness.engine.calls import CallSettings, Services

    begun = time.perf_counter()
    from harness.backends.api import transport

    assert transport.Lane
    imported = time.perf_counter()
    how = Sampling(temperature=1.0, max_tokens=1, top_logprobs=5)
    requests = [
        Request(id=str(n), messages=(Message(role="user", content=f"{n} {PROMPT}"),), sampling=how)
        for n in range(calls)
    ]
    with Services(CallSettings(responses=Path(folder) / "responses.sqlite")) as services:
        backend = OpenAIBackend(Endpoint.parse(f"gpt-4-1106-preview@{url}"), services)
        started, cpu = time.perf_counter(), time.process_time()
        answers = list(backend.generate(requests))
        ended, cpu = time.perf_counter(), time.process_time() - cpu
        assert len(answers) == calls
        assert all(a.completions[0].top_logprobs for a in answers)
    stored = sum(a.cached for a in answers)
    return {"import": imported - begun, "calls": ended - started, "cpu": cpu, "stored": stored}


def peer(calls: int) -> dict[str, float]:
    """The same calls by alpaca-eval; the server's URL is in the environment."""
    from alpaca_eval.decoders.openai import openai_completions

    prompts = [f"<|im_start|>user\n{n} {PROMPT}\n<|im_end|>" for n in range(calls)]
    begun, cpu = time.perf_counter(), time.process_time()
    found = openai_completions(
        prompts,
        model_name="gpt-4-1106-preview",
        max_tokens=1,
        temperature=1.0,
        logprobs=True,
        top_logprobs=5,
    )
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    assert len(found["completions"]) == calls
    assert all(c["logprobs"]["content"] for c in found["completions_all"])
    return {"calls": seconds, "cpu": cpu}


def measured(job: str, url: str, calls: int, folder: Path) -> dict[str, float]:
    """One measurement in a new process."""
    command = [sys.executable, __file__, "--job", job, "--url", url, "--calls", str(calls)]
    environment = {**os.environ, "OPENAI_API_BASE": url, "OPENAI_API_KEYS": "none"}
    command += ["--folder", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(*cells: object) -> None:
    print("{:<46}{:>8}{:>10}{:>10}{:>10}".format(*map(str, cells)))


def report(runs: list[dict[str, float]], stored: list[dict[str, float]], other: Any) -> None:
    def median(rows: list[dict[str, float]], name: str) -> float:
        return statistics.median(row[name] for row in rows)

    calls = median(runs, "calls")
    print()
    line("median", "calls", "wall s", "cpu s", "ratio")
    line("ours, 64 in flight", CALLS, f"{calls:.2f}", f"{median(runs, 'cpu'):.2f}", "1.0")
    line("ours, with the SDK's import", CALLS, f"{calls + median(runs, 'import'):.2f}", "", "")
    if other:
        count, found = other
        scale = CALLS / count
        seconds, cpu = scale * found["calls"], scale * found["cpu"]
        name = "alpaca-eval" + (f", scaled up from {count} calls" if scale > 1 else "")
        line(name, CALLS, f"{seconds:.1f}", f"{cpu:.1f}", f"{seconds / calls:.1f}")
    read, cpu = median(stored, "calls"), median(stored, "cpu")
    line("ours, stored responses read", STORED, f"{read:.2f}", f"{cpu:.2f}", "")
    peak = max(row["peak_mib"] for row in [*runs, *stored])
    print(f"peak memory of our processes: {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer-calls", type=int, default=CALLS, help="0 omits the peer")
    parser.add_argument("--quick", action="store_true", help="one run, 60 calls of the peer")
    for name in ("job", "url", "calls", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        count = int(options.calls)
        found = peer(count) if options.job == "peer" else ours(options.url, count, options.folder)
        found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    runs, peer_calls = (1, 60) if options.quick else (options.runs, options.peer_calls)
    command = [sys.executable, str(HERE / "completion_server.py")]
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server,
    ):
        folder = Path(name)
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        fresh = []
        for number in range(runs):
            fresh.append(measured("ours", url, CALLS, folder / str(number)))
            print(f"run {number + 1}: {fresh[-1]['calls']:.2f} s", flush=True)
        assert measured("ours", url, STORED, folder / "stored")["stored"] == 0
        stored = [measured("ours", url, STORED, folder / "stored") for _ in range(runs)]
        assert all(row["stored"] == STORED for row in stored)
        other = (peer_calls, measured("peer", url, peer_calls, folder)) if peer_calls else None
        report(fresh, stored, other)
        server.communicate()


if __name__ == "__main__":
    main()
