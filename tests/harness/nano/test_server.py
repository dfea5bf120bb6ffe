"""The nano server: the oracle over real HTTP, and every fault as a client meets it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from typer.testing import CliRunner

from harness.backends.base import Request, Sampling, messages_of
from harness.cli.nano import app
from harness.core.errors import UserError
from harness.judging.frames import alpaca_frame
from harness.nano.oracle import OracleBackend, OracleSettings
from harness.nano.server import NanoServer
from tests.harness.nano.oracle_server import (
    ARENA,
    FRAME,
    ITEM,
    UNBIASED,
    body,
    call,
    faulty,
    judged,
)


@pytest.fixture(scope="module")
def server() -> Iterator[NanoServer]:
    with NanoServer() as running:
        yield running


def test_a_reply_holds_the_oracles_own_numbers(server: NanoServer) -> None:
    status, reply, _ = call(server, judged(seed=7))
    assert status == 200
    request = Request(
        id="q", messages=messages_of(FRAME), sampling=Sampling(max_tokens=1, top_logprobs=5)
    )
    (expected,) = OracleBackend(OracleSettings(unknown="generic")).generate([request])
    (choice,) = reply["choices"]
    (token,) = choice["logprobs"]["content"]
    found = tuple((entry["token"], entry["logprob"]) for entry in token["top_logprobs"])
    assert found == expected.completions[0].top_logprobs[0]  # type: ignore[index]
    assert choice["message"] == {"role": "assistant", "content": "m", "refusal": None}
    assert token["token"] == "m"
    assert token["bytes"] == [109]
    assert choice["finish_reason"] == "stop"
    assert reply["object"] == "chat.completion"
    assert reply["system_fingerprint"].startswith("fp_")
    assert reply["usage"] == {
        "prompt_tokens": expected.tokens_in,
        "completion_tokens": 1,
        "total_tokens": expected.tokens_in + 1,
    }


def test_several_choices_are_numbered(server: NanoServer) -> None:
    _, reply, _ = call(server, judged(n=3))
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert reply["usage"]["completion_tokens"] == 3


def test_logprobs_come_as_asked_for(server: NanoServer) -> None:
    assert call(server, body())[1]["choices"][0]["logprobs"] is None
    (token,) = call(server, body(logprobs=True))[1]["choices"][0]["logprobs"]["content"]
    assert token["token"] == "m"
    assert token["top_logprobs"] == []
    explained = call(server, judged(ARENA) | {"max_tokens": 200})[1]
    assert explained["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens_cuts_the_reply(server: NanoServer, limit: str) -> None:
    whole = call(server, body(ARENA, **{limit: 200}))[1]
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert "[[A>>B]]" in whole["choices"][0]["message"]["content"]
    short = call(server, body(ARENA, **{limit: 3}))[1]
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["choices"][0]["message"]["content"] == "My own answer:"
    assert short["usage"]["completion_tokens"] == 3


def test_content_in_parts_and_developer_messages_are_understood(server: NanoServer) -> None:
    system, user = FRAME
    text = user["content"]
    parts = [{"type": "text", "text": text[:50]}, {"type": "text", "text": text[50:]}]
    messages: Any = [{**system, "role": "developer"}, {"role": "user", "content": parts}]
    status, reply, _ = call(server, judged(messages))
    assert status == 200
    assert reply["choices"] == call(server, judged())[1]["choices"]


def test_questions_from_outside_the_world_are_graded_by_length_unless_refused() -> None:
    frame = alpaca_frame("Who wrote Faust?", "", "Goethe did.")
    with NanoServer() as server:
        assert call(server, body(frame))[1]["choices"][0]["message"]["content"] == "M"
    with NanoServer(UNBIASED) as server:
        status, reply, _ = call(server, body(frame))
    assert (status, reply["error"]["code"]) == (400, "unanswerable")
    assert "Who wrote Faust?" in reply["error"]["message"]


def test_a_connection_is_kept_for_the_next_request(server: NanoServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for n in range(3):
        connection.request("POST", "/v1/chat/completions", json.dumps(body()))
        assert connection.getresponse().read()
        if n == 0:
            first = connection.sock
        assert connection.sock is first
    connection.close()


def test_the_official_client_is_served(server: NanoServer) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
        reply = client.chat.completions.create(
            model="nano-oracle", messages=FRAME, max_tokens=1, logprobs=True, top_logprobs=5
        )
        assert reply.choices[0].message.content == "m"
        assert len(reply.choices[0].logprobs.content[0].top_logprobs) == 5
        assert [model.id for model in client.models.list()] == ["nano-oracle"]
        assert client.models.retrieve("nano-oracle").id == "nano-oracle"
        with pytest.raises(openai.NotFoundError) as refusal:
            client.chat.completions.create(model="gpt-4", messages=FRAME)
    assert refusal.value.code == "model_not_found"


def test_any_name_is_served_when_asked_to() -> None:
    with NanoServer(model="*") as server:
        assert call(server, judged() | {"model": "gpt-4-1106-preview"})[1]["model"] == (
            "gpt-4-1106-preview"
        )


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        (b'{"model": NaN}', 400, "NaN"),
        (b"[]", 400, "no object"),
        ({"model": "nano-oracle"}, 400, '"messages" is missing'),
        (body([]), 400, "at least 1 item"),
        (body() | {"model": "gpt"}, 404, 'no model "gpt" here; this server has "nano-oracle"'),
        (body(stream=True), 400, "stream"),
        (body(tools=[]), 400, 'unknown key "tools"'),
        (body(max_token=3), 400, 'did you mean "max_tokens"?'),
        (body(max_tokens=0), 400, "greater than or equal to 1"),
        (body(max_tokens=1, max_completion_tokens=1), 400, "not both"),
        (body(n=True), 400, '"n" is True'),
        (body(logprobs=5), 400, '"logprobs" is 5'),
        (body(top_logprobs=5), 400, '"logprobs": true'),
        (judged() | {"top_logprobs": 21}, 400, "less than or equal to 20"),
        (body(response_format={"type": "json_object"}), 400, "response_format.type"),
        (body([{"role": "user", "content": "hello"}]), 400, "judge frames"),
        (body([{"role": "tool", "content": "hello"}]), 400, "messages.0.role"),
        (body([{"role": "user", "content": 5}]), 400, "messages.0.content"),  # type: ignore
    ],
)
def test_a_bad_request_is_refused_with_its_reason(
    server: NanoServer, data: object, status: int, message: str
) -> None:
    found, reply, _ = call(server, data)
    assert found == status
    assert message in reply["error"]["message"]
    assert reply["error"]["type"] == "invalid_request_error"
    assert server.entries[-1].outcome == "refused"
    assert call(server, body())[0] == 200


def test_a_body_over_the_limit_is_refused(server: NanoServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    raw = json.dumps(body(filler="x" * (8 * 2**20))).encode()
    connection.request("POST", "/v1/chat/completions", raw)
    reply = connection.getresponse()
    assert reply.status == 413
    assert json.loads(reply.read())["error"]["code"] == "too_large"
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/completions", 404),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/models/gpt-4", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/", 404),
    ],
)
def test_other_paths_get_an_error_in_json(
    server: NanoServer, method: str, path: str, status: int
) -> None:
    found, reply, _ = call(server, None, path, method)
    assert found == status
    assert reply["error"]["code"] in ("unknown_url", "model_not_found")


def test_the_state_of_the_server_can_be_asked_for(server: NanoServer) -> None:
    assert call(server, None, "/health", "GET")[:2] == (200, {"status": "ok"})
    assert call(server, None, "/v1/models", "GET")[1]["data"][0]["id"] == "nano-oracle"
    assert call(server, None, "/nano/log", "GET")[1] == server.counts()


def test_a_key_is_asked_for_and_never_logged(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with NanoServer(key="pass-phrase", log=log) as server:
        for headers in ({}, {"Authorization": "Bearer pass"}, {"Authorization": "pass-phrase"}):
            status, reply, _ = call(server, body(), headers=headers)
            assert (status, reply["error"]["code"]) == (401, "invalid_api_key")
        assert call(server, None, "/v1/models", "GET")[0] == 401
        assert call(server, None, "/nano/log", "GET")[0] == 401
        assert call(server, None, "/health", "GET")[0] == 200
        right = {"Authorization": "Bearer pass-phrase"}
        assert call(server, body(), headers=right)[0] == 200
        assert server.counts()["requests"] == 1
    assert "pass-phrase" not in log.read_text() + repr(server.entries)
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["outcome"] == "ok"


def test_many_clients_at_once_are_all_answered_and_counted() -> None:
    with faulty("500=0.1", "drop=0.05") as server:

        def until_it_works(number: int) -> int:
            frame = alpaca_frame(ITEM.turns[0], "no idea", f"answer {number}")
            while True:
                try:
                    status, reply, _ = call(server, judged(frame))
                except (http.client.HTTPException, OSError):
                    continue
                if status == 200:
                    return int(reply["usage"]["prompt_tokens"])

        with ThreadPoolExecutor(16) as pool:
            tokens = sum(pool.map(until_it_works, range(200)))
        counts = server.counts()
    assert counts["ok"] == 200
    assert counts["tokens_in"] == tokens
    assert counts["requests"] == 200 + counts["500"] + counts["drop"]
    assert counts["500"] > 5
    assert len({entry.digest for entry in server.entries if entry.outcome == "ok"}) == 200


def test_stopping_finishes_slow_replies_and_drops_hanging_ones() -> None:
    server = faulty("slow@1:60", "hang@2").start()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(call, server, body())
        while server.counts()["requests"] < 1:
            time.sleep(0.01)
        hanging = pool.submit(call, server, body())
        while server.counts()["requests"] < 2:
            time.sleep(0.01)
        time.sleep(0.05)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 30
        assert slow.result()[0] == 200
        with pytest.raises((http.client.HTTPException, OSError)):
            hanging.result()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    with NanoServer(port=server.port) as again:
        assert call(again, body())[0] == 200


def test_an_idle_kept_connection_does_not_hold_up_the_stop() -> None:
    with NanoServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", "/health")
        connection.getresponse().read()
        started = time.monotonic()
    assert time.monotonic() - started < 1.0
    connection.close()


def test_a_port_in_use_is_named_with_the_way_out(server: NanoServer) -> None:
    threads = threading.active_count()
    with pytest.raises(UserError, match=f"port {server.port}.*--port 0"):
        NanoServer(port=server.port).start()
    assert threading.active_count() == threads


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(UserError, match=r"192\.0\.2\.1"):
        NanoServer(host="192.0.2.1").start()


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-folder"):
        NanoServer(log=tmp_path / "no-such-folder" / "log.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "position_bais=0"], 'did you mean "position_bias"?'),
        (["--set", "position_bias"], '--set expects "key=value"'),
        (["--fault", "hangg=1"], 'did you mean "hang"?'),
        (["--fault", "hang=0.6", "--fault", "cut=0.6"], "at most 1"),
        (["--key-variable", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is not set"),
        (["--host", "192.0.2.1"], "--port 0"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--port", "0", *arguments])
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)


def test_the_command_warns_of_an_open_address() -> None:
    # An address that cannot be bound, so that nothing is opened to other machines here.
    done = CliRunner().invoke(app, ["serve", "--host", "192.0.2.1"])
    assert "warning: 192.0.2.1 can be reached by other machines; require a key" in done.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = "nano serve --port 0 --log log.jsonl --key-variable KEY"
    process = subprocess.Popen(
        [sys.executable, "-c", "from harness.cli import main; main()", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "KEY": "pass-phrase"},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" at ")[1].split()[0]
        example = process.stdout.readline()
        connection = http.client.HTTPConnection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        headers = {"Authorization": "Bearer pass-phrase"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body()), headers)
        assert connection.getresponse().status == 200
        process.send_signal(number)
        rest, problems = process.communicate(timeout=60)
    finally:
        process.kill()
    assert f"openai:nano-oracle@{url}?key=KEY" in example
    assert rest == "stopped after 1 requests, 1 of them answered\n"
    assert (process.returncode, problems) == (0, "")
    assert json.loads((tmp_path / "log.jsonl").read_text())["outcome"] == "ok"
