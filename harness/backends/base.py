"""The interface between code that asks a model and code that runs one.

A backend has two verbs. `generate` answers requests and yields responses in completion order;
`score` returns the log-probabilities of given answers. Both identify an answer by the id of its
request. Ids are unique within a call, and every id is returned exactly once: a failed request
returns a response with `error` set, not an exception, so that one bad row does not lose the others.
Settings with which no row can work (an unknown option, a missing model) raise an exception.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from pydantic import Field

from harness.core.errors import BadData, UserError
from harness.core.hashing import digest
from harness.core.records import Record

GREEDY_BELOW = 1e-4  # a temperature below this selects the most likely token

Finish = Literal["stop", "length", "content_filter", "refusal", "tool_calls"]
TopLogprobs = tuple[tuple[tuple[str, float], ...], ...]  # per token (text, log-prob), best first


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Record):
    """Decoding settings. `seed` and the request's id determine every sample of a local engine.

    A `repetition_penalty` above 1 divides the positive logits of tokens in the prompt and the
    answer so far, and multiplies the negative ones (arXiv 1909.05858). 1 is left out of digests.

    Attributes:
        reply_schema: JSON schema, as JSON, that a server must keep its answer to; "" for none. A
            model in this process ignores it.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    n: int = Field(default=1, ge=1)
    seed: int = 0
    top_logprobs: int | None = Field(default=None, ge=1, le=20)
    repetition_penalty: float = Field(default=1.0, gt=0, exclude_if=lambda value: value == 1)
    reply_schema: str = Field(default="", exclude_if=lambda value: not value)

    @property
    def fingerprint(self) -> str:
        """Identifies the decoding settings without the seed."""
        return digest(self.model_dump(exclude={"seed"}))[:16]


class Request(Record):
    """A prompt to be answered `sampling.n` times."""

    id: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()


class Completion(Record):
    """One sampled answer.

    Attributes:
        text: the answer without special tokens, except markers of thoughts.
        finish: "stop" if the model ended its turn, "length" if the answer reached its token limit,
            "content_filter" if a provider's filter ended it, "refusal" if the model refused in the
            provider's own field for it, "tool_calls" if the model called tools
            and said nothing. An answer that was lost is an error of the response.
        thought: what a server returns as the model's reasoning, apart from the text.
        token_ids: sampled ids without the one that stopped the answer; None from an API.
        top_logprobs: per token, in order, the most likely (token text, natural log-probability)
            pairs; probabilities before temperature and top-p.
        served_by: the model that a server names, if it is another than the one asked for.
    """

    text: str
    finish: Finish
    token_ids: tuple[int, ...] | None = None
    top_logprobs: TopLogprobs | None = None
    thought: str | None = Field(default=None, exclude_if=lambda value: value is None)
    served_by: str | None = Field(default=None, exclude_if=lambda value: value is None)


class Response(Record):
    """The `n` answers to one request, or an error and no answer.

    `cached` answers come from stored responses and cost nothing now; `cost_usd` is None for a model
    without a price.
    """

    id: str
    completions: tuple[Completion, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    prompt_ids: tuple[int, ...] | None = None
    error: str | None = None
    cached: bool = False
    cost_usd: float | None = None


class ScoreRequest(Record):
    """A given answer whose log-probability is wanted.

    Attributes:
        form: "chat" scores the answer, with its end of turn, behind the model's chat template;
            "text" scores it as the continuation of the messages' contents, joined without a
            template. Where these are too long, see `harness.models.passages.PlainText`.
    """

    id: str
    messages: tuple[Message, ...]
    response: str
    form: Literal["chat", "text"] = Field(default="chat", exclude_if=lambda value: value == "chat")


class Score(Record):
    """Natural log-probability of an answer given its prompt.

    Attributes:
        logp: sum over the answer's tokens and the end-of-turn token, which a continuation of plain
            text does not have; None after an error.
        tokens: number of summed tokens.
        token_logps: one log-probability per summed token.
    """

    id: str
    logp: float | None
    tokens: int
    token_logps: tuple[float, ...] = ()
    error: str | None = None


Next = Callable[[Response], Request | None]  # the request that follows an answer


class Backend(ABC):
    """A language model, or anything that answers in place of one.

    A subclass has a `fingerprint` and the two verbs; the other members have defaults, which it
    overrides where it can do better.

    Attributes:
        parallel: number of requests that callers should send in one call; 1 for a model in this
            process, which takes one batch of rows per call.
        tokenizer: transformers tokenizer that renders the prompts; None for a server that takes
            messages.
        context: maximum number of tokens per prompt and answer; None where it is unknown.
    """

    parallel: int = 1
    tokenizer: Any = None
    context: int | None = None

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the model and how it is run; part of every cell that a judge scored."""

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Answer the requests, each once, in any order."""

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Score the answers, each once, in any order.

        Raises:
            UserError: the model returns no log-probabilities of given texts.
        """
        raise UserError(
            f"{self.fingerprint} returns no log-probabilities of given texts; expected a language "
            "model: a folder, a hub id, nano:<name> or vllm:<model>"
        )

    def follow(self, requests: Sequence[Request], next: Next) -> Iterator[Response]:
        """Answer requests, and those that `next` makes of their answers, until it makes none.

        `next` is called once per answer, before the answer is yielded. The default works in rounds;
        a backend that can continue from one answer while others are under way overrides it.
        """
        with self.keeping_prefixes():
            while requests:
                following = []
                for response in self.generate(requests):
                    request = next(response)
                    if request is not None:
                        following.append(request)
                    yield response
                requests = following

    def keeping_prefixes(self) -> AbstractContextManager[None]:
        """Inside, a backend that can do so reads common beginnings of prompts only once.

        For the turns of dialogues, also across calls of `generate`; see `HFBackend`.
        """
        return nullcontext()

    def check_access(self) -> None:  # noqa: B027 (most backends have nothing to check)
        """Raise what would stop the first request, such as a missing key; sends nothing."""

    def check_reach(self) -> None:  # noqa: B027 (only servers can be out of reach)
        """Raise if the server does not answer; asks it nothing that costs."""


def messages_of(rows: Sequence[dict[str, str]]) -> tuple[Message, ...]:
    """Records of the {"role", "content"} dictionaries in rows.

    >>> messages_of([{"role": "user", "content": "2+2?"}])[0].content
    '2+2?'
    """
    return tuple(Message.model_validate(row) for row in rows)


def plain_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Dictionaries as chat templates and APIs take them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def count_response(count: Callable[..., None], response: Response) -> None:
    """Add a response to a ledger (`Context.count`); a stored one costs nothing."""
    if response.cached:
        count(cached=1)
    else:
        count(
            tokens_in=response.tokens_in,
            tokens_out=response.tokens_out,
            requests=1,
            cost_usd=response.cost_usd,
        )


def check_unique(ids: Sequence[str]) -> None:
    """Refuse two requests with one id: their answers could not be told apart.

    Raises:
        BadData: naming the first repeated id.
    """
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise BadData(f'two requests have the id "{name}"; expected unique ids')
        seen.add(name)
