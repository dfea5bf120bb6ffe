"""Where a hosted model is, which key it needs, and what identifies it.

    Endpoint.parse("gpt-4-1106-preview")                        OpenAI, $OPENAI_API_KEY
    Endpoint.parse("judge@http://127.0.0.1:8000/v1")            your server, no key
    Endpoint.parse("m@https://host/v1", {"key": "HOST_KEY"})    the key in $HOST_KEY
    Endpoint.parse("m@http://a/v1,http://b/v1")                 replicas of one model

A key is sent only where the user intends it: $OPENAI_API_KEY to OpenAI or $OPENAI_BASE_URL, and to
a URL in a reference only the key in the variable that `key` names. The key is read when the first
call is sent and is part of no record.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import field_validator

from harness.core.errors import BadRecord, EnvironmentProblem, UserError
from harness.core.hashing import canonical_json, digest
from harness.core.records import Record, parse
from harness.engine.prices import PROVIDER

DEFAULT_URL = "https://api.openai.com/v1"
DEFAULT_KEY = "OPENAI_API_KEY"

TokenField = Literal["max_tokens", "max_completion_tokens"]

_URL_MARK = re.compile(r"@(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_BARE_URL = re.compile(r"@((?:localhost|[\w.-]+:\d+)(?:/\S*)?)$")
# Fields that Crucible writes itself.
RESERVED = frozenset(
    (
        "model", "messages", "prompt", "stream", "n", "seed", "temperature", "top_p", "max_tokens",
        "max_completion_tokens", "logprobs", "top_logprobs", "prompt_logprobs",
        "repetition_penalty", "return_token_ids", "skip_special_tokens",
    )
)  # fmt: skip
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Overrides(Record):
    """What the user says about a server; None lets the client find out.

    Attributes:
        max_tokens_field: the server's name for the limit of an answer's length.
        logprobs: false if the server returns no log-probabilities.
        seed, temperature: false omits it from requests (temperature includes top_p).
        n: false requests several samples of one prompt one by one.
        system: false puts a system message before the first user message, for models that refuse
            the role or whose roles must alternate.
        extra: JSON object of fields that are added to every request, such as
            {"reasoning_effort":"low"}; part of keys and fingerprints.
    """

    max_tokens_field: TokenField | None = None
    logprobs: bool | None = None
    seed: bool | None = None
    n: bool | None = None
    system: bool | None = None
    temperature: bool | None = None
    extra: str | None = None

    @field_validator("extra")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        """The fields as canonical JSON, so that their order in the text does not count."""
        if value is None:
            return None
        try:
            fields = json.loads(value)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or not fields:
            raise ValueError('expected a JSON object, as in extra={"reasoning_effort":"low"}')
        own = sorted(RESERVED & fields.keys())
        if own:
            raise ValueError(f"{', '.join(own)}: set by the settings of the suite or recipe")
        return canonical_json(fields).decode()

    @property
    def extra_fields(self) -> dict[str, Any]:
        """Fields that are added to every request."""
        return json.loads(self.extra) if self.extra else {}


class Options(Overrides):
    """Options after "?" in a reference.

    Attributes:
        key: environment variable with the API key.
        identity: replaces the URL in keys and fingerprints.
    """

    key: str | None = None
    identity: str | None = None


class Endpoint(Overrides):
    """A model behind one URL or several replicas.

    Attributes:
        base_urls: URLs without user information; the first also receives files and batches.
        key_variable: environment variable of the key; None sends none.
        identity: part of keys and fingerprints; never a secret.
        ambient: whether it is OpenAI or $OPENAI_BASE_URL, which may also receive the organisation
            and project headers of the environment.
    """

    model: str
    base_urls: tuple[str, ...]
    key_variable: str | None = None
    identity: str
    ambient: bool = False

    @classmethod
    def parse(cls, ref: str, options: Mapping[str, str] | None = None) -> Endpoint:
        """The endpoint of "MODEL[@URL[,URL...]]" and options; uses no network and no key.

        Raises:
            BadRecord: no model, an invalid URL or one with a secret, an unknown option.
        """
        if options and "api-version" in options:
            raise _versioned(f"openai:{_shown(ref)}", _split(ref)[1])
        if options and "template" in options:
            raise _templated(ref, options["template"])
        given = parse(Options, dict(options or {}), f"openai:{_shown(ref)}")
        model, typed = _split(ref)
        urls = tuple(_base_url(url, ref) for url in typed)
        base = os.environ.get("OPENAI_BASE_URL", "").strip()
        default = _base_url(base, "$OPENAI_BASE_URL") if base else DEFAULT_URL
        ambient = not urls or urls == (DEFAULT_URL,)
        urls = urls or (default,)
        if given.key is not None and not _VARIABLE.fullmatch(given.key):
            raise BadRecord(
                f"openai:{_shown(ref)}: key is not the name of an environment variable; expected "
                "key=MY_KEY (never put the key itself into a reference)"
            )
        flags = given.model_dump(include=set(Overrides.model_fields), exclude_none=True)
        return cls(
            model=model,
            base_urls=urls,
            key_variable=given.key or (DEFAULT_KEY if ambient else None),
            identity=given.identity or _identity(urls),
            ambient=ambient,
            **flags,
        )

    @property
    def overrides(self) -> dict[str, str | bool]:
        """What the user says about the server, without what the client found out."""
        return self.model_dump(include=set(Overrides.model_fields), exclude_none=True)

    def fingerprint(self, kind: str) -> str:
        """Identifies the model and how it is asked; uses no network and no key."""
        parts = [kind, self.identity, self.model, self.overrides]
        return f"openai:{self.model}/{digest(parts)[:16]}"

    def api_key(self) -> str | None:
        """The key to send, read from the environment now.

        Raises:
            EnvironmentProblem: the variable is not set or does not contain a key.
        """
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise EnvironmentProblem(
                f"{self.key_variable} is not set; {self.model} at {self.base_urls[0]} needs a key: "
                f"export {self.key_variable}=..., or name another variable with ?key=VARIABLE"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise EnvironmentProblem(
                f"{self.key_variable} contains blanks or characters that no key has; set it again"
            )
        return key


def is_loopback(url: str) -> bool:
    """Whether a URL is on this machine.

    >>> is_loopback("http://127.0.0.1:8000/v1"), is_loopback("https://api.openai.com/v1")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split(ref: str) -> tuple[str, list[str]]:
    mark = _URL_MARK.search(ref)
    if mark is None:
        bare = _BARE_URL.search(ref)
        if bare is not None:
            raise BadRecord(
                f"openai:{_shown(ref)}: a URL starts with http:// or https://, as in "
                f"{ref[: bare.start()]}@http://{bare[1]}"
            )
        model, urls = ref, []
    else:
        model, urls = ref[: mark.start()], ref[mark.end() :].split(",")
    if not model.strip() or model != model.strip():
        raise BadRecord(
            f'"openai:{_shown(ref)}" names no model; expected openai:<model>[@<url>], for example '
            "openai:gpt-4-1106-preview or openai:my-judge@http://127.0.0.1:8000/v1"
        )
    return model, urls


