"""Settings of explicit fusion, as records without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.core.records import Record
from harness.training.objective import linear_ramp


class FusionSettings(Record):
    """How the distributions of several teachers are fused into one target and weighted (FuseLLM,
    arXiv 2401.10491; FuseChat, arXiv 2408.07990).

    Attributes:
        fusion: "min_ce" takes at each position the teacher with the lowest cross-entropy, the first
            on a tie; "avg_ce" averages all teachers, weighted by a softmax of exp(-cross-entropy).
        divergence: divergence of the student from the target; "kl" is "ce" minus the entropy of
            the target.
        temperature: temperature of the teachers' entries, which are normalised among themselves.
        lm_weight: lambda, the weight of the language-model loss.
        weighting: "fixed" keeps lambda; "decay" increases it linearly to 1; "soft" replaces it by
            1 - exp(-cross-entropy) of the best teacher (min_ce) or averaged over teachers (avg_ce).
        positions: "scored" uses positions whose next token has a label (FuseChat), "all" every
            token (FuseLLM); positions where no teacher has an entry are left out.
        with_base: whether the first teacher, the target itself before training, takes part; it
            replaces the empty steps of other teachers in any case.
        released: compute rewards and AvgCE weights in bfloat16 and, without the base, prefer the
            last teacher on a tie, as in the code released with FuseLLM.
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
        """lambda after `step` of `total` updates; with "soft" it depends on the data instead."""
        if self.weighting != "decay":
            return self.lm_weight
        return linear_ramp(step, start=self.lm_weight, end=1.0, end_step=total)


class MappingSettings(Record):
    """How a teacher is mapped to another tokenizer, see `harness.distillation.mapping`.

    Attributes:
        alignment: align tokens by their end positions in the text ("offset") or by their spelling
            ("dtw").
        vocabulary: target token of a source token: only one with the same text ("exact"); else the
            nearest spelling ("mined"), among several the one with the most similar neighbours
            ("cooccurrence"); the token it is aligned with most often ("statistics"); or the longest
            token that it begins with ("prefix").
        onehot_target: target of a position without a counterpart: the following token ("next"), the
            token itself ("current", as FuseLLM released it), or none.
        duplicates: whether the probabilities of source tokens with the same counterpart are summed,
            or only the most likely one counts.
        ce_per: tokens over which the cross-entropy of a document is averaged. Teachers are chosen
            by it; teachers whose tokens differ in length compare only over the target's tokens.
        released: follow a released code; the settings above are then those of that code, except
            `vocabulary`, for which it has no "prefix".
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
