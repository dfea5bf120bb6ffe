"""10,000 judge calls to a server with four kinds of faults: no row is lost or answered twice.

Of the attempts, 5 % are rate limited (429), 2 % fail with a server error (500), 1 % are never
answered and 1 % receive a truncated JSON document. Claims: every row is answered once; the client's
token count equals that of the good replies, which the server counts after writing a complete reply
to an open connection (failed and hung attempts count on neither side); peak memory is below 500 MB.

    python benchmarks/judge_client_faults.py [--calls 10000] [--seed 0] [--quick]

A hung attempt costs the time-out (2 s here), and random rate limits keep the adaptive concurrency
low: the wall time measures such a server, not the client.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Message, Request, Sampling
from harness.backends.openai import OpenAIBackend
from harness.engine.calls import CallSettings, Services

HERE = Path(__file__).resolve().parent
RATES = {"rate-limited": 0.05, "failed": 0.02, "hung": 0.01, "malformed": 0.01}
MOST_MB = 500


def counts(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as answer:
        found: dict[str, int] = json.load(answer)
    return found


def run(port: int, calls: int, folder: Path) -> dict[str, Any]:
    how = Sampling(temperature=1.0, max_tokens=1, top_logprobs=5)
    requests = [
        Request(
            id=str(n),
            messages=(Message(role="user", content=f"{n} " + "some words " * 100),),
            sampling=how,
        )
        for n in range(calls)
    ]
    settings = CallSettings(responses=folder / "responses.sqlite", timeout_s=2.0, retries=8)
    with Services(settings) as services:
        backend = OpenAIBackend(Endpoint.parse(f"judge@http://127.0.0.1:{port}/v1"), services)
        begun = time.monotonic()
        answers = Counter()
        errors = []
        for response in backend.generate(requests):
            answers[response.id] += 1
            if response.error is not None:
                errors.append(f"{response.id}: {response.error}")
        seconds = time.monotonic() - begun
        store = backend._store()
        return {
            "seconds": seconds,
            "rows": len(answers),
            "twice": sum(times > 1 for times in answers.values()),
            "errors": errors,
            "stored": len(store) if store is not None else 0,
            "spent": services.account.models["judge"],
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="1,000 calls")
    options = parser.parse_args()
    calls = 1000 if options.quick else options.calls
    command = [sys.executable, str(HERE / "completion_server.py"), "--seed", str(options.seed)]
    for name, rate in RATES.items():
        command += [f"--{name}", str(rate)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        found = run(port, calls, Path(folder))
        served = counts(port)
        server.communicate()
    spent = found["spent"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    faults = ", ".join(f"{served[name.replace('-', '_')]} {name}" for name in RATES)
    print(f"{calls} calls, {served['requests']} attempts: {faults}")
    print(f"{found['seconds']:.1f} s, peak memory {peak:.0f} MB (limit {MOST_MB})")
    checks = {
        "every row answered": found["rows"] == calls and not found["errors"],
        "no row twice": found["twice"] == 0,
        "every row stored": found["stored"] == calls,
        f"good replies: {served['good']} written, {spent.requests} counted": served["good"]
        == spent.requests,
        f"tokens read: {served['tokens_in']} by the server, {spent.tokens_in} counted": served[
            "tokens_in"
        ]
        == spent.tokens_in,
        f"tokens written: {served['tokens_out']} by the server, {spent.tokens_out} counted": served[
            "tokens_out"
        ]
        == spent.tokens_out,
        "memory below the limit": peak < MOST_MB,
    }
    for name, held in checks.items():
        print(f"{'yes' if held else 'NO ':<4}{name}")
    for error in found["errors"][:5]:
        print(error)
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