def _base_url(url: str, where: str) -> str:
    """The URL without query, fragment and trailing slash."""
    where = _shown(where)
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise BadRecord(f"{where}: not a URL ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise BadRecord(
            f'{where}: found a URL of the kind "{parts.scheme}"; expected http:// or https://'
        )
    if parts.username is not None or parts.password is not None:
        raise BadRecord(
            f"{where}: the URL contains a user name or password, but references are stored and "
            "shown; put the secret into an environment variable and name it with ?key=VARIABLE"
        )
    if not parts.hostname:
        raise BadRecord(f"{where}: the URL has no host; expected http://host:port/v1")
    if "api-version=" in parts.query:
        raise _versioned(where, [url])
    if parts.query:
        raise BadRecord(f"{where}: a base URL has no query; expected http://host:port/v1")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _versioned(where: str, urls: list[str]) -> BadRecord:
    """For Azure's older form of URL, whose query the openai SDK would need on every call."""
    host = urlsplit(urls[0]).netloc.rpartition("@")[2] if urls else "RESOURCE.openai.azure.com"
    return BadRecord(
        f"{where}: found Azure's api-version in the URL; expected Azure's v1 API, which has no "
        f"version: openai:DEPLOYMENT@https://{host}/openai/v1?key=AZURE_OPENAI_API_KEY"
    )


def _templated(ref: str, given: str) -> BadRecord:
    """For arguments of a chat template, which the server renders."""
    arguments = given if given.lstrip().startswith("{") else '{"enable_thinking":false}'
    return BadRecord(
        f"openai:{_shown(ref)}: found template=..., but a server renders its chat template itself; "
        "expected the option extra, whose fields are added to every request: "
        f'openai:{_shown(ref)}?extra={{"chat_template_kwargs":{arguments}}}'
    )


def _identity(urls: tuple[str, ...]) -> str:
    return PROVIDER if urls == (DEFAULT_URL,) else ",".join(sorted(urls))


def _shown(ref: str) -> str:
    """A reference as shown in messages: without user information and query."""
    return re.sub(r"(://)[^/,@]*@", r"\1...@", ref).partition("?")[0]


def forbid_logprobs(endpoint: Endpoint) -> UserError:
    """The error for a judge without log-probabilities whose protocol needs them."""
    return UserError(
        f"{endpoint.model} at {endpoint.base_urls[0]} returns no log-probabilities, and alpaca's "
        "published protocol reads the verdict from those of the first token: choose a model or "
        "server that returns them, or an annotator that reads the reply's text "
        "(--set alpaca_eval2.annotator=<name>); numbers of the two are not comparable"
    )
