"""The operation of supervised fine-tuning on given answers to prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from harness.core.errors import BadData
from harness.engine.operations import Artifact, Context, Row, operation
from harness.models.templates import TEMPLATES, TemplateName
from harness.training.answer_counts import AnswerCounts
from harness.training.fitting import memory
from harness.training.held_out import prompt_key, split
from harness.training.launch import over_processes
from harness.training.settings import AnswerEnds, RunSettings, libraries_of

if TYPE_CHECKING:
    from harness.models.tokenize import TokenSequence


class SftParams(RunSettings, AnswerEnds):
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
        prompt_mask: "text" ends the prompt where its text ends; "released" after as many tokens as
            the prompt has alone, see `harness.training.sft_released`.
    """

    field: str = "response"
    loss_on: Literal["completion", "all"] = "completion"
    packing: bool = False
    max_length: int = Field(default=2048, ge=2)
    max_prompt_length: int | None = Field(default=None, ge=1)
    chat_template: TemplateName = Field(default="", exclude_if=lambda value: not value)
    prompt_mask: Literal["text", "released"] = Field(
        default="text", exclude_if=lambda value: value == "text"
    )

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

    @property
    def longest_sequence(self) -> int:
        return self.max_length


@operation(
    "train_sft",
    version=2,
    params=SftParams,
    libraries=libraries_of("torch", "transformers", "trl"),
    estimate=memory.estimate,
)
@over_processes
def train_sft(context: Context, params: SftParams, *, rows: Artifact, model: Artifact) -> None:
    """Fine-tune a model on the answers of rows {"id", "messages", <field>: text}.

    A row may also have the answer's `finish`, and `response_ids`, the ids that a model wrote, with
    the digest of their `tokenizer`. Writes a checkpoint with its tokenizer; training_log.json: per
    update the loss per trained token, token accuracy and learning rate; and summary.json: rows,
    rows left out, and cut answers.

    Raises:
        BadData: no rows, or a row without an answer.
        MissingExtra: trl is not installed.
    """
    from harness.training import runs
    from harness.training.sft_trainer import sft_trainer

    with runs.quiet():
        policy, tokenizer = runs.open_model(model.path, params, context.device)
        if params.chat_template:
            tokenizer.chat_template = TEMPLATES[params.chat_template]
        answers = AnswerCounts(params.cut_answers)
        every, keys = _sequences(tokenizer, params, rows, answers)
        sequences, held_out = split(keys, params).of(every)
        answers.report(context)
        context.count(tokens_in=sum(len(sequence.input_ids) for sequence in sequences))
        pack_to = params.max_length if params.packing else None
        trainer = sft_trainer(
            policy, tokenizer, sequences, params, context, pack_to=pack_to, held_out=held_out
        )
        runs.run_and_save(trainer, tokenizer, params, context, len(held_out))


def _sequences(
    tokenizer: Any, params: SftParams, rows: Artifact, counts: AnswerCounts
) -> tuple[list[TokenSequence], list[str]]:
    """The sequences of the rows that are kept, and the keys of their prompts."""
    from harness.models.tokenize import TokenSequence, answer_ids, cut, is_cut, join
    from harness.training.sft_released import split_released

    found, keys = [], []
    for row in rows.each_row():
        answer = _first(row.get(params.field))
        if not isinstance(answer, str):
            raise BadData(
                f'row "{row["id"]}" has no text in the field "{params.field}"; it has '
                f"{', '.join(sorted(row))}"
            )
        ended = not is_cut(_first(row.get("finish")))
        given = answer_ids(
            tokenizer,
            row["messages"],
            answer,
            ids=_own_ids(row),
            written_by=row.get("tokenizer"),
            ended=ended or params.cut_answers == "end",
        )
        if not counts.keep({"answer": not ended}, empty=not given.answer):
            continue
        prompt, response = given.prompt, given.answer
        if params.prompt_mask == "released":
            prompt, response = split_released(tokenizer, row["messages"], [*prompt, *response])
        if not params.packing:
            prompt, (response,) = cut(
                prompt, [response], params.max_length, params.prompt_limit, tokenizer.bos_token_id
            )
        sequence = join(prompt, response)
        if params.loss_on == "all":
            sequence = TokenSequence(sequence.input_ids, list(sequence.input_ids))
        found.append(sequence)
        keys.append(prompt_key(row))
    if not found:
        raise BadData(counts.nothing())
    return found, keys


def _first(value: Any) -> Any:
    """The first item of a list, or a value that is none."""
    return value[0] if isinstance(value, list) and value else value


def _own_ids(row: Row) -> Any:
    """The ids that the model wrote: of the only answer, or of the first of several."""
    ids = row.get("response_ids")
    return ids[0] if ids and not isinstance(ids[0], int) else ids
