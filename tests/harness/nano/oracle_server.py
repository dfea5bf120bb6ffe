"""Requests to a nano server in one process, and servers with faults."""

from __future__ import annotations

import http.client
import json
from typing import Any

from harness.judging.frames import Message, alpaca_frame, arena_frame
from harness.nano import world
from harness.nano.faults import FaultScript, fault
from harness.nano.oracle import OracleSettings
from harness.nano.server import NanoServer

ITEM = world.items("alpaca_eval2", 1)[0]
UNBIASED = OracleSettings(position_bias=0, verbosity_bias=0, noise=0, rating_noise=0)
FRAME = alpaca_frame(ITEM.turns[0], world.reference_answer(ITEM), "no idea")
ARENA = arena_frame(ITEM.turns[0], world.reference_answer(ITEM), "no idea")


def body(messages: list[Message] = FRAME, **more: Any) -> dict[str, Any]:
    return {"model": "nano-oracle", "messages": messages, **more}


def judged(messages: list[Message] = FRAME, **more: Any) -> dict[str, Any]:
    return body(messages, max_tokens=1, logprobs=True, top_logprobs=5, **more)


def call(
    server: NanoServer,
    data: object = None,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    timeout: float = 10.0,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        raw = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
        connection.request(method, path, raw, headers or {})
        reply = connection.getresponse()
        lowered = {name.lower(): value for name, value in reply.getheaders()}
        return reply.status, json.loads(reply.read()), lowered
    finally:
        connection.close()


def faulty(*specs: str, **more: Any) -> NanoServer:
    return NanoServer(faults=FaultScript(faults=tuple(map(fault, specs)), **more))
