"""Training of the reviser: a verdict, then the improved answer, with weights for their tokens.

A pair becomes the conversation of `methods.seft.wording`: label tokens (the verdict) and text
tokens (the improved answer with its end). A no_revise pair ends with its verdict, so that copying
costs no text and is exact.

    L = sum_t w_t (-log R(u_t | x, y, u_<t)) / sum_t w_t,   w_t = label_weight or text_weight

The end of the verdict's turn has the label's weight, for `score_texts` includes it; the accuracy of
labels leaves it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.core.errors import BadData
from harness.engine.operations import Artifact, Context, Row, operation
from harness.training.fitting import memory
from harness.training.held_out import prompt_key, split
from harness.training.launch import over_processes
from harness.training.settings import PromptLimit, RunSettings, libraries_of
from methods.seft.labels import NO
from methods.seft.wording import Wording

if TYPE_CHECKING:
    from harness.training.weighted_tokens import WeightedSequence

LABEL, TEXT, END = 1, 2, 3  # groups of tokens; END closes the turn of a verdict


class ReviserTraining(RunSettings, PromptLimit):
    """Settings of a reviser's training.

    Attributes:
        label_weight, text_weight: weights of the tokens of verdict and text. With equal weights a
            verdict has 1 / (1 + length) of its row's weight.
    """

    label_weight: float = Field(default=1.0, ge=0)
    text_weight: float = Field(default=1.0, ge=0)

    @property
    def longest_sequence(self) -> int:
        return self.max_length


class TrainReviserParams(ReviserTraining):
    """One training of a reviser."""

    wording: Wording = Wording()


@operation(
    "train_reviser",
    version=1,
    params=TrainReviserParams,
    libraries=libraries_of("torch", "transformers"),
    estimate=memory.estimate,
)
@over_processes
def train_reviser(
    context: Context, params: TrainReviserParams, *, rows: Artifact, model: Artifact
) -> None:
    """Fine-tune a model on labelled pairs, see the module docstring.

    Writes a checkpoint with its tokenizer, and training_log.json: per update the loss, the loss per
    label and text token, and the accuracy of label tokens over the whole vocabulary.

    Raises:
        BadData: there are no pairs, or pairs without a label.
    """
    from harness.models.collate import pad_id_of
    from harness.training import runs
    from harness.training.trainer import train
    from harness.training.weighted_tokens import WeightedTokens

    with runs.quiet():
        reviser, tokenizer = runs.open_model(model.path, params, context.device)
        pairs = rows.rows()
        every = [sequences_of(tokenizer, row, params) for row in pairs]
        if not every:
            raise BadData("there are no labelled pairs to train a reviser on")
        examples, held_out = split([prompt_key(row) for row in pairs], params).of(every)
        read = sum(len(each.tokens.input_ids) for example in examples for each in example)
        context.count(tokens_in=read)
        label, text = params.label_weight, params.text_weight
        weights = {"label": label, "text": text, "end": label}
        objective = WeightedTokens(weights, pad_id_of(tokenizer), accuracy_of=("label",))
        train(reviser, tokenizer, examples, objective, params, context, held_out)


def sequences_of(
    tokenizer: Any, row: Row, params: TrainReviserParams
) -> tuple[WeightedSequence, ...]:
    """The trained sequences of a pair.

    One sequence, or two where the template does not render the verdict inside a conversation as it
    is generated: the training then sees exactly the ids of both passes at inference.

    Raises:
        BadData: a pair without label, source or target.
    """
    from harness.models import chat
    from harness.models.tokenize import cut, join
    from harness.training.weighted_tokens import WeightedSequence

    missing = [key for key in ("messages", "source", "target", "label") if key not in row]
    if missing:
        raise BadData(f'pair "{row.get("id")}" has no {missing[0]}; expected a labelled pair')
    limits = params.max_length, params.max_prompt_length
    label = row["label"]
    asked = params.wording.ask_verdict(row["messages"], row["source"])
    prompt = chat.prompt_ids(tokenizer, asked)
    verdict = chat.response_ids(tokenizer, params.wording.label(label))
    short, (told,) = cut(prompt, [verdict], *limits, tokenizer.bos_token_id)
    first = WeightedSequence(join(short, told), [0] * len(short) + _verdict_groups(told, verdict))
    if label == NO:
        return (first,)
    after = chat.prompt_ids(
        tokenizer, params.wording.ask_text(row["messages"], row["source"], label)
    )
    text = chat.response_ids(tokenizer, row["target"])
    known = len(prompt) + len(verdict)
    if after[:known] == prompt + verdict and len(after) + len(text) <= params.max_length:
        whole = join(after, text)
        whole.labels[len(prompt) : known] = verdict
        groups = [0] * len(prompt) + _verdict_groups(verdict, verdict)
        groups += [0] * (len(after) - known) + [TEXT] * len(text)
        return (WeightedSequence(whole, groups),)
    short, (told,) = cut(after, [text], *limits, tokenizer.bos_token_id)
    second = WeightedSequence(join(short, told), [0] * len(short) + [TEXT] * len(told))
    return first, second


def _verdict_groups(told: list[int], verdict: list[int]) -> list[int]:
    """Groups of a verdict's tokens, of which the last may have been cut."""
    return ([LABEL] * (len(verdict) - 1) + [END])[: len(told)]
