"""Operations of preference training: reference log-probabilities and training.

preference rows ──> reference_logps (once per SFT model) ──┐
      └────────────────────────────────────────────────────┴──> train_preference ──> checkpoint
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_serializer, model_validator

from harness.core.errors import BadData, BadRecord
from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.training.answer_counts import AnswerCounts
from harness.training.fitting import memory
from harness.training.held_out import prompt_key, split
from harness.training.launch import over_processes
from harness.training.losses import LossChoice, PreferenceLoss, get_loss, loss_settings
from harness.training.settings import Dtype, PromptLimit, RunSettings, libraries_of

if TYPE_CHECKING:
    from harness.training.preference import PreferenceExample


class ReferenceLogpsParams(PromptLimit):
    """Scoring of preference rows; the limits must equal those of the training that follows.

    Attributes:
        batch_size: rows that are scored together.
        dtype: numeric type of the model; None leaves it to the model and device.
    """

    batch_size: int = Field(default=8, ge=1)
    dtype: Dtype | None = None


@operation(
    "reference_logps",
    version=2,
    params=ReferenceLogpsParams,
    rows="rows",
    libraries=("torch", "transformers"),
    batch_size=lambda params: params.batch_size,
    estimate=costs.reference,
)
def reference_logps(
    context: Context,
    params: ReferenceLogpsParams,
    batches: Iterable[list[Row]],
    *,
    rows: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    """log pi0(y|x), summed over tokens, and the number of tokens of each response in each row.

    Rows: {"id", "logps": {response: float}, "lengths": {response: int}}. Computed once per model
    and set of rows, they replace the reference model and its forward passes in later trainings.

    Raises:
        BadData: rows without responses or messages.
    """
    import torch

    from harness.models.checkpoints import load_causal_lm
    from harness.models.collate import pad, pad_id_of
    from harness.models.heads import check_head
    from harness.models.logprobs import sequence_logprobs
    from harness.models.rows import embedding_rows
    from harness.models.threads import one_core
    from harness.models.tokenize import tokenize_row

    policy, tokenizer = load_causal_lm(model.path, context.device, params.dtype)
    check_head(policy)
    for batch in batches:
        for row in batch:
            if not row.get("responses"):
                raise BadData(f'preference row "{row["id"]}" has no responses')
        tokens = [
            tokenize_row(
                tokenizer,
                row,
                list(row["responses"]),
                max_length=params.max_length,
                max_prompt_length=params.max_prompt_length,
                released=params.released,
                cut_answers=params.cut_answers,
            )
            for row in batch
        ]
        flat = [sequence for responses in tokens for sequence in responses.values()]
        batched = pad(flat, pad_id_of(tokenizer, embedding_rows(policy)))
        tensors = {name: tensor.to(policy.device) for name, tensor in batched.items()}
        with one_core(policy), torch.no_grad():
            sums = iter(sequence_logprobs(policy, tensors)[0].tolist())
        context.count(tokens_in=sum(len(sequence.input_ids) for sequence in flat))
        yield [
            {
                "id": row["id"],
                "logps": {name: next(sums) for name in responses},
                "lengths": {name: sequence.length for name, sequence in responses.items()},
            }
            for row, responses in zip(batch, tokens)
        ]


# The table `settings` of stored train_preference stages, from when all losses shared one record. It
# is part of their ids, so losses without further settings are still stored with it.
STORED = {
    "beta": 0.1,
    "gamma_over_beta": 0.0,
    "tau": None,
    "label_smoothing": 0.0,
    "normalisation": "default",
    "alpha_end": 0.1,
    "alpha_mode": "dynamic",
    "released": False,
}


class TrainPreferenceParams(RunSettings, PromptLimit, LossChoice):
    """One preference training run.

    Attributes:
        responses: names of the responses in the columns of the loss, preferred first; None is the
            choice of the loss, for example ("target", "rejected") for DPO.
    """

    responses: tuple[str, ...] | None = None

    @classmethod
    def settings_of(cls, loss: str, given: Mapping[str, object]) -> Record:
        """The record of the loss; `STORED` values of fields that it does not have are dropped."""
        own = get_loss(loss).settings.model_fields
        kept = {
            key: value
            for key, value in given.items()
            if key in own or key not in STORED or STORED[key] != value
        }
        return loss_settings(loss, kept)

    @field_serializer("settings")
    def _as_stored(self, settings: Record) -> dict[str, Any]:
        found = settings.model_dump(mode="json")
        return {**STORED, **found} if found.keys() <= STORED.keys() else found

    @model_validator(mode="after")
    def _a_response_per_column(self) -> TrainPreferenceParams:
        wanted = get_loss(self.loss).responses
        if self.responses is not None and len(self.responses) != len(wanted):
            raise BadRecord(
                f'loss "{self.loss}" takes {len(wanted)} responses (by default '
                f"{', '.join(wanted)}), found {', '.join(self.responses)}"
            )
        return self

    @model_validator(mode="after")
    def _whole_batches(self) -> TrainPreferenceParams:
        if get_loss(self.loss).batch_coupled and self.accumulation_steps > 1:
            rows = self.per_device_batch_size * self.accumulation_steps
            raise BadRecord(
                f'loss "{self.loss}" couples the rows of a batch, so that accumulation changes it; '
                f"found accumulation_steps {self.accumulation_steps}, expected 1: set "
                f"accumulation_steps = 1 and per_device_batch_size = {rows}"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The responses in the order of the loss's columns."""
        return self.responses or get_loss(self.loss).responses

    @property
    def sequences_per_row(self) -> int:
        return len(self.columns)

    @property
    def longest_sequence(self) -> int:
        return self.max_length

    @property
    def whole_batches(self) -> bool:
        return get_loss(self.loss).batch_coupled


