"""Which failures belong to one row and which end the run; messages without secrets.

A failure that every other request would share (a refused key, an unknown model, an empty account, a
setting that the server does not accept) ends the run at once. A failure of the prompt (too long,
refused by a content filter) or a temporary one (rate limits, server errors, after all retries) is
an error of its row, which a later run sends again. Of any other refusal only the other requests
tell what it is: see `Refused` and `harness.backends.api.client`.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from harness.backends.api.endpoint import Endpoint, forbid_logprobs
from harness.backends.api.refusals import OF_THE_ROW, Kind, classify
from harness.core.errors import CrucibleError, EnvironmentProblem, UnknownName, UserError
from harness.core.text import line

NO_CONNECTION = "no connection"
SHOWN = 300  # maximum number of characters of a server's message
READ = 4000  # maximum number of characters of a message that are classified

_TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,1000}>")
_BEARER = re.compile(r"(?i)(bearer\s+|\bsk-)[A-Za-z0-9_\-.]{6,}")
_LIMIT_HINT = (
    "; set a lower one: SUITE.judge_max_tokens=NUMBER for a judge, SUITE.decode.max_tokens=NUMBER "
    "for a model (--set)"
)


class RowFault(Exception):
    """An error of one row; the run continues.

    Attributes:
        temporary: whether it may be the server's instead, if many follow each other.
    """

    def __init__(self, message: str, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


class NeedsOtherField(Exception):
    """The server uses the other name for the limit of an answer's length."""


class Refused(UserError):
    """The server refuses a request, for a reason that others may share.

    Attributes:
        reason: for the row, if the reason is its own.
        shared: whether the words are about a setting that all requests have.
    """

    def __init__(self, message: str, reason: str, shared: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.shared = shared


class UnknownModel(Refused, UnknownName):
    """The server does not know the model, or the URL is not an API's."""


class Scrub:
    """Removes an API key, and text that looks like one, from text that is shown or stored."""

    def __init__(self, key: str | None) -> None:
        self._key = key if key and len(key) >= 4 else None
        self._escaped = re.compile("".join(map(_spellings, key))) if self._key and key else None

    def text(self, text: str) -> str:
        """For messages: also removes other text that looks like a key."""
        return _BEARER.sub(r"\1...", self.body(text))

    def body(self, text: str) -> str:
        """For stored bodies: removes the key only, since answers may contain any text.

        In JSON the key may be written with escapes, which a reader would undo.
        """
        if self._key and self._key in text:
            text = text.replace(self._key, "...")
        if self._escaped and "\\" in text:
            text = self._escaped.sub("...", text)
        return text

    def __repr__(self) -> str:
        return "Scrub()"


def _spellings(character: str) -> str:
    """Pattern of a character's spellings in JSON, also in JSON inside a JSON text."""
    plain = re.escape(character)
    escaped = rf"\\+(?i:u{ord(character):04x})"
    return rf"(?:{plain}|{escaped}|\\+{plain})" if character in '/"\\' else f"(?:{plain}|{escaped})"


class Said(NamedTuple):
    """What the body of an error says.

    Attributes:
        shown: its message as one line that is safe to show.
        code: its code or type.
        text: more of the message, for `refusals.classify`.
    """

    shown: str
    code: str
    text: str


def server_message(content: bytes, scrub: Scrub) -> Said:
    """The message and the code in an error body."""
    text = content[: 16 * READ].decode(errors="replace")
    code = ""
    try:
        data: Any = json.loads(text)
        error = data.get("error", data) if isinstance(data, dict) else data
        if isinstance(error, dict):
            code = str(error.get("code") or error.get("type") or "")
            text = str(error.get("message") or error.get("detail") or error)
        else:
            text = str(error)
    except (ValueError, RecursionError):
        pass
    whole = " ".join(_TAG.sub(" ", scrub.text(text[:READ])).split())
    return Said(shown(whole), line(scrub.text(code), 80), whole)


def shown(text: str) -> str:
    """A server's message in one line."""
    return line(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...", 2 * SHOWN)


def refused(
    endpoint: Endpoint, url: str, status: int, said: Said, row: str, logprobs: bool
) -> Exception:
    """The error for a response with an error status, after the SDK's retries.

    Args:
        row: id of the request.
        logprobs: whether log-probabilities were requested.
    """
    kind, option = classify(status, said.text, said.code, logprobs)
    where, words = f"(row {row})", said.shown
    reason = f"the server refused the request ({status}): {words}"
    if kind in OF_THE_ROW:
        return RowFault(f"{kind.value}: {words}")
    if kind is Kind.TOKEN_FIELD:
        return NeedsOtherField()
    if kind is Kind.TEMPORARY:
        return RowFault(f"status {status}: {words}", temporary=True)
    if kind is Kind.QUOTA:
        message = (
            f'{url} says "{words}" {where}: the account has no quota left; received answers are '
            "stored: add funds and run the same command again"
        )
        sure = status in (402, 429)
        return UserError(message) if sure else Refused(message, reason, shared=True)
    if kind is Kind.MODEL:
        return UnknownModel(
            f'no model "{endpoint.model}" at {url}: the server says "{words}" {where}; check the '
            "name, and that the URL ends where the API begins (often /v1)",
            reason,
        )
    if kind is Kind.LOGPROBS:
        unable = forbid_logprobs(endpoint)
        return Refused(f'{unable}; the server says "{words}" {where}', reason, shared=True)
    if kind in (Kind.PLACE, Kind.ACCESS):
        message = (
            f'{url} says "{words}" (status {status}) {where}: {kind.value} ({endpoint.model}); '
            "received answers are stored: run the same command again once it does, or choose "
            "another model or server"
        )
        return Refused(message, reason, shared=True)
    if kind is Kind.KEY or (kind is Kind.OTHER and status == 403):
        problem = _unauthorised(endpoint, url, status, words, where)
        if status == 401:
            return problem
        return Refused(str(problem), reason, shared=kind is Kind.KEY)
    hint = f"; add ?{option} to the reference" if option else ""
    hint += _LIMIT_HINT if kind is Kind.LIMIT else ""
    message = f'{endpoint.model} at {url} refused row {row} ({status}): "{words}"{hint}'
    return Refused(message, reason, shared=kind is not Kind.OTHER)


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


def used_up(url: str, said: str, row: str, wait_s: float | None) -> UserError:
    """For a rate limit that no patience outlasts, such as a daily one."""
    when = f" in {duration(wait_s)}" if wait_s else " when the limit is renewed"
    return UserError(
        f'{url} says "{said}" (row {row}): the limit is used up; received answers are stored: run '
        f"the same command again{when}"
    )


def duration(seconds: float) -> str:
    """Seconds for a reader.

    >>> duration(45), duration(300), duration(18120)
    ('45 s', '5 min', '5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


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


def unusable(url: str, said: str) -> EnvironmentProblem:
    """For a server that answers many requests in a row with errors only."""
    return EnvironmentProblem(
        f"{url} answers, but not with what was asked for: {said}; check that the URL is that of an "
        "OpenAI-compatible API and that the server is sound. Received answers are stored; the same "
        "command continues from there"
    )


def untrusted(url: str, said: str) -> EnvironmentProblem:
    """For a failed TLS handshake."""
    host = urlsplit(url).hostname
    return EnvironmentProblem(
        f"no secure connection to {host}: {said}; for a certificate of your own authority set "
        "SSL_CERT_FILE to its file; for a server without TLS write http://"
    )
