"""Requests as bodies and keys; bodies as completions and scores.

A call's key is a digest of everything that shapes its answer and of nothing else: not of the
request's id, a URL or an API key. Two runs with the same call get the same stored response.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, from_json, to_json

from harness.backends.api.endings import Unfinished, finish_of, thought_of
from harness.backends.api.endpoint import Endpoint
from harness.backends.api.logprobs import BadLogprobs, chat_tops, likeliest, logprob
from harness.backends.api.served import other_model
from harness.backends.base import Completion, Message, Sampling, Score, TopLogprobs
from harness.core.hashing import canonical_json, seed_from

SCHEMA = 1
BYTES_PER_TOKEN = 3  # UTF-8 bytes per token, for an upper bound on tokens of usual text

FILTERED = "the server's content filter refused the prompt: the reply has no choices"
NO_LOGPROBS = "the reply has no log-probabilities"

Kind = Literal["chat", "completions", "score"]
PATHS: dict[Kind, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "score": "/completions",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One body to send.

    Attributes:
        id: id of its request, for messages.
        key: 64 hexadecimal digits; the key of its stored response.
        prompt: messages for "chat", else token ids.
        tokens_in: maximum number of tokens in the prompt.
        model: name of the model, to compare with the one that a reply names.
    """

    id: str
    key: str
    kind: Kind
    prompt: tuple[Message, ...] | tuple[int, ...]
    sampling: Sampling
    tokens_in: int
    model: str = ""

    @property
    def tokens(self) -> int:
        """Maximum number of tokens, read and written, of the call."""
        return self.tokens_in + self.sampling.n * self.sampling.max_tokens


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a call: answers or an error.

    Attributes:
        reply: the server's body, for scores only; answers are read when it arrives.
        shared: whether the answer belongs to another call with the same key, which was paid for.
        cost_usd: None if the model has no price.
    """

    call: Call
    completions: tuple[Completion, ...] = ()
    reply: dict[str, Any] | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0
    error: str | None = None
    shared: bool = False

    @property
    def booked(self) -> dict[str, Any]:
        """What an account books for one answered request, see `Account.settle`."""
        return {
            "requests": 1,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost_usd": self.cost_usd,
        }


def chat_call(endpoint: Endpoint, id: str, messages: tuple[Message, ...], how: Sampling) -> Call:
    """A call with messages."""
    shown = [[message.role, message.content] for message in messages]
    size = sum(len(message.content.encode(errors="replace")) + 24 for message in messages)
    key = _key(endpoint, "chat", shown, how)
    return Call(id, key, "chat", messages, how, size // BYTES_PER_TOKEN + 1, endpoint.model)


def token_call(endpoint: Endpoint, id: str, kind: Kind, ids: Sequence[int], how: Sampling) -> Call:
    """A call with token ids, for answers ("completions") or their log-probabilities ("score")."""
    prompt = tuple(ids)
    key = _key(endpoint, kind, prompt, how)
    return Call(id, key, kind, prompt, how, len(prompt), endpoint.model)


CONTROLS = ("Hello.", "What is 2 + 2?", "Name a colour.")  # harmless prompts


def control_call(call: Call, endpoint: Endpoint, text: str) -> Call:
    """A harmless call with the same settings and roles: refused, if not for its prompt, too."""
    id = f"{call.id} (control)"
    if call.kind != "chat":
        return token_call(endpoint, id, call.kind, call.prompt[:4], call.sampling)  # type: ignore[arg-type]
    messages: list[Message] = [m.model_copy(update={"content": text}) for m in call.prompt]  # type: ignore[union-attr]
    return chat_call(endpoint, id, tuple(messages), call.sampling)


def _key(endpoint: Endpoint, kind: Kind, prompt: object, how: Sampling) -> str:
    before, after = _around(endpoint, kind, how)
    return hashlib.sha256(before + _written(prompt) + after).hexdigest()


def _written(prompt: object) -> bytes:
    """JSON of lists of texts or numbers: a faster way to the same bytes."""
    try:
        return to_json(prompt)
    except PydanticSerializationError:  # a lone surrogate
        return canonical_json(prompt)


@lru_cache(maxsize=64)
def _around(endpoint: Endpoint, kind: Kind, how: Sampling) -> tuple[bytes, bytes]:
    """The canonical JSON of a key's parts, before and after the prompt."""
    parts: dict[str, object] = {
        "schema": SCHEMA,
        "kind": kind,
        "identity": endpoint.identity,
        "model": endpoint.model,
        "prompt": None,
        "sampling": how.model_dump(),
    }
    # Options that change the body's meaning; the name of the token limit does not.
    changed: dict[str, object] = {
        k: v for k, v in endpoint.overrides.items() if k in _SHAPING and v is False
    }
    if endpoint.extra:
        changed["extra"] = endpoint.extra_fields
    if changed:
        parts["changed"] = changed
    before, mark, after = canonical_json(parts).partition(b'"prompt":null')
    return before + mark.removesuffix(b"null"), after