@operation(
    "train_preference",
    version=2,
    params=TrainPreferenceParams,
    libraries=libraries_of("torch", "transformers"),
    estimate=memory.estimate,
)
@over_processes
def train_preference(
    context: Context,
    params: TrainPreferenceParams,
    *,
    rows: Artifact,
    model: Artifact,
    reference: Artifact | None = None,
) -> None:
    """Train a model on preference rows with any loss of `harness.training.losses.get_loss`.

    Args:
        reference: rows of `reference_logps`; reference-free losses need none, and with adapters
            (`lora`) the model without them is the reference where none is given, at the cost of a
            forward pass more per update.

    Writes a checkpoint with its tokenizer, and training_log.json: for each update the loss, its
    scheduled weights, margins, accuracy, and the mean reward, log-probability and length of each
    response; and summary.json: rows, rows left out, and cut answers.

    Raises:
        BadData: no rows, reference rows that are missing or made with other limits, or several
            processes with a loss that couples the rows of a batch.
    """
    from harness.models.collate import pad_id_of
    from harness.models.rows import embedding_rows
    from harness.training import runs
    from harness.training.preference import PreferenceObjective
    from harness.training.trainer import train

    loss = get_loss(params.loss)
    if loss.batch_coupled and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadData(
            f'loss "{params.loss}" couples the rows of a batch; found {os.environ["WORLD_SIZE"]} '
            "processes, which would split it, expected 1: train with one process"
        )
    with runs.quiet():
        policy, tokenizer = runs.open_model(model.path, params, context.device)
        every, keys, answers = _examples(tokenizer, params, loss, rows, reference)
        examples, held_out = split(keys, params).of(every)
        answers.report(context)
        tokens = sum(len(s.input_ids) for example in examples for s in example.sequences)
        context.count(tokens_in=tokens)
        pad_id = pad_id_of(tokenizer, embedding_rows(policy))
        of_base = loss.needs_reference and _refers_to_base(params, reference)
        objective = PreferenceObjective(loss, params.settings, params.columns, pad_id, of_base)
        train(policy, tokenizer, examples, objective, params, context, held_out)


def _refers_to_base(params: TrainPreferenceParams, reference: Artifact | None) -> bool:
    """Whether the reference is the model itself, without its adapters."""
    return params.lora is not None and reference is None


def _examples(
    tokenizer: Any,
    params: TrainPreferenceParams,
    loss: PreferenceLoss,
    rows: Artifact,
    reference: Artifact | None,
) -> tuple[list[PreferenceExample], list[str], AnswerCounts]:
    """The examples of the rows that are kept, the keys of their prompts, and counts of answers."""
    from harness.models.tokenize import is_cut, tokenize_row
    from harness.training.preference import PreferenceExample, references_of

    columns = params.columns
    frozen: dict[str, Row] | None = None
    if loss.needs_reference and not _refers_to_base(params, reference):
        if reference is None:
            raise BadData(
                f'loss "{params.loss}" compares with a reference policy; give the artifact of a '
                "reference_logps stage as reference"
            )
        frozen = {row["id"]: row for row in reference.rows()}
    examples, keys, counts = [], [], AnswerCounts(params.cut_answers)
    for row in rows.each_row():
        tokens = tokenize_row(
            tokenizer,
            row,
            # All responses, as for the reference: the longest decides how much of a prompt is cut.
            list(dict.fromkeys([*columns, *(row.get("responses") or {})])),
            max_length=params.max_length,
            max_prompt_length=params.max_prompt_length,
            released=params.released,
            cut_answers=params.cut_answers,
        )
        finish = row.get("finish") or {}
        cut = {name: is_cut(finish.get(name)) for name in columns}
        if not counts.keep(cut, empty=any(not tokens[name].length for name in columns)):
            continue
        values = None
        if frozen is not None:
            if row["id"] not in frozen:
                raise BadData(f'no reference log-probabilities for preference row "{row["id"]}"')
            values = references_of(frozen[row["id"]], columns, tokens)
        examples.append(PreferenceExample(tuple(tokens[name] for name in columns), values))
        keys.append(prompt_key(row))
    if not examples:
        raise BadData(counts.nothing("preference rows"))
    return examples, keys, counts
