"""The operation of supervised fine-tuning on given answers to prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from harness.core.errors import BadData
from harness.engine import costs
from harness.engine.operations import Artifact, Context, operation
from harness.models.templates import TEMPLATES, TemplateName
from harness.training.settings import RunSettings

if TYPE_CHECKING:
    from harness.models.tokenize import TokenSequence


class SftParams(RunSettings):
    """One supervised training.

    Attributes:
        field: field of the row that holds the answer, or a list that begins with it.
        loss_on: "completion" trains on the answer alone; "all" on the tokens of the prompt as well,
            as the code released with WRPO does.
        packing: cut the shuffled, concatenated conversations into pieces of `max_length`, as that
            code does; conversations in one piece see each other. Default: one conversation per
            sequence.
        max_length: longer conversations lose the front of the prompt down to
            `max_prompt_length` tokens, then the end of the answer; not used for packing.
        max_prompt_length: None is three quarters of `max_length`.
        chat_template: template of `harness.models.templates` for a base model, saved with the
            checkpoint; "" keeps the tokenizer's own.
    """

    field: str = "response"
    loss_on: Literal["completion", "all"] = "completion"
    packing: bool = False
    max_length: int = Field(default=2048, ge=2)
    max_prompt_length: int | None = Field(default=None, ge=1)
    chat_template: TemplateName = Field(default="", exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _room_for_an_answer(self) -> SftParams:
        if self.prompt_limit >= self.max_length:
            raise ValueError(
                f"max_prompt_length below max_length ({self.max_length}), so that an answer fits"
            )
        return self

    @property
    def prompt_limit(self) -> int:
        return self.max_prompt_length or max(1, 3 * self.max_length // 4)


@operation(
    "train_sft",
    version=1,
    params=SftParams,
    libraries=("torch", "transformers", "trl"),
    estimate=costs.training,
)
def train_sft(context: Context, params: SftParams, *, rows: Artifact, model: Artifact) -> None:
    """Fine-tune a model on the answers of rows {"id", "messages", <field>: text}.

    Writes a checkpoint with its tokenizer, and training_log.json: per update the loss per trained
    token, token accuracy and learning rate.

    Raises:
        BadData: no rows, or a row without an answer.
        MissingExtra: trl is not installed.
    """
    from harness.training import runs
    from harness.training.sft_trainer import sft_trainer

    with runs.quiet():
        policy, tokenizer = runs.open_model(model.path)
        if params.chat_template:
            tokenizer.chat_template = TEMPLATES[params.chat_template]
        sequences = _sequences(tokenizer, params, rows)
        context.count(tokens_in=sum(len(sequence.input_ids) for sequence in sequences))
        pack_to = params.max_length if params.packing else None
        trainer = sft_trainer(policy, tokenizer, sequences, params, context, pack_to=pack_to)
        runs.run(trainer, context)
        runs.save(trainer, tokenizer, params, context)


def _sequences(tokenizer: Any, params: SftParams, rows: Artifact) -> list[TokenSequence]:
    from harness.models import chat
    from harness.models.tokenize import TokenSequence, cut, join

    found = []
    for row in rows.rows():
        answer = row.get(params.field)
        answer = answer[0] if isinstance(answer, list) and answer else answer
        if not isinstance(answer, str):
            raise BadData(
                f'row "{row["id"]}" has no text in the field "{params.field}"; it has '
                f"{', '.join(sorted(row))}"
            )
        prompt = chat.prompt_ids(tokenizer, row["messages"])
        response = chat.response_ids(tokenizer, answer)
        if not params.packing:
            prompt, (response,) = cut(
                prompt, [response], params.max_length, params.prompt_limit, tokenizer.bos_token_id
            )
        sequence = join(prompt, response)
        if params.loss_on == "all":
            sequence = TokenSequence(sequence.input_ids, list(sequence.input_ids))
        found.append(sequence)
    if not found:
        raise BadData("there are no rows to train on")
    return found
