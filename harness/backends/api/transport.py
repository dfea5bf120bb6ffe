"""One attempt: the openai SDK on an HTTP client that checks each reply.

The SDK retries, with backoff and the server's Retry-After, what its HTTP client reports as a
transport fault. `GuardedClient.send` is the method of that client: it waits for the endpoint's
limits, limits the time of each attempt, reads the whole body up to a size, and also reports an
unusable body (an error with status 200, broken or truncated JSON) as a transport fault, so that all
faults share one count of retries. It follows no redirect and sends a key only where the endpoint
allows it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from harness.backends.api import faults, wire
from harness.backends.api.endpoint import Endpoint, is_loopback
from harness.backends.api.limits import LONGEST_S, Limits, retry_after
from harness.backends.api.refusals import Kind, classify, is_daily
from harness.backends.base import Completion
from harness.core.errors import MissingExtra, nearest
from harness.engine.calls import CallSettings

try:
    import aiohttp
    import httpx2
    import openai
except ImportError:
    raise MissingExtra("openai and aiohttp", "api") from None

_LOG = logging.getLogger(__name__)

CONNECT_S = 30.0  # maximum time to open a connection
HOPELESS_S = 1800.0  # a longer Retry-After ends the run, as an empty account does


@dataclass(slots=True)
class Exchange:
    """One call with all its attempts and their result.

    Attributes:
        logprobs: the server is known to return log-probabilities, so that a reply without those
            that were requested is a fault.
        answered: a response has arrived, with whatever status.
        fault: the last fault, for the message when all attempts have failed.
    """

    call: wire.Call
    logprobs: bool = False
    attempts: int = 0
    answered: bool = False
    fault: str = ""
    text: str = ""
    reply: dict[str, Any] | None = None
    completions: tuple[Completion, ...] = ()
    latency_s: float = 0.0


_TRIED_AGAIN = (408, 409, 429)  # by the SDK, as all statuses from 500

_JSON = {"Content-Type": "application/json"}

# Set during a call; the SDK cannot pass an object to its HTTP client.
_EXCHANGE: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class GuardedClient(openai.DefaultAioHttpClient):  # type: ignore[misc]
    """The HTTP client of one base URL."""

    def __init__(
        self,
        url: str,
        limits: Limits,
        timeout_s: float,
        scrub: faults.Scrub,
        endpoint: Endpoint,
        most_bytes: int,
    ) -> None:
        super().__init__(
            follow_redirects=False,
            # A proxy from the environment is never used for this machine.
            trust_env=not is_loopback(url),
            limits=httpx2.Limits(
                max_connections=limits.most + 8, max_keepalive_connections=limits.most + 8
            ),
        )
        self._url = url
        self._limits = limits
        self._timeout_s = timeout_s
        self._scrub = scrub
        self._endpoint = endpoint
        self._most_bytes = most_bytes
        self._parsed: dict[str, httpx2.URL] = {}
        self._greeted = False  # a reply has arrived, or its absence was reported

    def build_request(
        self, method: str, url: Any, *, content: Any = None, **options: Any
    ) -> httpx2.Request:
        """A call's request, built in a third of the usual time: its URL is always the same."""
        if _EXCHANGE.get() is None or content is None:
            return super().build_request(method, url, content=content, **options)
        known = self._parsed.get(url)
        if known is None:
            known = self._parsed[url] = httpx2.URL(url)
        times = {"timeout": options["timeout"].as_dict()}
        headers = options["headers"]
        return httpx2.Request(method, known, headers=headers, content=content, extensions=times)

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if self._endpoint.key_variable is None:  # the SDK insists on a header
            request.headers.pop("authorization", None)
        exchange = _EXCHANGE.get()
        if exchange is None:  # files, batches, lists of models
            return await self._whole(request, options)
        started = await self._limits.enter(exchange.call.tokens)
        used = 0
        try:
            exchange.attempts += 1
            begun = time.monotonic()
            response = await self._attempt(exchange, request, options)
            self._greeted = exchange.answered = True
            exchange.latency_s = time.monotonic() - begun
            self._limits.observe(response.headers, exchange.call.tokens)
            if response.status_code == 200:
                used = self._accept(exchange, response, started)
            else:
                self._reject(exchange, response, started)
            return response
        finally:
            self._limits.answered(exchange.call.tokens)
            self._limits.unused(exchange.call.tokens - used)
            self._limits.leave()

    async def _attempt(
        self, exchange: Exchange, request: httpx2.Request, options: dict[str, Any]
    ) -> httpx2.Response:
        try:
            return await self._timed(exchange, request, options)
        except httpx2.RequestError:
            if not self._greeted:
                self._greeted = True
                _LOG.warning("%s: %s; trying again", self._url, exchange.fault)
            raise

    async def _timed(
        self, exchange: Exchange, request: httpx2.Request, options: dict[str, Any]
    ) -> httpx2.Response:
        try:
            # The HTTP client's time-outs are per read; this one is for the whole attempt.
            async with asyncio.timeout(self._timeout_s):
                return await self._whole(request, options)
        except (httpx2.RequestError, aiohttp.ClientError, OSError) as error:
            exchange.fault = self._described(error)
            if isinstance(error, httpx2.RequestError):
                raise
            raise httpx2.ReadError(exchange.fault, request=request) from None

    async def _whole(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """The response with its body, decompressed piece by piece up to a size.

        Raises:
            RowFault: the body is larger.
        """
        response = await super().send(request, **{**options, "stream": True})
        length = response.headers.get("content-length", "")
        plain = "content-encoding" not in response.headers and length.isdigit()
        if plain and int(length) <= self._most_bytes:
            await response.aread()
            return response
        pieces, size = [], 0
        try:
            async for piece in response.aiter_bytes():
                size += len(piece)
                if size > self._most_bytes:
                    raise faults.RowFault(
                        f"the reply is larger than {self._most_bytes / 2**20:g} MiB"
                    )
                pieces.append(piece)
        finally:
            await response.aclose()
        headers = [
            (name, value)
            for name, value in response.headers.raw
            if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
        ]
        return httpx2.Response(
            response.status_code, headers=headers, content=b"".join(pieces), request=request
        )

    def _described(self, error: Exception) -> str:
        """Description of a failed attempt, by its root error.

        Raises:
            EnvironmentProblem: the TLS handshake failed; a retry cannot help.
        """
        # The SDK's adapter gives most errors of aiohttp the same class.
        root = error if error.__cause__ is None else error.__cause__
        said = self._scrub.text(" ".join(str(root).split())) or type(root).__name__
        if isinstance(root, ssl.SSLError | aiohttp.ClientSSLError):
            raise faults.untrusted(self._url, said) from None
        if isinstance(root, TimeoutError | httpx2.TimeoutException):
            return f"no answer within {self._timeout_s:g} s"
        if isinstance(root, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError):
            return f"{faults.NO_CONNECTION} ({said})"
        if isinstance(root, aiohttp.ClientPayloadError):
            return "the body was cut off"
        if isinstance(root, ConnectionError | aiohttp.ClientConnectionError):
            return "the connection was lost"
        return f"the transfer failed ({said})"

    def _accept(self, exchange: Exchange, response: httpx2.Response, started: float) -> int:
        """Read a body with status 200; returns its number of tokens."""
        text = self._scrub.body(response.content.decode(errors="replace"))
        hidden = 0
        try:
            reply = wire.parse(text)
            if hidden := wire.hidden_status(reply):
                self._judge_status(exchange, response, hidden, started)
            exchange.completions = wire.read(exchange.call, reply)
            doubtful = exchange.logprobs or exchange.attempts == 1
            if doubtful and wire.lacks_logprobs(exchange.call, exchange.completions):
                raise ValueError(wire.NO_LOGPROBS)
        except ValueError as error:
            broken = isinstance(error, json.JSONDecodeError)
            said = "the reply is not JSON" if broken else faults.shown(self._scrub.text(str(error)))
            if not hidden:
                exchange.fault = said
            raise httpx2.RemoteProtocolError(said, request=response.request) from None
        exchange.text, exchange.reply = text, reply
        self._limits.succeeded()
        return sum(wire.usage(reply) or (exchange.call.tokens,))

    def _reject(self, exchange: Exchange, response: httpx2.Response, started: float) -> None:
        """Note the fault; raise if a retry cannot help."""
        status = response.status_code
        if 300 <= status < 400:
            target = response.headers.get("location", "")
            raise faults.redirected(self._url, target, exchange.call.id)
        self._judge_status(exchange, response, status, started)

    def _judge_status(
        self, exchange: Exchange, response: httpx2.Response, status: int, started: float
    ) -> None:
        """Raise if a retry, which the SDK would make, cannot help.

        Args:
            status: of the response, or of an error that a gateway sent with status 200.
        """
        said = faults.server_message(response.content, self._scrub)
        exchange.fault = f"status {status}: {said.shown}"
        kind = classify(status, said.text, said.code).kind
        if kind is not Kind.TEMPORARY and (status in _TRIED_AGAIN or status >= 500):
            raise self.refusal(exchange, status, response.content)
        if kind is not Kind.TEMPORARY and response.status_code == 200:
            raise self.refusal(exchange, status, response.content)
        if status == 429:
            self._limits.rate_limited(started)
            self._wait(exchange, response, said)

    def _wait(self, exchange: Exchange, response: httpx2.Response, said: faults.Said) -> None:
        """Leave the SDK a wait that it can carry out, or end the run.

        Raises:
            UserError: the wait would take hours.
        """
        wait = retry_after(response.headers, said.text)
        if (wait is None and is_daily(said.text)) or (wait or 0) >= HOPELESS_S:
            raise faults.used_up(self._url, said.shown, exchange.call.id, wait)
        if wait is not None:
            wait = min(wait, LONGEST_S)
            self._limits.told_to_wait(wait, said.shown)
            response.headers.pop("retry-after", None)
            response.headers["retry-after-ms"] = f"{1000 * wait:.0f}"

    def refusal(self, exchange: Exchange, status: int, content: bytes) -> Exception:
        """The error for a status."""
        said = faults.server_message(content, self._scrub)
        call = exchange.call
        wanted = call.sampling.top_logprobs is not None
        return faults.refused(self._endpoint, self._url, status, said, call.id, wanted)


class _SDK(openai.AsyncOpenAI):
    """The SDK with cached URLs, which it would parse again for every call."""

    def _prepare_url(self, url: str) -> httpx2.URL:
        known: dict[str, httpx2.URL] = self.__dict__.setdefault("_prepared_urls", {})
        if url not in known:
            known[url] = super()._prepare_url(url)
        return known[url]


class Lane:
    """The SDK's client for one base URL; used inside one event loop only."""

    def __init__(
        self,
        endpoint: Endpoint,
        url: str,
        key: str | None,
        limits: Limits,
        settings: CallSettings,
    ) -> None:
        timeout_s = settings.timeout_s
        self.url = url
        self.model = endpoint.model
        self.limits = limits
        self.assigned = 0  # calls in progress, including those that wait for a retry
        self.scrub = faults.Scrub(key)
        self._http = GuardedClient(
            url, limits, timeout_s, self.scrub, endpoint, settings.max_reply_bytes
        )
        self.sdk = _SDK(
            api_key=key or "none",
            base_url=url,
            http_client=self._http,
            max_retries=settings.retries,
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S), pool=None),
            default_headers=_own_headers(endpoint, key),
        )
        if not endpoint.ambient:
            self.sdk.organization = self.sdk.project = None

    async def post(self, exchange: Exchange, body: dict[str, Any]) -> None:
        """Send a call until it is answered or all attempts have failed.

        Raises:
            RowFault: the row fails.
            NeedsOtherField: the server uses another name for the token limit.
            CrucibleError: the run ends.
        """
        failure: Exception | None = None
        mark = _EXCHANGE.set(exchange)
        try:
            await self.sdk.post(
                wire.PATHS[exchange.call.kind],
                cast_to=httpx2.Response,
                content=json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace"),
                options={"headers": _JSON, "idempotency_key": exchange.call.key},
            )
        except openai.APIStatusError as error:
            failure = self._http.refusal(exchange, error.status_code, error.response.content)
        except openai.APIConnectionError:
            tries = f" (attempt {exchange.attempts})" if exchange.attempts > 1 else ""
            temporary = exchange.fault != wire.FILTERED
            failure = faults.RowFault(exchange.fault + tries, temporary)
        finally:
            _EXCHANGE.reset(mark)
        if failure is not None:  # raised here: the text of the SDK's error may contain a key
            raise failure

    async def models(self) -> list[str]:
        """Names of the server's models; none if it does not list them."""
        try:
            listed = await self.sdk.with_options(timeout=5.0, max_retries=0).models.list()
            return sorted(str(model.id) for model in listed.data)
        except Exception:  # only improves a message, so that any error means no list
            return []

    async def with_names(self, error: faults.Refused) -> faults.Refused:
        """The error with the names of the server's models."""
        names = await self.models()
        if not names or self.model in names:
            return error
        guess = nearest(self.model, names)
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        hint = f'; did you mean "{guess}"?' if guess else ""
        return type(error)(f"{error}; it has {shown}{hint}", error.reason)

    async def close(self) -> None:
        await self.sdk.close()


def _own_headers(endpoint: Endpoint, key: str | None) -> dict[str, Any]:
    """Replacements for headers that the SDK takes from the environment, unless OpenAI gets them."""
    if endpoint.ambient:
        return {}
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    withheld = {name: openai.Omit() for name in names if name.lower() != "authorization"}
    return {**withheld, "Authorization": f"Bearer {key or 'none'}"}
