"""Kill the client with SIGKILL at random moments, resume it, compare with the server's log.

Claims: no delivered or stored response is lost, and no request is repeated for a row whose response
is stored. A kill costs at most the calls in flight at that moment.

    python benchmarks/judge_client_kill.py [--kills 20] [--calls 3000] [--seed 0] [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from harness.backends.api.endpoint import Endpoint
from harness.backends.api.responses import ResponseStore
from harness.backends.api.wire import chat_call
from harness.backends.base import Message, Request, Sampling

HERE = Path(__file__).resolve().parent
DELAY_S = 0.05  # delay of each reply, so that calls are in flight at the kill
IN_FLIGHT = 16


def requests(calls: int) -> list[Request]:
    how = Sampling(max_tokens=4)
    return [
        Request(id=str(n), messages=(Message(role="user", content=f"prompt {n}"),), sampling=how)
        for n in range(calls)
    ]


def logged(request: Request) -> str:
    """Name of a request in the server's log."""
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def client(url: str, calls: int, folder: Path) -> None:
    """The process that is killed: prints the id of every response as soon as it is delivered."""
    from harness.backends.openai import OpenAIBackend
    from harness.engine.calls import CallSettings, Services

    settings = CallSettings(responses=folder / "responses.sqlite", concurrency=IN_FLIGHT)
    with Services(settings) as services:
        backend = OpenAIBackend(Endpoint.parse(f"judge@{url}"), services)
        for response in backend.generate(requests(calls)):
            assert response.error is None, response.error
            print(response.id, int(response.cached), flush=True)


def attempt(command: list[str], kill_after_s: float | None) -> tuple[dict[str, bool], bool]:
    """Run the client, and kill it if requested: delivered ids, and whether it finished."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        if kill_after_s is not None:
            # Time is counted from the first response that is not from the store.
            for line in process.stdout:
                lines.append(line)
                if line.endswith(" 0\n"):
                    break
            time.sleep(kill_after_s)
            process.kill()
        lines += process.stdout.readlines()
        ended = process.wait() == 0
    pairs = [line.split() for line in lines if line.endswith("\n")]
    return {id: cached == "1" for id, cached in pairs}, ended


def stored_rows(path: Path, endpoint: Endpoint, asked: list[Request]) -> set[str]:
    """Ids of the requests whose response is stored."""
    ids = {chat_call(endpoint, r.id, r.messages, r.sampling).key: r.id for r in asked}
    store = ResponseStore(path)
    try:
        return {ids[key] for key in store.get(list(ids))}
    finally:
        store.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="3 kills, 400 calls")
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(options.client[0], options.calls, Path(options.client[1]))
        return 0
    kills, calls = (3, 400) if options.quick else (options.kills, options.calls)
    draw = random.Random(options.seed)
    span_s = 0.8 * DELAY_S * calls / IN_FLIGHT / kills  # the last kill still interrupts work
    lost = repeated = done = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, path = folder / "answered.txt", folder / "responses.sqlite"
        command = [sys.executable, str(HERE / "completion_server.py"), "--delay", str(DELAY_S)]
        command += ["--log", str(log)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
            run = [sys.executable, __file__, "--calls", str(calls), "--client", url, name]
            endpoint, asked = Endpoint.parse(f"judge@{url}"), requests(calls)
            kept: set[str] = set()  # rows that were stored or delivered
            ended = False
            while not ended:
                wait = draw.uniform(0, 2 * span_s) if done < kills else None
                delivered, ended = attempt(run, wait)
                # Responses stored before this attempt must come from the store.
                repeated += sum(not delivered[id] for id in kept & set(delivered))
                now = stored_rows(path, endpoint, asked)
                lost += len((kept | set(delivered)) - now)
                kept = now
                done += not ended
                state = "finished" if ended else f"kill {done}"
                print(f"{state}: {len(delivered)} delivered, {len(now)} of {calls} stored")
            server.communicate()
        times = Counter(log.read_text().split())
    names = {logged(request) for request in asked}
    extra = sum(times.values()) - len(times)
    checks = {
        f"{done} of {kills} kills": done == kills,
        "every row answered": kept == {request.id for request in asked},
        f"stored responses lost: {lost}": lost == 0,
        f"requests for stored rows: {repeated}": repeated == 0,
        f"repeated answers: {extra}, at most {IN_FLIGHT} per kill": extra <= IN_FLIGHT * done,
        "the server answered exactly these rows": set(times) == names,
    }
    for text, held in checks.items():
        print(f"{'yes' if held else 'NO ':<4}{text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
