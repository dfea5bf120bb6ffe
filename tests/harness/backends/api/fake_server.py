"""A scripted OpenAI-compatible server on loopback: each test says what it does.

with FakeServer(lambda asked: Reply(429) if asked.number == 1 else good(asked)) as server:
    ... server.url, server.asked
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """One request that came in; `number` counts POSTs from 1."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.content)

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]


@dataclass
class Reply:
    """What to answer.

    Attributes:
        body: bytes as they are, anything else as JSON.
        after_s: how long the server keeps silent first.
        cut: bytes of the body that are sent before the connection is closed.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    cut: int | None = None


def digest(asked: Asked) -> str:
    return hashlib.sha256(asked.content).hexdigest()[:8]


def answer(asked: Asked, text: str | None = None) -> dict[str, Any]:
    """A sound chat reply; the text depends on the request alone."""
    body = asked.body
    said = text if text is not None else f"reply {digest(asked)}"
    choice: dict[str, Any] = {
        "message": {"role": "assistant", "content": said},
        "finish_reason": "stop",
    }
    if body.get("logprobs"):
        tops = [("m", -0.1), ("M", -2.5), (" m", -9999.0)][: body["top_logprobs"]]
        listed = [{"token": t, "logprob": p} for t, p in tops]
        choice["logprobs"] = {
            "content": [{"token": "m", "logprob": -0.1, "top_logprobs": listed}],
        }
    return {
        "id": "x",
        "model": body["model"],
        "choices": [{"index": i, **choice} for i in range(body.get("n", 1))],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3 * body.get("n", 1)},
    }


def good(asked: Asked) -> Reply:
    if asked.path == "/v1/models":
        return Reply(body={"object": "list", "data": [{"id": "judge-1", "object": "model"}]})
    if asked.path != "/v1/chat/completions":
        return Reply(404, {"error": {"message": f"no path {asked.path}"}})
    return Reply(body=answer(asked))


def error(status: int, message: str, code: str = "", **headers: str) -> Reply:
    body = {"error": {"message": message, "type": "x", "code": code}}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class FakeServer:
    def __init__(
        self,
        behave: Callable[[Asked], Reply] = good,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.behave = behave
        self.all: list[Asked] = []
        self.most_at_once = 0
        self._now = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def asked(self) -> list[Asked]:
        """The calls for answers, in order of arrival."""
        return [a for a in self.all if a.path.endswith("/completions")]

    def __enter__(self) -> FakeServer:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        opening = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        server = self._loop.run_until_complete(opening)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        pairs = [line.split(":", 1) for line in lines if line]
        headers = {name.lower(): value.strip() for name, value in pairs}
        if headers.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(await reader.readline(), 16):
                content += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            content = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(len(self.asked) + 1, method, path, headers, content)
        self.all.append(asked)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        reply = self.behave(asked)
        try:
            if reply.after_s:
                await asyncio.sleep(reply.after_s)
        finally:
            self._now -= 1
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        writer.write(
            f"HTTP/1.1 {reply.status} X\r\ncontent-type: application/json\r\n{more}"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + (body if reply.cut is None else body[: reply.cut])
        )
        await writer.drain()
        return reply.cut is None
