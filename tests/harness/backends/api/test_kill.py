"""`kill -9` in the middle: what was handed on is stored, and is not asked again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.backends.api.responses import ResponseStore
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, good

CLIENT = """
import sys
import time
from pathlib import Path
from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Message, Request, Sampling
from harness.backends.openai import OpenAIBackend
from harness.engine.calls import CallSettings, Services

url, path, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
requests = [
    Request(id=str(n), messages=(Message(role="user", content=f"prompt {n}"),),
            sampling=Sampling(max_tokens=4))
    for n in range(count)
]
with Services(CallSettings(responses=path, concurrency=8)) as services:
    for response in OpenAIBackend(Endpoint.parse(f"m@{url}"), services).generate(requests):
        assert response.error is None, response.error
        print(response.id, response.cached, flush=True)
"""
COUNT = 120


def slowly(asked: Asked) -> Reply:
    reply = good(asked)
    reply.after_s = 0.01
    return reply


@pytest.mark.parametrize(
    "kill_after",
    [20, pytest.param(1, marks=pytest.mark.slow), pytest.param(77, marks=pytest.mark.slow)],
)
def test_killed_and_resumed(tmp_path: Path, kill_after: int) -> None:
    path = tmp_path / "responses.sqlite"
    with FakeServer(slowly) as server:
        command = [sys.executable, "-c", CLIENT, server.url, str(path), str(COUNT)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        handed_on = [process.stdout.readline().split()[0] for _ in range(kill_after)]
        process.kill()
        handed_on += [line.split()[0] for line in process.stdout if line.endswith("\n")]
        process.wait()
        assert len(handed_on) < COUNT
        before = len(server.asked)
        store = ResponseStore(path)
        stored = len(store)
        store.close()
        assert stored >= len(handed_on)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answers = dict(line.split() for line in done.stdout.splitlines())
        assert len(answers) == COUNT
        assert all(answers[id] == "True" for id in handed_on)
        assert list(answers.values()).count("True") == stored
        # Asked a second time is only what was in flight when the process died.
        assert len(server.asked) - before == COUNT - stored
        times = Counter(asked.prompt for asked in server.asked)
        assert len(times) == COUNT
        assert all(times[f"prompt {id}"] == 1 for id in handed_on)


def test_an_interrupt_stops_at_once_and_keeps_what_arrived(tmp_path: Path) -> None:
    def behave(asked: Asked) -> Reply:
        reply = slowly(asked)
        reply.after_s = 0.01 if asked.number <= 40 else 30
        return reply

    path = tmp_path / "responses.sqlite"
    with FakeServer(behave) as server:
        command = [sys.executable, "-c", CLIENT, server.url, str(path), str(COUNT)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(40)]
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        more, errors = process.communicate(timeout=60)
        assert time.monotonic() - begun < 25  # no reply that takes 30 s is waited for
        assert "KeyboardInterrupt" in errors.splitlines()[-1]
        handed_on = len(lines) + len(more.splitlines())
    store = ResponseStore(path)
    assert len(store) == handed_on == 40
    store.close()
