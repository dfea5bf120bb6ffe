"""Which failures belong to one row and which end the run; messages without secrets.

A failure that every other request would share (a refused key, an unknown model, an empty account, a
setting that the server does not accept) ends the run at once. A failure of the prompt (too long,
refused by a content filter) or a temporary one (rate limits, server errors, after all retries) is
an error of its row, which a later run sends again.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from harness.backends.api.endpoint import Endpoint, forbid_logprobs
from harness.core.errors import CrucibleError, EnvironmentProblem, UnknownName, UserError

NO_CONNECTION = "no connection"
SHOWN = 300  # maximum number of characters of a server's message

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
# A word in the server's refusal -> the option that omits the setting.
_OPTIONS = (
    ("temperature", "temperature=false"),
    ("top_p", "temperature=false"),
    ("seed", "seed=false"),
    ("system", "system=false"),
    ("'n'", "n=false"),
    ('"n"', "n=false"),
)


class RowFault(Exception):
    """An error of one row; the run continues."""


class NeedsOtherField(Exception):
    """The server uses the other name for the limit of an answer's length."""


class UnknownModel(UnknownName):
    """The server does not know the model, or the URL is not an API's."""


class Refused(UserError):
    """The server refuses a request for a reason that similar requests share."""


class Scrub:
    """Removes an API key, and text that looks like one, from text that is shown or stored."""

    def __init__(self, key: str | None) -> None:
        self._key = key if key and len(key) >= 4 else None

    def text(self, text: str) -> str:
        """For messages: also removes other text that looks like a key."""
        return _BEARER.sub(r"\1...", self.body(text))

    def body(self, text: str) -> str:
        """For stored bodies: removes the key only, since answers may contain any text."""
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
    """The error for a response with an error status, after the SDK's retries.

    Args:
        said, code: the server's message and code.
        row: id of the request.
        logprobs: whether log-probabilities were requested.
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
            f'{url} says "{said}" {where}: the account has no quota left; received answers are '
            "stored: add funds and run the same command again"
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
            f'{url} requires a key (status {status}: "{said}") {where}: put it into an environment '
            "variable and name that with ?key=VARIABLE"
        )
    return UserError(
        f"{url} refused the key in {endpoint.key_variable} (status {status}: "
        f'"{said}") {where}; set {endpoint.key_variable} to a key that may use {endpoint.model}'
    )


def redirected(url: str, target: str, row: str) -> UserError:
    """For a redirect: following it could send the key to another host."""
    host = urlsplit(target).netloc.rpartition("@")[2] or "another address"
    return UserError(
        f"{url} redirects to {host} (row {row}); redirects are not followed, so that the key is "
        "not sent to another host: if that host is right, write its URL into the reference"
    )


def unreachable(url: str, said: str) -> EnvironmentProblem:
    """For a server that cannot be reached."""
    return EnvironmentProblem(
        f"cannot reach {url}: {said}; check that the server runs and that the URL is right. "
        "Received answers are stored; the same command continues from there"
    )


def untrusted(url: str, said: str) -> EnvironmentProblem:
    """For a failed TLS handshake."""
    host = urlsplit(url).hostname
    return EnvironmentProblem(
        f"no secure connection to {host}: {said}; for a certificate of your own authority set "
        "SSL_CERT_FILE to its file; for a server without TLS write http://"
    )
