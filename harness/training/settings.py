"""Settings of training runs, as records without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from harness.core.records import How, Record
from harness.engine.recipe import Rehearsed
from harness.models.tokenize import CutAnswers

Dtype = Literal["float32", "bfloat16"]


class Validation(Record):
    """Learning curve on rows that are not trained on, see `harness.training.held_out`.

    Attributes:
        share: of the prompts that are held out, with all their rows; at least one prompt.
        points: number of measurements after the one before the first update, the last one at the
            end.
    """

    share: float = Field(default=0.1, gt=0, lt=1)
    points: int = Field(default=8, ge=1)


class LoraSettings(Record):
    """Low-rank adapters (LoRA, arXiv 2106.09685), trained in place of the weights.

        W x  ->  W x + (alpha / rank) B A x,  A (rank, in), B (out, rank) in float32; W is frozen

    The checkpoint is that of the merged weights; the adapters alone are kept beside it.

    Attributes:
        dropout: before A. Preference losses train without any dropout, also this one.
        targets: names of linear layers, such as ("q_proj", "v_proj"), or "all-linear": all but
            the output head, as in QLoRA.
        quantise: "nf4" trains on a base in 4-bit NormalFloat with double quantisation (QLoRA, arXiv
            2305.14314), which needs a GPU; None on one in the `dtype` of the run.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Annotated[
        Literal["all-linear"] | tuple[str, ...], Rehearsed(lambda names: "all-linear")
    ] = "all-linear"
    quantise: Annotated[Literal["nf4"] | None, Rehearsed(lambda kind: None)] = None

    @field_validator("targets")
    @classmethod
    def _some_targets(cls, targets: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not targets or not all(targets):
            raise ValueError('names of linear layers, or "all-linear"; found an empty one')
        return targets


class LaunchSettings(Record):
    """Processes of a training, started by `accelerate launch`; see `harness.training.launch`.

    The rows of an update, per_device_batch_size * accumulation_steps, are divided over them, so
    that a launch changes how a training runs and not what it gives.

    Attributes:
        processes: on all machines together, as many on each.
        machines: more than one needs an executor on a cluster, `harness.engine.cluster`.
        config: "ddp" (every process has the whole model), "fsdp" or "zero3" (weights, gradients and
            moments are divided over the processes), or a configuration file of accelerate.
        batch_size: most rows of a forward pass of a process; None is per_device_batch_size.
    """

    processes: int = Field(ge=1)
    machines: int = Field(default=1, ge=1, exclude_if=lambda value: value == 1)
    config: str = Field(default="ddp", min_length=1)
    batch_size: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> LaunchSettings:
        if self.processes % self.machines:
            raise ValueError(
                f"processes a multiple of machines, found {self.processes} processes on "
                f"{self.machines} machines"
            )
        return self


class RunSettings(Record):
    """Duration, learning rate and batches of a training run.

    Attributes:
        max_steps: number of updates; replaces `epochs` when given.
        warmup_ratio: share of the updates over which the learning rate rises.
        dtype: numeric type of training arithmetic and checkpoint. Weights and optimiser state are
            float32 during training in any case: an update at the learning rates used here is
            smaller than the distance between two bfloat16 numbers and would be lost.
        save_steps: updates between checkpoints from which a killed run resumes; None for none.
        validation: hold out rows and log their loss during the run; None trains on all rows.
        lora: train adapters; None trains all weights.
        launch: train in several processes; None in this one. Not part of ids.
    """

    learning_rate: float = Field(gt=0)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    per_device_batch_size: int = Field(default=8, ge=1)
    accumulation_steps: int = Field(default=1, ge=1)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    scheduler: Literal["cosine", "linear", "constant_with_warmup", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    seed: int = 42
    dtype: Dtype = "float32"
    gradient_checkpointing: bool = False
    save_steps: int | None = Field(default=None, ge=1)
    validation: Validation | None = Field(default=None, exclude_if=lambda value: value is None)
    lora: LoraSettings | None = Field(default=None, exclude_if=lambda value: value is None)
    launch: Annotated[LaunchSettings | None, How(), Rehearsed(lambda launch: None)] = Field(
        default=None, exclude_if=lambda value: value is None
    )

    @model_validator(mode="after")
    def _rows_for_each_process(self) -> RunSettings:
        processes = 1 if self.launch is None else self.launch.processes
        if processes > 1 and self.whole_batches:
            raise ValueError(
                f"launch.processes = 1, because this loss couples the rows of a batch; found "
                f"{processes}, which would split it"
            )
        if self.effective_batch % processes:
            fits = [n for n in range(1, self.effective_batch + 1) if not self.effective_batch % n]
            raise ValueError(
                f"launch.processes that divides the {self.effective_batch} rows of an update "
                f"(per_device_batch_size * accumulation_steps), one of "
                f"{', '.join(map(str, fits))}; found {processes}"
            )
        return self

    @property
    def effective_batch(self) -> int:
        """Rows of an update."""
        return self.per_device_batch_size * self.accumulation_steps

    @property
    def per_process(self) -> tuple[int, int]:
        """Rows of a forward pass of a process, and its forward passes in an update.

        In a launch these are the most rows that divide its share of an update evenly.
        """
        if self.launch is None:
            return self.per_device_batch_size, self.accumulation_steps
        share = self.effective_batch // self.launch.processes
        most = self.launch.batch_size or self.per_device_batch_size
        rows = next(n for n in range(min(most, share), 0, -1) if share % n == 0)
        return rows, share // rows

    @property
    def sequences_per_row(self) -> int:
        """Sequences that are trained for each row of the input."""
        return 1

    @property
    def longest_sequence(self) -> int:
        """Most tokens of a trained sequence, for plans of memory."""
        return 2048

    @property
    def whole_batches(self) -> bool:
        """Whether rows of a forward pass interact, so that one process must take them together."""
        return False


def libraries_of(*names: str) -> Callable[[RunSettings], tuple[str, ...]]:
    """Libraries that the result of a training depends on, by its settings."""

    def used(params: RunSettings) -> tuple[str, ...]:
        if params.lora is None:
            return names
        return (*names, "peft", *(() if params.lora.quantise is None else ("bitsandbytes",)))

    return used


class AnswerEnds(Record):
    """What answers teach that reached their token limit (by their `finish`).

    Attributes:
        cut_answers: such an answer has no end-of-turn id ("no_end"), its row is not trained
            ("leave_out"), or it teaches to stop where it was cut ("end", as released codes do).
    """

    cut_answers: CutAnswers = Field(default="no_end", exclude_if=lambda value: value == "no_end")


class PromptLimit(AnswerEnds):
    """Limits of a row in tokens; `harness.models.tokenize` describes how rows are cut.

    Attributes:
        released: cut and end rows as the code released with WRPO does.
    """

    max_length: int = Field(default=2048, ge=2)
    max_prompt_length: int = Field(default=1800, ge=1)
    released: bool = False

    @model_validator(mode="after")
    def _room_for_a_response(self) -> PromptLimit:
        if self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length below max_length ({self.max_length}), so that a response fits"
            )
        return self
