"""The part of OpenAI's chat-completion format that the nano server supports.

`read_chat` parses a request's body into a `Request`, strictly: unsupported fields are refused, not
ignored. `write_chat` writes a `Response` as the body of a reply.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, Field

from harness.backends.base import Completion, Message, Request, Response, Sampling
from harness.core.errors import BadRecord
from harness.core.records import Record, parse

MODEL = "nano-oracle"
_WORD = re.compile(r"\S+\s*")


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status; code: OpenAI's error code.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class _Strict(Record):
    model_config = ConfigDict(strict=True)


class _Part(_Strict):
    type: Literal["text"]
    text: str


class _Turn(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]
    name: str | None = None


class _Format(_Strict):
    """Form of the reply; a schema is accepted for explorers, whose replies keep to it."""

    type: Literal["text", "json_schema"]
    json_schema: dict[str, Any] | None = None


class ChatBody(_Strict):
    """The body of POST /v1/chat/completions.

    Fields of the second group affect sampling or accounting of a real model. They are accepted and
    ignored: the oracle always gives the same answer.
    """

    model: str
    messages: list[_Turn] = Field(min_length=1)
    n: int | None = Field(default=None, ge=1, le=128)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stream: bool | None = None
    response_format: _Format | None = None

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


@dataclass(frozen=True)
class Chat:
    """A parsed request.

    Attributes:
        model: the requested model.
        request: the request for the oracle.
        max_tokens: maximum tokens of the reply; None for no limit.
        alternatives: number of top log-probabilities; None if none are requested.
    """

    model: str
    request: Request
    max_tokens: int | None
    alternatives: int | None


def read_chat(raw: bytes, served: str, id: str) -> Chat:
    """Parse the body of a request.

    Args:
        served: the only available model; "*" for any.
        id: id of the request for the oracle.

    Raises:
        Refused: the request is invalid, with the status and code that OpenAI's API gives.
    """
    try:
        data = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON ({error})", "invalid_json") from None
    if not isinstance(data, dict):
        raise Refused(400, "the body is JSON but no object", "invalid_json")
    try:
        body = parse(ChatBody, data, "request body")
    except BadRecord as error:
        raise Refused(400, str(error), "invalid_value") from None
    if served not in ("*", body.model):
        message = f'no model "{body.model}" here; this server has "{served}" (GET /v1/models)'
        raise Refused(404, message, "model_not_found")
    _check_together(body)
    sampling = Sampling(
        n=body.n or 1,
        seed=body.seed or 0,
        top_logprobs=max(1, body.top_logprobs or 0) if body.logprobs else None,
    )
    messages = tuple(Message(role=_role(turn), content=_content(turn)) for turn in body.messages)
    return Chat(
        body.model,
        Request(id=id, messages=messages, sampling=sampling),
        body.max_tokens or body.max_completion_tokens,
        (body.top_logprobs or 0) if body.logprobs else None,
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_together(body: ChatBody) -> None:
    if body.stream:
        message = 'this server answers in one piece; leave "stream" away or set it to false'
        raise Refused(400, message, "unsupported_value")
    if body.top_logprobs is not None and not body.logprobs:
        raise Refused(400, '"top_logprobs" needs "logprobs": true', "invalid_value")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        message = 'give "max_tokens" or "max_completion_tokens", not both'
        raise Refused(400, message, "invalid_value")


def _role(turn: _Turn) -> Literal["system", "user", "assistant"]:
    return "system" if turn.role == "developer" else turn.role


def _content(turn: _Turn) -> str:
    if isinstance(turn.content, str):
        return turn.content
    return "".join(part.text for part in turn.content)


def cut(response: Response, max_tokens: int | None) -> Response:
    """The response with texts truncated to `max_tokens` words; the oracle's tokens are words."""
    if max_tokens is None:
        return response
    completions = []
    for completion in response.completions:
        words = _WORD.findall(completion.text)
        if len(words) > max_tokens:
            text = "".join(words[:max_tokens]).rstrip()
            completion = completion.model_copy(update={"text": text, "finish": "length"})
        completions.append(completion)
    return response.model_copy(
        update={
            "completions": tuple(completions),
            "tokens_out": sum(len(c.text.split()) for c in completions),
        }
    )


def write_chat(chat: Chat, response: Response, fingerprint: str) -> bytes:
    """Body of a reply; verdicts with an explanation never have log-probabilities."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "logprobs": _logprobs(completion, chat.alternatives),
            "finish_reason": completion.finish,
        }
        for index, completion in enumerate(response.completions)
    ]
    return _json(
        {
            "id": f"chatcmpl-{chat.request.id}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": chat.model,
            "choices": choices,
            "usage": {
                "prompt_tokens": response.tokens_in,
                "completion_tokens": response.tokens_out,
                "total_tokens": response.tokens_in + response.tokens_out,
            },
            "system_fingerprint": fingerprint,
        }
    )


def _logprobs(completion: Completion, alternatives: int | None) -> dict[str, Any] | None:
    if alternatives is None or completion.top_logprobs is None:
        return None
    content = [
        {**_token(*listed[0]), "top_logprobs": [_token(*entry) for entry in listed[:alternatives]]}
        for listed in completion.top_logprobs
    ]
    return {"content": content, "refusal": None}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def write_error(status: int, message: str, code: str | None = None) -> bytes:
    """Body of an error."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return _json({"error": {"message": message, "type": kind, "param": None, "code": code}})


def write_models(models: Sequence[str]) -> bytes:
    """Body of the reply to GET /v1/models."""
    return _json({"object": "list", "data": [_model(name) for name in models]})


def write_model(name: str) -> bytes:
    """Body of the reply to GET /v1/models/NAME."""
    return _json(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "crucible"}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
