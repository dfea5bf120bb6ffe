"""Settings of merges, as records without torch."""

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
    """The weighted mean of the targets, the baseline of both FuseChat papers.

    Attributes:
        weights: one a target, divided by their sum; () weighs all alike.
    """

    method: Literal["linear"] = "linear"
    weights: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _some_weight(self) -> LinearSettings:
        if self.weights and not sum(self.weights) > 0:
            raise ValueError(f"weights with a sum above 0; found {sum(self.weights)}")
        return self


class VarmSettings(Record):
    """Variation-ratio merging, VaRM (FuseChat v1, arXiv 2402.16107); `harness.merging.varm`.

    Attributes:
        statistic: of a target's change: mean of squares, of absolutes, or "signed", the absolute
            value of the mean (the released `square`, `abs`, `default`).
        level: what shares a weight (released name): an entry (`avg_item`), a tensor (`avg_param`,
            the recipe), a module, a layer (tensors outside layers are averaged), the model, or the
            model with its score times the percentage of changed entries ("weight", `avg_weight`).
        normalisation: scores divided by their sum, or softmax(score / temperature).
        exclude: tensors whose names contain one of these are the first target's, as released.
        released: defects of the released scripts to reproduce:
            first_model: excluded_pattern "" matches every name: the first target, in bfloat16;
            one_analysis: every model reads the same analysis: equal weights, but for entries;
            equal_on_zero: one zero score in a tensor or module makes its weights equal;
            signed_model: `signed` at model level keeps its sign: weights may leave [0, 1];
            item_sums: `signed` entries keep their sign and sums are floored at 1e-13: an entry
            that nothing changed becomes 0;
            misspelt_square: `avg_item` knows squares only as "squre": they are refused;
            bfloat16_sums: targets, products and sums are bfloat16, for entries the targets alone.
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
            raise ValueError('statistic "abs" or "signed": the released avg_item spells it "squre"')
        return self


class SceSettings(Record):
    """Select, calculate, erase, SCE (FuseChat v2, arXiv 2408.07990); `harness.merging.sce`.

    Attributes:
        select_topk: tau, the share of entries with non-zero variance that is selected; 1 disables.
        select_applies_to: the selection enters the coefficients alone, as in the authors' fork
            that made their models, or also resets the other entries, as in mergekit.
        erase: drop entries whose sign is not the majority's.
        vote: by summed value, as both implementations do, or by count; 0 counts as +.
        zero_threshold: when changes are too small to compare and weights become equal:
            "relative" to the base's resolution in float32, "exact" at 0 alone (the fork), or
            "mergekit": a sum of mean squares up to 1e-6, and divisors of at least 1e-6.
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
        dtype: of the merged checkpoint; "base": each tensor's as in the base.
        embedding_rows: what to do when a target has more vocabulary rows than the base.
        mixed_dtypes: accept targets stored in another dtype than the base.
        shard_gb: size of a file, in 10^9 bytes; a larger tensor gets a file of its own.
    """

    rule: Annotated[LinearSettings | VarmSettings | SceSettings, Field(discriminator="method")]
    dtype: Dtype = "base"
    embedding_rows: Literal["refuse", "cut"] = "refuse"
    mixed_dtypes: bool = False
    shard_gb: float = Field(default=5.0, gt=0)


class MergekitParams(Record):
    """A merge through mergekit.

    Attributes:
        method: slerp goes from the first target to the second; all others start at the base.
        weights: one a target; None leaves them to mergekit or `parameters`.
        parameters: mergekit's global parameters, verbatim: density, normalize, lambda, t, ...
        mixed_dtypes: accept targets stored in another dtype than the base.
        seed: of DARE's random masks.
    """

    method: Literal["linear", "task_arithmetic", "ties", "dare_ties", "dare_linear", "slerp", "sce"]
    weights: tuple[float, ...] | None = None
    parameters: dict[str, Any] = {}
    dtype: Dtype = "base"
    mixed_dtypes: bool = False
    shard_gb: float = Field(default=5.0, gt=0)
    seed: int = 0
