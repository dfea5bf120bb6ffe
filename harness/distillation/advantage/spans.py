"""Advantages of spans and of whole answers, for teachers of another tokenizer.

Where two tokenizers have a common boundary in the text, the log-ratios of the teacher's tokens
between two boundaries add up to the log-ratio of the span (telescoping), whatever the tokens are:

    A(span) = sum over teacher tokens in it of log q(y_t|s_t) - log r(y_t|s_t)

It is a scalar weight of -log p(span), the student's own tokens of the same text: a policy gradient
on the student's answer, without a distribution over other tokens and with more variance. `level =
"sequence"` is one span per answer with its mean log-ratio per token, the ablation "sequence-level
advantage"; the mean instead of the sum keeps gamma comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from harness.core.errors import BadData
from harness.distillation.advantage.pairs import pair_sequences, scored_ids
from harness.distillation.advantage.settings import ANSWER, CHOSEN
from harness.distillation.shards import token_check
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.training.settings import Dtype, PromptLimit

if TYPE_CHECKING:
    from harness.distillation.align.tokens import Vocabulary
    from harness.models.tokenize import TokenSequence

END = -1  # boundary of the end token, which both tokenizers have


class SpanAdvantagesParams(PromptLimit):
    """Advantages of one answer per row.

    Attributes:
        level: "span" between common token boundaries, or "sequence" for whole answers.
        uniform: the reference is the uniform distribution.
    """

    level: Literal["span", "sequence"]
    anchor: str = CHOSEN
    response: str = ANSWER
    uniform: bool = False
    batch_size: int = Field(default=16, ge=1)
    dtype: Dtype | None = None


def _cost(params: SpanAdvantagesParams, rows: Estimate, teacher: Estimate, **_: Any) -> Estimate:
    return costs.reference(params, rows, teacher)


@operation(
    "span_advantages",
    version=1,
    params=SpanAdvantagesParams,
    rows="rows",
    libraries=("torch", "transformers"),
    batch_size=lambda params: params.batch_size,
    estimate=_cost,
)
def span_advantages(
    context: Context,
    params: SpanAdvantagesParams,
    batches: Iterable[list[Row]],
    *,
    rows: Artifact,
    teacher: Artifact,
    student: Artifact,
    reference: Artifact | None = None,
) -> Iterator[list[Row]]:
    """Rows {"id", "weights", "advantages", "check"}: an advantage per student token, and per span.

    `weights` has one number per scored token of the student, 0 behind the last common boundary;
    `check` is the checksum of these tokens.

    Args:
        student: the model to be trained, of which only the tokenizer is loaded.

    Raises:
        BadData: teacher and reference have different tokenizers, or there is no reference.
    """
    from harness.distillation.advantage.checks import check_tokenizers
    from harness.distillation.align.tokens import vocabulary
    from harness.models.checkpoints import load_causal_lm, load_tokenizer
    from harness.models.threads import one_core

    if reference is None and not params.uniform:
        raise BadData("advantages need a reference teacher; give one, or set uniform = true")
    network, tokenizer = load_causal_lm(teacher.path, context.device, params.dtype)
    models = [network.eval()]
    if reference is not None and not params.uniform:
        other, others_tokenizer = load_causal_lm(reference.path, context.device, params.dtype)
        check_tokenizers({"the teacher": tokenizer, "the reference": others_tokenizer})
        models.append(other.eval())
    own = load_tokenizer(student.path)
    vocabularies = (vocabulary(own), vocabulary(tokenizer))
    for batch in batches:
        mine = [
            pair_sequences(own, row, params.anchor, params.response, params)[1] for row in batch
        ]
        theirs = [
            pair_sequences(tokenizer, row, params.anchor, params.response, params)[1]
            for row in batch
        ]
        with one_core(network):
            ratios = _log_ratios(models, [tokens for tokens in theirs if tokens], context)
        found = []
        for row, student_tokens, teacher_tokens in zip(batch, mine, theirs, strict=True):
            made: Row = {"id": row["id"], "weights": [], "advantages": [], "check": token_check([])}
            if student_tokens is not None and teacher_tokens is not None:
                text = row["responses"][params.response]
                ids = (scored_ids(student_tokens), scored_ids(teacher_tokens))
                ends = [boundaries(*each, text) for each in zip(ids, vocabularies, strict=True)]
                weights, advantages = span_weights(ends[0], ends[1], next(ratios), params.level)
                made |= {"weights": weights, "advantages": advantages, "check": token_check(ids[0])}
            found.append(made)
        yield found


def _log_ratios(
    models: Sequence[Any], sequences: Sequence[TokenSequence], context: Context
) -> Iterator[list[float]]:
    """log q - log r of each scored token of each sequence."""
    import math

    import torch

    from harness.models.collate import pad
    from harness.models.logprobs import token_logprobs

    if not sequences:
        return
    batch = {key: value.to(models[0].device) for key, value in pad(sequences, 0).items()}
    context.count(tokens_in=len(models) * int(batch["attention_mask"].sum()))
    with torch.no_grad():
        (first, counted), *others = [token_logprobs(model, batch) for model in models]
    vocabulary = models[0].config.get_text_config().vocab_size
    base = others[0][0] if others else torch.full_like(first, -math.log(vocabulary))
    if not bool((first - base)[counted].isfinite().all()):
        raise BadData("a teacher gives log-probabilities that are not finite; use a wider dtype")
    for row, kept in zip(first - base, counted, strict=True):
        yield row[kept].tolist()


def boundaries(ids: Sequence[int], vocabulary: Vocabulary, text: str) -> list[int | None]:
    """Byte offset in `text` at which each token ends; `END` for an end token, None if undefined."""
    from harness.distillation.align.offsets import ends_in

    ended = bool(ids) and ids[-1] in vocabulary.special
    body = ids[:-1] if ended else ids
    ends = ends_in(text, vocabulary, body, None)
    found: list[int | None] = [None] * len(body) if ends is None else [int(end) for end in ends]
    return [*found, END] if ended else found


def span_weights(
    mine: Sequence[int | None],
    theirs: Sequence[int | None],
    ratios: Sequence[float],
    level: Literal["span", "sequence"] = "span",
) -> tuple[list[float], list[float]]:
    """The advantage of each student token, and those of all spans.

    Args:
        mine, theirs: ends of the student's and of the teacher's tokens, see `boundaries`.
        ratios: log-ratio of each teacher token.

    >>> span_weights([1, 3, END], [2, 3, END], [0.5, 0.25, 1.0])
    ([0.75, 0.75, 1.0], [0.75, 1.0])
    """
    if level == "sequence":
        mean = sum(ratios) / max(1, len(ratios))
        return [mean] * len(mine), [mean]
    places = {end: place for place, end in enumerate(theirs) if end is not None}
    weights, spans = [0.0] * len(mine), []
    first, start = 0, 0
    for place, end in enumerate(mine):
        if end is None or end not in places or places[end] < start:
            continue
        stop = places[end] + 1
        value = sum(ratios[start:stop])
        weights[first : place + 1] = [value] * (place + 1 - first)
        spans.append(value)
        first, start = place + 1, stop
    return weights, spans
