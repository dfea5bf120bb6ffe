"""Settings of merges; imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.core.records import Record

Dtype = Literal["base", "float32", "bfloat16", "float16"]
VarmDefect = Literal[
    "first_model",
    "one_analysis",
    "equal_on_zero",
    "signed_model",
    "item_sums",
    "misspelt_square",
    "bfloat16_sums",
]


class LinearSettings(Record):
    """Weighted mean of the targets, the baseline in both FuseChat papers.

    Attributes:
        weights: one per target, normalised by their sum; () means equal weights.
    """

    method: Literal["linear"] = "linear"
    weights: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _some_weight(self) -> LinearSettings:
        if self.weights and not sum(self.weights) > 0:
            raise ValueError(f"weights with a sum above 0, not {sum(self.weights)}")
        return self


class VarmSettings(Record):
    """Variation-ratio merging, VaRM (FuseChat v1, arXiv 2402.16107); `harness.merging.varm`.

    Attributes:
        statistic: score of a target's change: mean square, mean absolute value, or "signed", the
            absolute value of the mean (in the released code `square`, `abs`, `default`).
        level: unit that shares one weight (released name): an entry (`avg_item`), a tensor
            (`avg_param`, the paper's recipe), a module, a layer (tensors outside layers are
            averaged), the model, or "weight": the model, with its score multiplied by the
            percentage of changed entries (`avg_weight`).
        normalisation: scores divided by their sum, or softmax(score / temperature).
        temperature: temperature of the softmax.
        exclude: a tensor whose name contains one of these is copied from the first target, as in
            the released code.
        released: defects of the released scripts to reproduce:
            first_model: excluded_pattern "" matches every name, so the result is the first target
            in bfloat16;
            one_analysis: every model reads the same analysis, so weights are equal, except at
            element level;
            equal_on_zero: one zero score in a tensor or module makes its weights equal;
            signed_model: "signed" at model level keeps the sign, so weights may leave [0, 1];
            item_sums: "signed" entries keep their sign and sums are clamped to at least 1e-13, so
            an unchanged entry becomes 0;
            misspelt_square: `avg_item` spells the statistic "squre", so "square" is refused;
            bfloat16_sums: targets, products and sums are bfloat16; at element level only targets.
    """

    method: Literal["varm"] = "varm"
    statistic: Literal["square", "abs", "signed"] = "square"
    level: Literal["element", "tensor", "module", "layer", "model", "weight"] = "tensor"
    normalisation: Literal["sum", "softmax"] = "sum"
    temperature: float = Field(default=1.0, gt=0)
    exclude: tuple[str, ...] = ()
    released: tuple[VarmDefect, ...] = ()

    @model_validator(mode="after")
    def _misspelt(self) -> VarmSettings:
        squares = (self.level, self.statistic) == ("element", "square")
        if squares and "misspelt_square" in self.released:
            raise ValueError(
                'statistic "abs" or "signed" (the released avg_item knows only "squre")'
            )
        return self


class SceSettings(Record):
    """Select, calculate, erase, SCE (FuseChat v2, arXiv 2408.07990); `harness.merging.sce`.

    Attributes:
        select_topk: tau, share of entries with non-zero variance to select; 1 selects all.
        select_applies_to: use the selection for the coefficients only, as in the authors' fork
            that produced their models, or also reset unselected entries, as in mergekit.
        erase: drop changes whose sign is not the majority's.
        vote: majority by summed value, as in both implementations, or by count; 0 counts as +.
        zero_threshold: changes below which weights are equal: "relative" to the base's resolution
            in float32, "exact" only at 0 (the fork), or "mergekit": sum of mean squares up to 1e-6
            (divisors are then at least 1e-6).
    """

    method: Literal["sce"] = "sce"
    select_topk: float = Field(default=1.0, ge=0, le=1)
    select_applies_to: Literal["coefficients", "coefficients_and_deltas"] = (
        "coefficients_and_deltas"
    )
    erase: bool = True
    vote: Literal["value", "count"] = "value"
    zero_threshold: Literal["relative", "exact", "mergekit"] = "relative"


class MergeParams(Record):
    """A merge of checkpoints of one architecture.

    Attributes:
        rule: the merging method and its settings.
        dtype: dtype of the merged checkpoint; "base" keeps the base's dtype of each tensor.
        embedding_rows: refuse a target with tokens that the base lacks, or cut their rows.
        align_vocabularies: merge vocabulary rows by token instead of refusing other ids; for tokens
            that a target lacks the base's rows stand in, and those that only it has are left out.
        allow_config: keys of config.json that may differ though they change what weights mean.
        mixed_dtypes: accept targets stored in another dtype than the base.
        shard_gb: maximum file size in 10^9 bytes; a larger tensor is stored in a separate file.
    """

    rule: Annotated[LinearSettings | VarmSettings | SceSettings, Field(discriminator="method")]
    dtype: Dtype = "base"
    embedding_rows: Literal["refuse", "cut"] = "refuse"
    mixed_dtypes: bool = False
    shard_gb: float = Field(default=5.0, gt=0)
    align_vocabularies: bool = Field(default=False, exclude_if=lambda value: not value)
    allow_config: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)


class MergekitParams(Record):
    """A merge with mergekit.

    Attributes:
        method: merge method; slerp interpolates between two targets, all others start at the base.
        weights: one per target; None leaves them to mergekit or `parameters`.
        parameters: mergekit's global parameters, verbatim: density, normalize, lambda, t, ...
        dtype: dtype of the merged checkpoint; "base" requires a base with a single dtype.
        mixed_dtypes: accept targets stored in another dtype than the base.
        shard_gb: maximum file size in 10^9 bytes.
        seed: seed of DARE's random masks.
        align_vocabularies, allow_config: as in `MergeParams`.
    """

    method: Literal["linear", "task_arithmetic", "ties", "dare_ties", "dare_linear", "slerp", "sce"]
    weights: tuple[float, ...] | None = None
    parameters: dict[str, Any] = {}
    dtype: Dtype = "base"
    mixed_dtypes: bool = False
    shard_gb: float = Field(default=5.0, gt=0)
    seed: int = 0
    align_vocabularies: bool = Field(default=False, exclude_if=lambda value: not value)
    allow_config: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