_SHAPING = ("seed", "system", "temperature")


def samples(endpoint: Endpoint, how: Sampling) -> list[Sampling]:
    """The settings of each call of a request: one call, or `n` if the server does not support n."""
    if how.n == 1 or endpoint.n is not False:
        return [how]
    first = how.model_copy(update={"n": 1})
    rest = (seed_from(how.seed, number) >> 32 for number in range(1, how.n))
    return [first, *(first.model_copy(update={"seed": seed}) for seed in rest)]


def body(call: Call, endpoint: Endpoint, token_field: str) -> dict[str, Any]:
    """The JSON body of a call.

    Args:
        token_field: the server's name for the limit of an answer's length.
    """
    how = call.sampling
    asked: dict[str, Any] = {"model": endpoint.model, **endpoint.extra_fields}
    if call.kind == "chat":
        asked["messages"] = _messages(call.prompt, endpoint.system is not False)
        asked[token_field] = how.max_tokens
        if how.top_logprobs is not None:
            asked |= {"logprobs": True, "top_logprobs": how.top_logprobs}
    else:
        asked |= {"prompt": list(call.prompt), "max_tokens": how.max_tokens}
        if call.kind == "score":
            return asked | {"temperature": 0, "prompt_logprobs": how.top_logprobs or 1}
        asked |= {"return_token_ids": True, "skip_special_tokens": True}
        if how.top_logprobs is not None:
            asked["logprobs"] = how.top_logprobs
    if endpoint.temperature is not False:
        asked["temperature"] = how.temperature
        if how.top_p < 1:
            asked["top_p"] = how.top_p
        if how.repetition_penalty != 1:  # vLLM accepts it, OpenAI refuses it by name
            asked["repetition_penalty"] = how.repetition_penalty
    if endpoint.seed is not False:
        asked["seed"] = how.seed
    if how.n > 1:
        asked["n"] = how.n
    if how.reply_schema:
        schema = {"name": "reply", "strict": True, "schema": json.loads(how.reply_schema)}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    return asked


def _messages(messages: Sequence[Any], system: bool) -> list[dict[str, str]]:
    found = [{"role": message.role, "content": message.content} for message in messages]
    if system:
        return found
    kept = [message for message in found if message["role"] != "system"]
    said = [message["content"] for message in found if message["role"] == "system"]
    for message in kept if said else ():
        if message["role"] == "user":
            message["content"] = "\n\n".join([*said, message["content"]])
            return kept
    return kept or [{"role": "user", "content": "\n\n".join(said)}]


