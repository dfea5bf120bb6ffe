"""Settings of ADPA and its baselines: models, data, and the trainings of the chain."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.core.records import Record
from harness.distillation.advantage.choice import TeacherAccess
from harness.distillation.advantage.settings import CHOSEN, Clip, Reduction
from harness.engine.recipe import ModelSpec, Recipe, Refers
from harness.training.from_responses import Decoding, PreferenceTraining
from harness.training.settings import PromptLimit, RunSettings
from harness.training.sft import SftParams


class Models(Record):
    """The teacher and the student before any training."""

    teacher: ModelSpec
    student: Annotated[ModelSpec, Refers("student")]


class Data(Record):
    """Training data.

    Attributes:
        sft: conversations for the SFT of teacher and student; "" uses the field `response` of the
            pairs.
        pairs: preference pairs, see `harness.data.pairs`.
        sft_rows, pairs_rows: sizes of the sets, for the estimates of a plan.
        limit: maximal number of rows of each set.
    """

    sft: Annotated[str, Refers("documents")] = ""
    sft_split: Annotated[str, Refers("layout")] = "train"
    pairs: Annotated[str, Refers("documents")]
    pairs_split: Annotated[str, Refers("layout")] = "train"
    sft_rows: int | None = None
    pairs_rows: int | None = None
    limit: int | None = Field(default=None, ge=2)


class Distillation(RunSettings, PromptLimit):
    """Training of DCKD, ADPA and their baselines.

    Attributes:
        sft, reduction, end_token: see `harness.distillation.advantage.settings.PairLoss`.
        anchor: answer of the pairs whose likelihood is trained.
    """

    sft: float = Field(default=1.0, ge=0)
    reduction: Reduction = "token"
    end_token: Literal["distilled", "released"] = "distilled"
    anchor: str = CHOSEN


class Dckd(Record):
    """Weights of DCKD: of both KL terms together, and of each."""

    distill: float = Field(default=1.0, ge=0)
    chosen: float = Field(default=0.1, ge=0)
    rejected: float = Field(default=0.1, ge=0)


class Adpa(Record):
    """Settings of ADPA.

    Attributes:
        reference: reference of the advantage: the teacher after SFT, the student before ADPA as in
            the released scripts ("student_init"), or "none", the uniform distribution.
        teachers: "swapped" exchanges teacher and reference, "same" uses the reference twice: the
            controls of a nano recipe.
        level: advantages of tokens, of spans between common token boundaries, or of whole answers.
        align: "spans" allows teachers of another tokenizer; it implies level "span" for ADPA.
    """

    gamma: float = Field(default=1.6, ge=0)
    beta: float = Field(default=1.0, gt=0)
    advantage_clip: Clip = None
    reference: Literal["teacher", "student_init", "none"] = "teacher"
    teachers: Literal["given", "swapped", "same"] = "given"
    level: Literal["token", "span", "sequence"] = "token"
    align: Literal["same", "spans"] = "same"


class AdpaRecipe(Recipe):
    """Settings of ADPA and its baselines.

    Attributes:
        sft: SFT of the student, and of the teacher where `teacher_sft` is not given.
        dpo: DPO of the teacher, and of the student where `student_dpo` is not given.
        answers: decoding of the student's own answers, and of the teacher's for `seqkd`.
    """

    models: Models
    data: Data
    sft: SftParams
    teacher_sft: SftParams | None = None
    dpo: PreferenceTraining
    student_dpo: PreferenceTraining | None = None
    answers: Decoding
    train: Distillation
    dckd: Dckd = Dckd()
    adpa: Adpa = Adpa()
    teachers: TeacherAccess = TeacherAccess()
