"""Asking a helper model about rows, and scoring given texts, as row operations.

    ask          rows + model -> the same rows, each with a reply and the value read from it
    score_texts  rows + model -> the same rows, each with the log-probabilities of its texts

What is asked and how a reply is read are two functions that the parameters name, see
`harness.backends.prompting`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from harness.backends.base import Message, Request, Sampling, Score, ScoreRequest, messages_of
from harness.backends.conversing import Turn, converse_about_rows
from harness.backends.limits import notes_on_limits
from harness.backends.opening import EngineParams, open_engine
from harness.backends.prompting import Build, Read, Unreadable, code_of, function
from harness.backends.windows import in_windows
from harness.core.errors import BadData
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Estimate, Row, operation


@dataclass(frozen=True)
class Query:
    """A question that is repeated while its reply cannot be read.

    Attributes:
        read: value of a turn; raises `Unreadable`.
        retries: maximum number of repetitions.
        repair: request for a readable reply, sent after the unreadable one; "" repeats the question
            alone, with the next seed.
    """

    id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    read: Callable[[Turn], Any]
    retries: int = 2
    repair: str = ""

    def ask(self, turns: Sequence[Turn]) -> Request | None:
        """See `harness.backends.conversing.Dialogue`."""
        if turns and (len(turns) > self.retries or self.outcome(turns)["failure"] is None):
            return None
        shown = self.messages
        if turns and self.repair and turns[-1].text.strip():
            said = Message(role="assistant", content=turns[-1].text)
            shown = (*shown, said, Message(role="user", content=self.repair))
        how = self.sampling.model_copy(update={"seed": self.sampling.seed + len(turns)})
        return Request(id=f"{self.id}#{len(turns) + 1}", messages=shown, sampling=how)

    def outcome(self, turns: Sequence[Turn]) -> Row:
        """The value, or None and why it failed, with the last reply and the number of attempts."""
        last = turns[-1]
        found: Row = {"value": None, "reply": last.text, "finish": last.finish}
        found |= {"attempts": len(turns), "failure": None}
        if last.error is not None:
            return {**found, "finish": None, "failure": f"the model failed: {last.error}"}
        try:
            return {**found, "value": self.read(last)}
        except Unreadable as problem:
            cut = "the reply was cut off; " if last.finish == "length" else ""
            return {**found, "failure": f"{cut}{problem}"}


NOTHING_ASKED: Row = {
    "value": None, "reply": "", "finish": None, "attempts": 0, "failure": "nothing was asked"
}  # fmt: skip


class PromptParams(EngineParams):
    """How a row becomes a prompt.

    Attributes:
        prompt, prompt_settings: prompt builder and its keyword arguments.
        batch_size: rows per batch, which is stored, and repeated after an interruption, as a whole.
        code: digest of the modules of functions that no table names; computed, never given.
    """

    prompt: str = "messages"
    prompt_settings: dict[str, Any] = Field(default_factory=dict)
    batch_size: int = Field(default=64, ge=1)
    code: str = Field(default="", exclude_if=lambda value: not value)

    @model_validator(mode="before")
    @classmethod
    def _with_code(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {**data, "code": code_of([data.get("prompt"), data.get("reader")])}

    @model_validator(mode="after")
    def _functions_fit(self) -> Self:
        _ = self.build
        return self

    @property
    def build(self) -> Build:
        """The prompt builder with its settings."""
        return function("PROMPTS", self.prompt, 1, self.prompt_settings)


class AskParams(PromptParams):
    """How to ask.

    Attributes:
        reader, reader_settings: reply parser and its keyword arguments.
        retries, repair: see `Query`.
        into: field of the row that receives the outcome.
    """

    reader: str = "text"
    reader_settings: dict[str, Any] = Field(default_factory=dict)
    into: str = "asked"
    retries: int = Field(default=2, ge=0)
    repair: str = ""
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _reader_fits(self) -> Self:
        _ = self.read
        return self

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )

    @property
    def read(self) -> Read:
        """The reply parser with its settings."""
        return function("READERS", self.reader, 2, self.reader_settings)


def _expected(params: AskParams, rows: Estimate, model: Estimate) -> Estimate:
    written = min(params.max_tokens, costs.RESPONSE_TOKENS)
    return costs.asking(rows.rows, 1, costs.PROMPT_TOKENS, written, model)


def _unread(params: AskParams, rows: Iterable[Row]) -> Iterator[str]:
    """A note on replies that could not be read because they were cut; others may be short."""
    found = (row[params.into] for row in rows)
    return notes_on_limits(
        (reply["finish"] if reply["failure"] else "read" for reply in found), params.max_tokens
    )


@operation(
    "ask",
    version=2,
    params=AskParams,
    rows="rows",
    libraries=("torch", "transformers"),
    batch_size=lambda params: params.batch_size,
    estimate=_expected,
    notes=_unread,
)
def ask(
    context: Context,
    params: AskParams,
    batches: Iterable[list[Row]],
    *,
    rows: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    """Add to each row, under `into`, the outcome of its question.

    An outcome has `value` (None if it failed), `failure` (the reason, else None), `attempts`, and
    the last `reply` with its `finish`. No row is dropped; a row without a prompt has 0 attempts.

    Raises:
        BadData: a row that the prompt builder cannot use.
        UserError, EnvironmentProblem: see `harness.backends.opening.open_engine`.
    """
    backend = open_engine(context, model, params)
    build, read = params.build, params.read
    asked: dict[str, Query] = {}

    def query(row: Row, messages: list[dict[str, str]]) -> Query:
        shown, reads = messages_of(messages), lambda turn: read(turn, row)
        return Query(row["id"], shown, params.sampling, reads, params.retries, params.repair)

    def queries(batch: list[Row]) -> list[Query]:
        found = [query(row, said) for row in batch if (said := build(row)) is not None]
        asked.update({query.id: query for query in found})
        return found

    for batch, found in converse_about_rows(context, backend, batches, queries):
        outcomes = {id: asked.pop(id).outcome(turns) for id, turns in found.items()}
        yield [{**row, params.into: outcomes.get(row["id"], NOTHING_ASKED)} for row in batch]


class ScoreTextsParams(PromptParams):
    """What to score.

    Attributes:
        texts: field of the row that lists the continuations of its prompt.
        into: field that receives one score per text, in their order.
        form: "text" scores texts as continuations of the messages' contents, without a chat
            template, as base models are examined; texts of one token share a forward pass.
    """

    texts: str = "texts"
    into: str = "scores"
    form: Literal["chat", "text"] = Field(default="chat", exclude_if=lambda value: value == "chat")


@operation(
    "score_texts",
    version=1,
    params=ScoreTextsParams,
    rows="rows",
    libraries=("torch", "transformers"),
    batch_size=lambda params: params.batch_size,
    estimate=lambda params, rows, model: costs.scoring(params, rows, model),
)
def score_texts(
    context: Context,
    params: ScoreTextsParams,
    batches: Iterable[list[Row]],
    *,
    rows: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    """Add to each row, under `into`, how likely its texts are as answers to its prompt.

    A score has `logp` (natural logarithm, summed over the text's tokens and the end of turn; None
    where it failed), `tokens` (the number of summed tokens) and `error`. Plain text has no end of
    turn.

    Raises:
        BadData: a row that the prompt builder cannot use, or without a list of texts.
        UserError, EnvironmentProblem: as for `ask`; also a server that scores no given texts.
    """
    backend = open_engine(context, model, params)
    build = params.build

    def requests(batch: list[Row]) -> list[ScoreRequest]:
        asked = [(row, messages_of(said)) for row in batch if (said := build(row)) is not None]
        return [
            ScoreRequest(
                id=f"{row['id']}/{number}", messages=messages, response=text, form=params.form
            )
            for row, messages in asked
            for number, text in enumerate(_texts(row, params.texts))
        ]

    for batch, scores in in_windows(batches, requests, backend.score, backend.parallel):
        read = sum(score.tokens for score in scores.values())
        context.count(tokens_in=read, requests=len(scores))
        yield [{**row, params.into: _scores(row, params.texts, scores)} for row in batch]


def _texts(row: Row, field: str) -> list[str]:
    found = row.get(field)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise BadData(f'row "{row["id"]}": "{field}" is {found!r:.60}; expected a list of texts')
    return found


def _scores(row: Row, field: str, scores: dict[str, Score]) -> list[Row]:
    none = Score(id="", logp=None, tokens=0, error="nothing was asked")
    found = [scores.get(f"{row['id']}/{number}", none) for number in range(len(_texts(row, field)))]
    return [{"logp": s.logp, "tokens": s.tokens, "error": s.error} for s in found]
