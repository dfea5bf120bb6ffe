"""Which failures belong to one row and which end the run; messages without secrets.

What every other request would meet too (a refused key, an unknown model, an empty account, a
setting the server does not take) ends the run at once. What belongs to the prompt (too long, turned
down by a content filter) or passes (rate limits, server errors, after all retries) is an error of
its row, which a later run asks again.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from harness.backends.api.endpoint import Endpoint, forbid_logprobs
from harness.core.errors import CrucibleError, EnvironmentProblem, UnknownName, UserError

NO_CONNECTION = "no connection"
SHOWN = 300  # characters of a server's message

_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context length|context window"
    r"|max_model_len|maximum model length|prompt is too long|reduce the length|too many tokens",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_filter|content_policy|content management policy|content policy|usage polic"
    r"|responsibleai|safety system|moderation",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r"max_tokens or model output limit was reached", re.IGNORECASE)
_BEARER = re.compile(r"(?i)(bearer\s+|\bsk-)[A-Za-z0-9_\-.]{6,}")
# A word in the server's refusal -> the option that leaves the thing away.
_OPTIONS = (
    ("temperature", "temperature=false"),
    ("top_p", "temperature=false"),
    ("seed", "seed=false"),
    ("system", "system=false"),
    ("'n'", "n=false"),
    ('"n"', "n=false"),
)


class RowFault(Exception):
    """An error of one row; the run goes on."""


class NeedsOtherField(Exception):
    """The server calls the limit of an answer's length by its other name."""


class UnknownModel(UnknownName):
    """The server does not know the model, or the URL is not that of an API."""


class Refused(UserError):
    """The server does not take a request, for a reason that others of its kind share."""


class Scrub:
    """Takes an API key, and whatever looks like one, out of text that is shown or stored."""

    def __init__(self, key: str | None) -> None:
        self._key = key if key and len(key) >= 4 else None

    def text(self, text: str) -> str:
        """For messages: also other things that look like keys."""
        return _BEARER.sub(r"\1...", self.body(text))

    def body(self, text: str) -> str:
        """For stored bodies: the key only, since answers may speak of anything."""
        if self._key and self._key in text:
            text = text.replace(self._key, "...")
        return text

    def __repr__(self) -> str:
        return "Scrub()"


def server_message(content: bytes, scrub: Scrub) -> tuple[str, str]:
    """The message and the code in an error body, in one line each."""
    text = content.decode(errors="replace")
    code = ""
    try:
        data: Any = json.loads(text)
        error = data.get("error", data) if isinstance(data, dict) else data
        if isinstance(error, dict):
            code = str(error.get("code") or error.get("type") or "")
            text = str(error.get("message") or error.get("detail") or error)
        else:
            text = str(error)
    except ValueError:
        text = re.sub(r"<[^>]*>", " ", text)
    line = " ".join(scrub.text(text).split())
    return (line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."), scrub.text(code)


def refused(
    endpoint: Endpoint, url: str, status: int, said: str, code: str, row: str, logprobs: bool
) -> Exception:
    """What a response with an error status means; the SDK has retried what can pass.

    Args:
        said, code: of the server.
        row: id of the request.
        logprobs: whether log-probabilities were asked for.
    """
    where = f"(row {row})"
    if status in (401, 403):
        return _unauthorised(endpoint, url, status, said, where)
    if status == 404:
        return UnknownModel(
            f'no model "{endpoint.model}" at {url}: the server says "{said}" {where}; check the '
            "name, and that the URL ends where the API begins (often /v1)"
        )
    if status == 402 or code == "insufficient_quota":
        return UserError(
            f'{url} says "{said}" {where}: the account has no quota left; what was answered is '
            "stored, top it up and run the same command again"
        )
    if status in (408, 409, 429) or status >= 500:
        return RowFault(f"status {status}: {said}")
    if status == 400 and "max_completion_tokens" in said:
        return NeedsOtherField()
    if _TOO_LONG.search(f"{code} {said}") or status == 413:
        return RowFault(f"the prompt is too long for the model: {said}")
    if _FILTERED.search(f"{code} {said}"):
        return RowFault(f"the server's content filter refused the prompt: {said}")
    if _UNFINISHED.search(said):
        return RowFault(f"the model stopped before its answer: {said}")
    if logprobs and "logprobs" in said:
        return forbid_logprobs(endpoint)
    hint = next((f"; add ?{option}" for word, option in _OPTIONS if word in said), "")
    return Refused(f'{endpoint.model} at {url} refused row {row} ({status}): "{said}"{hint}')


def _unauthorised(
    endpoint: Endpoint, url: str, status: int, said: str, where: str
) -> CrucibleError:
    if endpoint.key_variable is None:
        return UserError(
            f'{url} wants a key (status {status}: "{said}") {where}: put it into an environment '
            "variable and name that with ?key=VARIABLE"
        )
    return UserError(
        f"{url} refused the key in {endpoint.key_variable} (status {status}: "
        f'"{said}") {where}; set {endpoint.key_variable} to a key that may use {endpoint.model}'
    )


def redirected(url: str, target: str, row: str) -> UserError:
    """For a redirect: following it could carry the key to somebody else."""
    host = urlsplit(target).netloc.rpartition("@")[2] or "another address"
    return UserError(
        f"{url} redirects to {host} (row {row}); redirects are not followed, so that no key goes "
        "where it was not meant to: if that host is right, write its URL into the reference"
    )


def unreachable(url: str, said: str) -> EnvironmentProblem:
    """For a server that cannot be spoken to."""
    return EnvironmentProblem(
        f"cannot reach {url}: {said}; check that the server runs and that the URL is right. What "
        "was answered is stored, the same command goes on from there"
    )


def untrusted(url: str, said: str) -> EnvironmentProblem:
    """For a failed TLS handshake."""
    host = urlsplit(url).hostname
    return EnvironmentProblem(
        f"no secure connection to {host}: {said}; if the server has a certificate of your own "
        "authority, name its file in SSL_CERT_FILE; for a plain server write http://"
    )
