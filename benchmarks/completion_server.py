"""A minimal chat-completions server for the client benchmarks: fixed replies, faults, a log.

    python benchmarks/completion_server.py --rate-limited 0.05 --hung 0.01 --log answered.txt

Prints its port, then answers POST .../chat/completions as fast as one process can. A reply is
"good" if a complete, valid answer was written to a connection that was still open. `GET /counts`
returns the numbers of requests, good replies and faults, and the tokens of the good replies. Tokens
are derived from the length of the request, so that a client that counts a request twice or loses
one reports another sum.

With --interviews, a reply is a rating or a choice, as the last message asks, derived from a hash of
the conversation; its id is the conversation's name in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any, TextIO

REASONS = {200: b"OK", 404: b"Not Found", 429: b"Too Many Requests", 500: b"Internal Server Error"}
LOGPROBS = {
    "content": [
        {
            "token": "m",
            "logprob": -0.25,
            "bytes": [109],
            "top_logprobs": [
                {"token": token, "logprob": value, "bytes": list(token.encode())}
                for token, value in (("m", -0.25), ("M", -1.6), (" m", -5.0), ("a", -7.5))
            ],
        }
    ]
}


def logged(messages: list[dict[str, str]]) -> str:
    """Name of a conversation in the log."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


class Site:
    """State shared by all connections: rates of faults, counts and the log."""

    def __init__(self, options: argparse.Namespace, log: TextIO | None) -> None:
        self.faults = [
            ("rate_limited", options.rate_limited),
            ("failed", options.failed),
            ("hung", options.hung),
            ("malformed", options.malformed),
        ]
        self.delay_s: float = options.delay
        self.draw = random.Random(options.seed)
        self.interviews: bool = options.interviews
        self.log = log
        self.counts = dict.fromkeys(
            ["requests", "good", "tokens_in", "tokens_out", *(n for n, _ in self.faults)], 0
        )

    def fault(self) -> str | None:
        place = self.draw.random()
        for name, rate in self.faults:
            if place < rate:
                self.counts[name] += 1
                return name
            place -= rate
        return None

    def good(self, body: bytes) -> bytes:
        """The reply to a request; `book` counts and logs it after it was written."""
        asked = json.loads(body)
        tokens_in = len(body) // 4
        name, content = "chatcmpl-0", "m"
        if self.interviews:
            name = logged(asked["messages"])
            number = int(name[:8], 16)
            chooses = "CHOICE:" in asked["messages"][-1]["content"][-200:]
            content = f"CHOICE: {'AB'[number % 2]}" if chooses else f"SCORE: {number % 5 + 1}"
        reply: dict[str, Any] = {
            "id": name,
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content},
                    "logprobs": LOGPROBS if asked.get("logprobs") else None,
                    "finish_reason": "stop" if self.interviews else "length",
                }
            ],
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": 1,
                "total_tokens": tokens_in + 1,
            },
        }
        return json.dumps(reply).encode()

    def book(self, body: bytes) -> None:
        self.counts["good"] += 1
        self.counts["tokens_in"] += len(body) // 4
        self.counts["tokens_out"] += 1
        if self.log is not None:
            self.log.write(logged(json.loads(body)["messages"]) + "\n")
            self.log.flush()


class Connection(asyncio.Protocol):
    def __init__(self, site: Site) -> None:
        self.site = site
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.data[:end]
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(self.data) < end + 4 + length:
                return
            body = self.data[end + 4 : end + 4 + length]
            self.data = self.data[end + 4 + length :]
            self.request(head.split(b" ", 2)[1], body)

    def request(self, path: bytes, body: bytes) -> None:
        if path == b"/counts":
            self.reply(200, json.dumps(self.site.counts).encode())
            return
        if not path.endswith(b"/chat/completions"):
            self.reply(404, b'{"error": {"message": "unknown path"}}')
            return
        self.site.counts["requests"] += 1
        fault = self.site.fault()
        if fault == "rate_limited":
            self.reply(429, b'{"error": {"message": "slow down"}}', b"retry-after-ms: 20\r\n")
        elif fault == "failed":
            self.reply(500, b'{"error": {"message": "try again"}}')
        elif fault == "malformed":
            self.reply(200, self.site.good(body)[:-40])
        elif fault is None and self.site.delay_s:
            asyncio.get_running_loop().call_later(self.site.delay_s, self.answer, body)
        elif fault is None:
            self.answer(body)

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self.reply(200, self.site.good(body))
            self.site.book(body)

    def reply(self, status: int, body: bytes, more: bytes = b"") -> None:
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n"
        self.transport.write(head % (status, REASONS[status], len(body), more) + body)


async def serve(options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(options.log.open("a")) if options.log else None
        site = Site(options, log)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(site), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)  # until the parent process ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("rate-limited", "failed", "hung", "malformed", "delay"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--interviews", action="store_true")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
