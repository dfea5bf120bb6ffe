"""HTTP endpoints of the nano server, its request log, and the execution of scripted faults."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Literal, TextIO

from harness.backends.base import Backend, Response
from harness.core.errors import MissingExtra
from harness.nano import chat_format
from harness.nano.chat_format import Chat, Refused
from harness.nano.faults import Allowance, Fault, FaultScript, rate_headers

try:
    from aiohttp import web
except ImportError:
    raise MissingExtra("aiohttp", "api") from None

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOGGER = logging.getLogger(__name__)
MAX_BODY = 8 * 2**20  # bytes
KEPT_ENTRIES = 100_000
_WRONG = "Verdict: [[Z]]"


@dataclass(frozen=True)
class Entry:
    """Log entry of one chat request.

    Attributes:
        arrival: number of the request, from 1.
        digest: digest of its body; equal for a repeated request.
        outcome: "ok", the kind of fault, "limited" (over the rate limit), "refused" (an invalid
            request) or "gone" (the client disconnected before the reply).
        status: HTTP status of the reply; None if there was none.
        tokens_in, tokens_out: usage in the reply; 0 if the reply was not delivered.
    """

    arrival: int
    digest: str
    outcome: str
    status: int | None
    tokens_in: int = 0
    tokens_out: int = 0


class RequestLog:
    """The latest entries, and counts of all; optionally writes each entry to a JSON lines file."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.entries: deque[Entry] = deque(maxlen=KEPT_ENTRIES)
        self._counts = Counter({"requests": 0, "ok": 0, "tokens_in": 0, "tokens_out": 0})
        self._file = file

    def arrive(self) -> int:
        """Count a request and return its number."""
        self._counts["requests"] += 1
        return self._counts["requests"]

    def enter(self, entry: Entry) -> None:
        """Add the entry of a finished request."""
        self.entries.append(entry)
        self._counts[entry.outcome] += 1
        if entry.outcome in ("ok", "slow"):
            self._counts["tokens_in"] += entry.tokens_in
            self._counts["tokens_out"] += entry.tokens_out
        if self._file is not None:
            self._file.write(json.dumps(asdict(entry)) + "\n")

    def counts(self) -> dict[str, int]:
        """Number of requests, number by outcome, and tokens of successful replies.

        A slow reply is successful but counted under "slow".
        """
        return dict(self._counts)


@dataclass(frozen=True)
class Reply:
    """A planned reply.

    Attributes:
        outcome: see `Entry`.
        delivered: part of the reply that is sent before the connection is closed.
    """

    outcome: str
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    delivered: Literal["all", "half", "none"] = "all"


