"""Sampling responses and scoring them with a reward model, as row operations.

sample         prompt rows + model           -> the same rows with `responses`
score_rewards  response rows + reward model  -> the same rows with `rewards`
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import Field

from harness.backends.base import (
    Backend,
    Request,
    Response,
    Sampling,
    count_response,
    messages_of,
)
from harness.backends.limits import notes_on_limits
from harness.backends.opening import EngineParams, open_engine
from harness.backends.saying import Thoughts, begun_in_prompt, said_in, thought_fields
from harness.backends.windows import in_windows
from harness.core.errors import BadData, MissingExtra
from harness.core.hashing import digest
from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.models import chat
from harness.models.checkpoints import load_reward_model
from harness.models.references import Dtype
from harness.models.tokenize import known_digest


class SampleParams(EngineParams):
    """How to sample.

    Attributes:
        n: responses per prompt.
        batch_size: prompts per batch; a batch is the unit that is stored.
        system: name of the sampled model in the rows.
        too_long: a prompt that leaves no room for an answer fails ("fail"), or loses the middle of
            its longest message ("cut"), so that a quarter of the context (at most max_tokens) is
            free. Needs a backend with a tokenizer.
        on_error: a prompt that cannot be answered stops the stage ("stop"), or gets the error in
            its row and no responses ("record").
        thoughts: a model's thought is kept apart from its answer ("split"), or is part of it
            ("keep").
        keep_ids: rows also hold `response_ids`: per response the sampled ids without the one that
            ended it, or None where the response is not the whole of what was sampled; and the
            digest of their `tokenizer`. Needs a backend with a tokenizer.
    """

    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, exclude_if=lambda value: value == 1)
    max_tokens: int = Field(default=4096, ge=1)
    n: int = Field(default=1, ge=1)
    seed: int = 0
    batch_size: int = Field(default=128, ge=1)
    system: str = ""
    too_long: Literal["fail", "cut"] = "fail"
    on_error: Literal["stop", "record"] = "stop"
    thoughts: Thoughts = Field(default="split", exclude_if=lambda value: value == "split")
    keep_ids: bool = Field(default=False, exclude_if=lambda value: not value)

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            max_tokens=self.max_tokens,
            n=self.n,
            seed=self.seed,
        )


@operation(
    "sample",
    version=2,
    params=SampleParams,
    rows="prompts",
    libraries=("torch", "transformers"),
    batch_size=lambda params: params.batch_size,
    estimate=costs.sampling,
    notes=lambda params, rows: notes_on_limits((row["finish"] for row in rows), params.max_tokens),
)
def sample(
    context: Context,
    params: SampleParams,
    batches: Iterable[list[Row]],
    *,
    prompts: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    """Answer each prompt n times.

    Adds to a row: `responses` (n texts), `finish` (see `Completion`), `system`, `tokens_in`,
    `tokens_out` (one number per response), from a backend with a tokenizer `rendered` (the prompt
    as text, as the model read it) and `prompt_digest` (of its token ids), `cut_characters` if a
    part of the prompt was left out, and where a response has a thought, `thoughts` and `raw` (the
    whole texts). A response whose thought never ends is "", with the reason in `no_answer`; with
    "record" and n = 1 it is the row's error.

    Raises:
        BadData: a prompt cannot be answered (too long, refused by the template); names the row.
        UserError: the model has no chat template.
        EnvironmentProblem: the model cannot be loaded, or memory ran out.
    """
    backend = open_engine(context, model, params)

    fitted: dict[str, Row] = {}

    def requests(batch: list[Row]) -> list[Request]:
        for row in batch:
            fitted[row["id"]] = _fitted(backend, params, row)
        return [
            Request(
                id=row["id"],
                messages=messages_of(fitted[row["id"]]["messages"]),
                sampling=params.sampling,
            )
            for row in batch
        ]

    for batch, answers in in_windows(batches, requests, backend.generate, backend.parallel):
        yield [
            _answered(context, params, backend, row, fitted.pop(row["id"]), answers[row["id"]])
            for row in batch
        ]


def _fitted(backend: Backend, params: SampleParams, row: Row) -> Row:
    """The part of a row's messages that the model is shown, and how many characters are cut."""
    tokenizer, context = backend.tokenizer, backend.context
    if params.too_long == "fail" or tokenizer is None or context is None:
        return {"messages": row["messages"]}
    try:
        most = context - min(params.max_tokens, max(1, context // 4))
        messages, lost = chat.cut_to_fit(tokenizer, row["messages"], most)
    except BadData:  # the backend reports what is wrong with it
        return {"messages": row["messages"]}
    return {"messages": messages, "cut_characters": lost} if lost else {"messages": messages}


def _answered(
    context: Context,
    params: SampleParams,
    backend: Backend,
    row: Row,
    shown: Row,
    response: Response,
) -> Row:
    if response.error is not None and params.on_error == "stop":
        raise BadData(
            f'prompt "{row["id"]}" cannot be answered by {params.system or "the model"}: '
            f'{response.error} (on_error = "record" records it in the row and continues)'
        )
    count_response(context.count, response)
    opened = begun_in_prompt(backend.tokenizer, response.prompt_ids)
    said = [said_in(c, params.thoughts, opened=opened) for c in response.completions]
    lost = params.on_error == "record" and len(said) == 1 and bool(said[0].lack)
    result: Row = {
        **row,
        "system": params.system,
        "responses": [] if lost else [part.text for part in said],
        "finish": [completion.finish for completion in response.completions],
        "tokens_in": response.tokens_in,
        "tokens_out": _written(response),
        **thought_fields(said),
    }
    others = {c.served_by for c in response.completions if c.served_by is not None}
    if others:
        result["served_by"] = ", ".join(sorted(others))
    if "cut_characters" in shown:
        result["cut_characters"] = shown["cut_characters"]
    if response.error is not None:
        return {**result, "error": response.error}
    if lost:
        result["error"] = said[0].lack
    if backend.tokenizer is None or response.prompt_ids is None:
        return result
    if params.keep_ids:
        pairs = zip(response.completions, said)
        result["response_ids"] = [
            None if c.token_ids is None or part.text != part.raw else list(c.token_ids)
            for c, part in pairs
        ]
        result["tokenizer"] = known_digest(backend.tokenizer)
    return {
        **result,
        "rendered": chat.render(backend.tokenizer, shown["messages"]),
        "prompt_digest": digest(list(response.prompt_ids)),
    }


def _written(response: Response) -> list[int]:
    """Tokens per response; a hosted model reports only their sum, which is divided evenly."""
    found = response.completions
    if all(completion.token_ids is not None for completion in found):
        return [len(c.token_ids or ()) + int(c.finish == "stop") for c in found]
    share, rest = divmod(response.tokens_out, max(1, len(found)))
    return [share + int(number < rest) for number in range(len(found))]


class ScoreRewardsParams(Record):
    """How to score.

    Attributes:
        batch_size: response rows per batch; a batch is the unit that is stored.
        max_rows: maximum number of conversations read at once; lower it when GPU memory runs out.
        max_length: maximum number of tokens per conversation; longer ones are cut. None refuses
            conversations that are longer than the model reads.
    """

    batch_size: int = Field(default=64, ge=1)
    max_rows: int = Field(default=64, ge=1)
    max_length: int | None = Field(default=None, ge=1)
    dtype: Dtype | None = None


@operation(
    "score_rewards",
    version=1,
    params=ScoreRewardsParams,
    rows="responses",
    libraries=("torch", "transformers"),
    batch_size=lambda params: params.batch_size,
    estimate=costs.scoring,
)
def score_rewards(
    context: Context,
    params: ScoreRewardsParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    """Add `rewards`, one number per response, to response rows.

    The reward model reads the prompt's messages and the response as the assistant's last message,
    rendered by its own chat template.

    Raises:
        BadData: a reward is not finite, or a conversation is too long; names the row.
        UserError: the model returns several numbers, or has no chat template.
    """
    scorer: Any = None
    for batch in batches:
        if scorer is None:
            scorer = _open_scorer(context, params, model)
        sequences = [ids for row in batch for ids in _conversations(scorer, row)]
        context.count(tokens_in=sum(map(len, sequences)), requests=len(sequences))
        values = iter(scorer.rewards(sequences))
        yield [_rewarded(row, [next(values) for _ in row["responses"]]) for row in batch]


def _open_scorer(context: Context, params: ScoreRewardsParams, model: Artifact) -> Any:
    try:
        from harness.backends.rewards import RewardModel
    except ImportError:
        raise MissingExtra("torch and transformers", "train") from None
    loaded = load_reward_model(model.path, context.device, params.dtype)
    return RewardModel(*loaded, max_rows=params.max_rows, max_length=params.max_length)


def _conversations(scorer: Any, row: Row) -> Iterator[list[int]]:
    """Token ids of the row's conversations, one per response."""
    for response in row["responses"]:
        conversation = [*row["messages"], {"role": "assistant", "content": response}]
        try:
            yield scorer.token_ids(conversation)
        except BadData as error:
            raise BadData(f'row "{row["id"]}": {error}') from None


def _rewarded(row: Row, rewards: list[float]) -> Row:
    for number, reward in enumerate(rewards):
        if not math.isfinite(reward):
            raise BadData(
                f'row "{row["id"]}": the reward of response {number} is {reward}; expected a '
                "finite number: the reward model overflows in this dtype or its weights are broken"
            )
    return {**row, "rewards": rewards}
