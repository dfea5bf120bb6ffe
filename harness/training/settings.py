"""Settings of preference losses and of training runs, as records without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.core.records import Record

Dtype = Literal["float32", "bfloat16"]


class LossSettings(Record):
    """Everything a preference loss may be told. A loss ignores what its equation lacks.

    Attributes:
        beta: strength of the implicit reward, beta * (log pi - log pi0).
        gamma_over_beta: target reward margin of SimPO, divided by beta.
        tau: regularisation of IPO; None uses beta, as TRL does.
        label_smoothing: assumed share of preferences that point the wrong way.
        normalisation: whether log-probabilities are summed over a response's tokens or averaged;
            "default" is the choice of each loss (`harness.training.losses.LOSSES`).
        alpha_end: weight of the source response at the end of a dynamic schedule, or throughout.
        alpha_mode: "dynamic" grows the weight linearly from 0; "static" holds it.
        released: follow the code released with WRPO where it departs from good sense: `alpha_end`
            outside [0, 1] is accepted, and a schedule of no length raises ZeroDivisionError.
    """

    beta: float = Field(default=0.1, gt=0)
    gamma_over_beta: float = Field(default=0.0, ge=0)
    tau: float | None = Field(default=None, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    normalisation: Literal["default", "sum", "mean"] = "default"
    alpha_end: float = 0.1
    alpha_mode: Literal["dynamic", "static"] = "dynamic"
    released: bool = False

    @model_validator(mode="after")
    def _alpha_in_range(self) -> LossSettings:
        if not self.released and not 0 <= self.alpha_end <= 1:
            raise ValueError(
                f"alpha_end in [0, 1]: {self.alpha_end} would give one response a negative weight "
                "(released=true accepts it)"
            )
        return self

    def alpha(self, step: int, total: int) -> float:
        """Weight of the source response after `step` of `total` finished updates.

        WRPO (arXiv 2412.03187, section on dynamic tuning; released code): alpha_end * step / total,
        so that the first update uses 0 and the last alpha_end * (total - 1) / total.
        """
        if self.alpha_mode == "static":
            return self.alpha_end
        return linear_ramp(
            step, start=0.0, end=self.alpha_end, end_step=total, released=self.released
        )


def linear_ramp(
    step: int,
    *,
    start: float,
    end: float,
    start_step: int = 0,
    end_step: int,
    released: bool = False,
) -> float:
    """A straight line from `start` to `end`, constant outside.

    A ramp of no length is `start` up to its only step and `end` after it.

    Raises:
        ZeroDivisionError: with `released`, at the only step of a ramp of no length.

    >>> [linear_ramp(t, start=0.0, end=1.0, end_step=4) for t in (-1, 0, 1, 4, 9)]
    [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    if step < start_step:
        return start
    if step > end_step:
        return end
    if start_step == end_step and not released:
        return start
    return start + (end - start) * ((step - start_step) / (end_step - start_step))


class FusionSettings(Record):
    """How several teachers' distributions become one target, and how it is weighed (FuseLLM, arXiv
    2401.10491; FuseChat, arXiv 2408.07990).

    Attributes:
        fusion: "min_ce" takes at each place the teacher with the lowest cross-entropy, the first of
            equals; "avg_ce" averages all, weighed by a softmax of exp(-cross-entropy).
        divergence: of the student from the target; "kl" is "ce" minus the target's entropy.
        temperature: of the teachers' entries, which are normalised among themselves.
        lm_weight: lambda, the share of the plain language-model loss.
        weighting: "fixed" keeps lambda; "decay" lets it grow linearly to 1; "soft" replaces it by
            1 - exp(-cross-entropy), of the best teacher (min_ce) or averaged over them (avg_ce).
        positions: "scored" uses those whose next token has a label (FuseChat); "all" every token
            (FuseLLM), but none where no teacher says anything.
        with_base: whether the first teacher, the target itself before training, takes part; it
            fills in for the steps another teacher leaves empty in any case.
        released: form rewards and AvgCE weights in bfloat16 and, without the base, prefer the last
            of equal teachers, as the code released with FuseLLM does.
    """

    fusion: Literal["min_ce", "avg_ce"] = "min_ce"
    divergence: Literal["ce", "kl"] = "ce"
    temperature: float = Field(default=1.0, gt=0)
    lm_weight: float = Field(default=0.9, ge=0, le=1)
    weighting: Literal["fixed", "decay", "soft"] = "fixed"
    positions: Literal["scored", "all"] = "scored"
    with_base: bool = True
    released: bool = False

    def weight(self, step: int, total: int) -> float:
        """lambda after `step` of `total` finished updates; "soft" depends on the data instead."""
        if self.weighting != "decay":
            return self.lm_weight
        return linear_ramp(step, start=self.lm_weight, end=1.0, end_step=total)


class MappingSettings(Record):
    """How a teacher is carried over to another tokenizer, see `harness.distillation.mapping`.

    Attributes:
        alignment: by where tokens end in the text, or by their spelling.
        vocabulary: of a source token's counterpart: the same text only; else the nearest spelling
            ("mined"), of several that with the most similar neighbours ("cooccurrence"); or the
            token it is aligned with most often ("statistics"); or the longest it begins with
            ("prefix").
        onehot_target: token of a position without a counterpart: the one that follows, its own (as
            FuseLLM released it), or nothing.
        duplicates: source tokens with one counterpart add up, or the likeliest one counts.
        ce_per: whose tokens a document's cross-entropy is a mean over. Teachers are chosen by it,
            and only over the target's own do teachers compare whose tokens differ in length.
        released: as the released code; then the settings above are its, but for `vocabulary`,
            which it has no "prefix" of.
    """

    alignment: Literal["offset", "dtw"] = "offset"
    vocabulary: Literal["exact", "mined", "cooccurrence", "statistics", "prefix"] = "prefix"
    onehot_target: Literal["next", "current", "none"] = "next"
    duplicates: Literal["sum", "first"] = "sum"
    ce_per: Literal["target_token", "source_token"] = "target_token"
    released: Literal["fusellm", "fusechat_v1", "fusechat_v2"] | None = None

    @model_validator(mode="after")
    def _of_the_released_code(self) -> MappingSettings:
        if self.released and self.vocabulary == "prefix":
            raise ValueError(
                f'a vocabulary of the released code with released = "{self.released}": "exact", '
                '"mined", "cooccurrence" or "statistics"'
            )
        return self


class RunSettings(Record):
    """How long, how fast and in what portions a model is trained.

    Attributes:
        max_steps: number of updates; replaces `epochs` when given.
        warmup_ratio: share of the updates over which the learning rate rises.
        dtype: of the arithmetic and of the checkpoint. Weights and optimiser state are float32
            during training in any case: an update at the learning rates used here is smaller than
            the distance between two bfloat16 numbers and would be lost.
        save_steps: updates between checkpoints from which a killed run resumes; None for none.
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


class PromptLimit(Record):
    """Where a row is cut; see `harness.models.tokenize` for the rule."""

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