def parse(text: str) -> Any:
    """JSON as Python objects; several times faster than the standard library on valid text.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return from_json(text)
    except ValueError:  # it refuses lone surrogates, which truncated emoji leave
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("the reply is nested too deeply") from None


def read(call: Call, reply: object) -> tuple[Completion, ...]:
    """The answers in a body with status 200; none for "score", see `score`.

    Raises:
        ValueError: the reason why the body is unusable.
    """
    if not isinstance(reply, dict):
        raise ValueError("the reply is not a JSON object")
    if not reply.get("choices"):
        error = reply.get("error")
        if error:
            said = error.get("message", error) if isinstance(error, dict) else error
            raise ValueError(f"the server sent an error with status 200: {str(said)[:200]}")
        if "prompt_filter_results" in reply or "promptFeedback" in reply:
            raise ValueError(FILTERED)
        raise ValueError("the reply has no choices")
    if call.kind == "score":
        return ()
    try:
        return _completions(call, reply)
    except (BadLogprobs, Unfinished):
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the reply has an unknown form ({type(error).__name__})") from None


def hidden_status(reply: object) -> int:
    """The status of an error that a gateway sent with status 200; 0 without one."""
    error = reply.get("error") if isinstance(reply, dict) and not reply.get("choices") else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 0


def lacks_logprobs(call: Call, completions: Sequence[Completion]) -> bool:
    """Whether an answer has a text and not the log-probabilities that were requested."""
    if call.kind == "score" or call.sampling.top_logprobs is None:
        return False
    return any(not c.top_logprobs and c.text for c in completions)


def usage(reply: dict[str, Any]) -> tuple[int, int] | None:
    """Tokens read and written as the server counts them; None if it does not."""
    counted = reply.get("usage")
    if not isinstance(counted, dict):
        return None
    try:
        return int(counted["prompt_tokens"]), int(counted.get("completion_tokens") or 0)
    except (KeyError, TypeError, ValueError):
        return None


def _completions(call: Call, reply: dict[str, Any]) -> tuple[Completion, ...]:
    choices = reply["choices"]
    if len(choices) > 1:
        choices = sorted(choices, key=lambda choice: choice.get("index") or 0)
    one = _chat_choice if call.kind == "chat" else _token_choice
    wanted = call.sampling.top_logprobs
    named = other_model(call.model, reply)
    return tuple(one(choice, wanted, named) for choice in choices[: call.sampling.n])


def _chat_choice(choice: dict[str, Any], wanted: int | None, named: str | None) -> Completion:
    message = choice["message"]
    text = message.get("content")
    if isinstance(text, list):
        text = "".join(_text_of(part) for part in text)
    tops: TopLogprobs | None = None
    if wanted is not None:
        tops = chat_tops(choice.get("logprobs") or {}, wanted)
    # Built without validation, because thousands are read at once; every field is set here.
    text = _text(text or message.get("refusal"))
    return Completion.model_construct(
        text=text,
        finish=finish_of(choice, text),
        token_ids=None,
        top_logprobs=tops,
        thought=thought_of(message) or None,
        served_by=named,
    )


def _token_choice(choice: dict[str, Any], wanted: int | None, named: str | None) -> Completion:
    finish = finish_of(choice, choice.get("text") or "")
    ids = choice.get("token_ids")
    if ids is not None:
        # vLLM's ids include the id that stopped the answer, unless a string stopped it.
        stopped = finish == "stop" and not isinstance(choice.get("stop_reason"), str)
        ids = tuple(ids[:-1] if stopped else ids)
    tops: TopLogprobs | None = None
    if wanted is not None:
        given = (choice.get("logprobs") or {}).get("top_logprobs")
        if given:
            given = given if ids is None else given[: len(ids)]
            tops = tuple(likeliest((entry or {}).items(), wanted) for entry in given)
    return Completion.model_construct(
        text=_text(choice["text"]),
        finish=finish,
        token_ids=ids,
        top_logprobs=tops,
        served_by=named,
    )


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value or ""


_ANSWER_PARTS = (None, "text", "output_text")  # other parts are thoughts, images, calls


def _text_of(part: Any) -> str:
    """The answer's text in a part of a content list; "" in a part of a thought."""
    if isinstance(part, str):
        return part
    if part.get("type") == "refusal":
        return _text(part.get("refusal"))
    return _text(part.get("text")) if part.get("type") in _ANSWER_PARTS else ""


def score(id: str, reply: dict[str, Any], answer: Sequence[int]) -> Score:
    """The log-probability of the last `len(answer)` ids of a prompt, from `prompt_logprobs`."""
    given = reply["choices"][0].get("prompt_logprobs")
    tokens = len(answer)
    if not isinstance(given, list) or len(given) <= tokens:
        return Score(id=id, logp=None, tokens=tokens, error="the server scored no prompt tokens")
    logps = []
    for token, entry in zip(answer, given[len(given) - tokens :], strict=True):
        given_value = ((entry or {}).get(str(token)) or {}).get("logprob")
        try:
            value = logprob(given_value)
        except BadLogprobs:
            value = None
        if value is None:
            error = "the server gave no finite log-probability for a token of the answer"
            return Score(id=id, logp=None, tokens=tokens, error=error)
        logps.append(value)
    return Score(id=id, logp=math.fsum(logps), tokens=tokens, token_logps=tuple(logps))