class Endpoints:
    """Request handlers of one oracle and one fault script.

    Args:
        model: the only model served; "*" for any.
        key: bearer token that clients must send; None requires none.
        stopping: set to stop the server; ends every pause.
    """

    def __init__(
        self,
        oracle: Backend,
        faults: FaultScript,
        log: RequestLog,
        *,
        model: str,
        key: str | None,
        stopping: asyncio.Event,
    ) -> None:
        self._oracle, self._faults, self._log = oracle, faults, log
        self._model, self._key = model, key
        self._stopping = stopping
        self._system = f"fp_{oracle.fingerprint.rpartition('/')[2]}"
        rates = {"requests": faults.requests_per_minute, "tokens": faults.tokens_per_minute}
        self._allowances = {name: Allowance(rate) for name, rate in rates.items() if rate}

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._guard])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{model:.+}", self._models)
        app.router.add_get("/nano/log", self._counts)
        app.router.add_get("/health", _health)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the key, and convert every error to OpenAI's format."""
        try:
            if request.path != "/health" and not self._is_allowed(request):
                message = "no key or a wrong one; send the header Authorization: Bearer KEY"
                raise Refused(401, message, "invalid_api_key")
            return await handler(request)
        except Refused as refused:
            return _error(refused.status, str(refused), refused.code)
        except web.HTTPException as error:
            if error.status in (404, 405):
                message = (
                    f"no {request.method} {request.path} here; this server has POST "
                    "/v1/chat/completions, GET /v1/models, /health and /nano/log"
                )
                return _error(error.status, message, "unknown_url")
            return _error(error.status, error.reason)
        except Exception:
            _LOGGER.exception("a request to %s failed", request.path)
            return _error(500, "the nano server failed; its own output says why")

    def _is_allowed(self, request: web.Request) -> bool:
        if self._key is None:
            return True
        sent = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(sent, f"Bearer {self._key}".encode())

    async def _models(self, request: web.Request) -> web.StreamResponse:
        served = chat_format.MODEL if self._model == "*" else self._model
        wanted = request.match_info.get("model")
        if wanted is None:
            return _sent(chat_format.write_models([served]))
        if self._model not in ("*", wanted):
            raise Refused(404, f'no model "{wanted}" here', "model_not_found")
        return _sent(chat_format.write_model(wanted))

    async def _counts(self, request: web.Request) -> web.StreamResponse:
        return _sent(json.dumps(self._log.counts()).encode())

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        arrival = self._log.arrive()
        body_digest, reply = "", Reply("gone")
        try:
            raw = await _body(request)
            body_digest = hashlib.sha256(raw).hexdigest()[:16]
            fault = self._faults.decide(arrival, body_digest)
            planned = await self._plan(raw, arrival, fault)
            response = await _deliver(request, planned)
            reply = planned
            return response
        except Refused as refused:
            outcome = "limited" if refused.status == 429 else "refused"
            reply = Reply(outcome, refused.status)
            return _error(refused.status, str(refused), refused.code, refused.headers)
        finally:  # also when the client leaves and this task is cancelled
            tokens = (reply.tokens_in, reply.tokens_out)
            self._log.enter(Entry(arrival, body_digest, reply.outcome, reply.status, *tokens))

    async def _plan(self, raw: bytes, arrival: int, fault: Fault | None) -> Reply:
        """The reply to a request with `fault`, after its pause.

        Raises:
            Refused: the request is invalid or over the rate limit.
        """
        if fault is not None:
            failed = await self._failure(fault)
            if failed is not None:
                return failed
        chat = chat_format.read_chat(raw, self._model, str(arrival))
        (response,) = self._oracle.generate([chat.request])
        if response.error is not None:
            raise Refused(400, response.error, "unanswerable")
        self._take(response.tokens_in)
        response = chat_format.cut(response, chat.max_tokens)
        return await self._answer(chat, response, fault)

    async def _failure(self, fault: Fault) -> Reply | None:
        """The reply of a fault that needs no answer of the oracle; None for other faults."""
        if fault.kind == "hang":
            await self._pause(fault.seconds)
            return Reply("hang", delivered="none")
        if fault.kind == "drop":
            return Reply("drop", delivered="none")
        if fault.kind not in ("429", "429-retry-after", "500", "503"):
            return None
        status = int(fault.kind[:3])
        headers: dict[str, str] = {}
        if fault.kind == "429-retry-after":
            headers = _come_back(1.0 if fault.seconds is None else fault.seconds)
        if status == 429:
            headers |= {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}
        code = "rate_limit_exceeded" if status == 429 else None
        message = f"{HTTPStatus(status).phrase} (a scripted fault)"
        body = chat_format.write_error(status, message, code)
        return Reply(fault.kind, status, body, headers)

    async def _answer(self, chat: Chat, response: Response, fault: Fault | None) -> Reply:
        """The oracle's reply, changed by `fault`."""
        kind = "ok" if fault is None else fault.kind
        if kind == "slow" and fault is not None:
            await self._pause(1.0 if fault.seconds is None else fault.seconds)
        elif kind in ("no_logprobs", "empty", "wrong_label"):
            response = _spoilt(response, kind)
        body = chat_format.write_chat(chat, response, self._system)
        headers = self._rate_headers()
        if kind == "malformed":
            return Reply(kind, 200, body[: len(body) // 2], headers)
        if kind == "cut":
            return Reply(kind, 200, body, headers, delivered="half")
        return Reply(kind, 200, body, headers, response.tokens_in, response.tokens_out)

    def _take(self, tokens: int) -> None:
        amounts = {"requests": 1, "tokens": tokens}
        rates = [(name, self._allowances[name]) for name in self._allowances]
        wait_s = max((rate.missing_s(amounts[name]) for name, rate in rates), default=0.0)
        if wait_s > 0:
            message = f"over the rate; come back in {wait_s:.3g} s"
            headers = _come_back(wait_s) | self._rate_headers()
            raise Refused(429, message, "rate_limit_exceeded", headers)
        for name, rate in rates:
            rate.take(amounts[name])

    def _rate_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, allowance in self._allowances.items():
            headers |= rate_headers(name, allowance)
        return headers

    async def _pause(self, seconds: float | None) -> None:
        """Wait for some seconds, or forever for None, but at most until the server stops."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


async def _health(request: web.Request) -> web.StreamResponse:
    return _sent(b'{"status":"ok"}')


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, f"the body is larger than {MAX_BODY} bytes", "too_large") from None


async def _deliver(request: web.Request, reply: Reply) -> web.StreamResponse:
    """Send the part of a reply that is to be delivered."""
    if reply.delivered == "all" and reply.status is not None:
        return _sent(reply.body, reply.status, reply.headers)
    response = web.StreamResponse(headers={**reply.headers, "Content-Type": "application/json"})
    if reply.delivered == "half":
        response.content_length = len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _spoilt(response: Response, kind: str) -> Response:
    """The response without log-probabilities, with an empty text, or with an invalid verdict."""
    changes: dict[str, object] = {"top_logprobs": None}
    if kind == "empty":
        changes["text"] = ""
    elif kind == "wrong_label":
        changes["text"] = _WRONG
        changes["top_logprobs"] = ((("Both", -0.1), ("The", -2.5), ("Neither", -4.0)),)
    spoilt = tuple(c.model_copy(update=changes) for c in response.completions)
    tokens = sum(len(c.text.split()) for c in spoilt)
    return response.model_copy(update={"completions": spoilt, "tokens_out": tokens})


def _come_back(seconds: float) -> dict[str, str]:
    return {"retry-after": f"{seconds:g}", "retry-after-ms": f"{1000 * seconds:.0f}"}


def _sent(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    return web.Response(
        body=body, status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def _error(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    return _sent(chat_format.write_error(status, message, code), status, headers)
