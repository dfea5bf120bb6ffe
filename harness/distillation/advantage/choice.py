"""Whether teachers are run beside the student, or read from a cache, and from which.

Bytes per scored token of a preferred answer (KL, one teacher) or of an own answer (teacher and
reference):

    hidden   2 x hidden size per model; exact, needs the heads of the models
    lists    k ids, k float16 values and one for the rest: 302 for k = 50 and 4-byte ids

Running a teacher costs 2 operations per parameter and token in every epoch, a cache once.

This module loads without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.core.records import Record

Form = Literal["live", "hidden", "lists"]
GIB = 2**30
TINY_B = 0.05


class TeacherAccess(Record):
    """How teachers are read.

    Attributes:
        form: "auto" follows `choose`.
        k: ids per list.
        student_k: how many of them are the student's most likely ids.
        lists: "released" makes lists as the released code does, see `advantage_released`.
        teacher_b, student_b: billions of parameters of the models, for the choice alone, so that a
            rehearsal on other models chooses the same; None if unknown.
        hidden: hidden size of the teachers, for the choice.
        vocabulary: size of the vocabulary, for the choice.
        tokens_per_answer: expected length of an answer, for the choice.
        disk_gib, gpu_gib: what a cache and the models may take; None is no limit.
        batch_tokens: most tokens per batch when a cache is made, padding included.
        shard_rows: answers per shard.
        dtype: numeric type of teachers; None leaves it to model and device.
    """

    form: Literal["auto", "live", "hidden", "lists"] = "auto"
    k: int = Field(default=50, ge=1)
    student_k: int = Field(default=0, ge=0)
    lists: Literal["full", "released"] = "full"
    teacher_b: float | None = Field(default=None, ge=0)
    student_b: float | None = Field(default=None, ge=0)
    hidden: int | None = Field(default=None, ge=1)
    vocabulary: int | None = Field(default=None, ge=1)
    tokens_per_answer: int = Field(default=450, ge=1)
    disk_gib: float | None = Field(default=None, gt=0)
    gpu_gib: float | None = Field(default=None, gt=0)
    batch_tokens: int = Field(default=4096, ge=1)
    shard_rows: int = Field(default=256, ge=1)
    dtype: Literal["float32", "bfloat16"] | None = None


@dataclass(frozen=True)
class Choice:
    """The chosen form and the reason, which a plan shows."""

    form: Form
    reason: str


def list_bytes(k: int, vocabulary: int | None) -> int:
    """Bytes per token of a list.

    >>> list_bytes(50, 128_256), list_bytes(50, 32_000)
    (302, 202)
    """
    return k * (2 if vocabulary is not None and vocabulary <= 1 << 16 else 4) + 2 * k + 2


def choose(
    access: TeacherAccess,
    *,
    models: int,
    sides: int,
    rows: int | None,
    epochs: float,
) -> Choice:
    """The form in which teachers are read.

    In this order: the form that is set; live for tiny teachers; live for one epoch if teachers and
    student fit the GPU, because a cache would be read once; hidden states if they fit the disk;
    lists if those do; else live.

    Args:
        models: teachers read per token: 1 for KL, 2 with a reference.
        sides: answers per row on which they are read.
        rows: training rows; None if unknown.
    """
    if access.form != "auto":
        return Choice(access.form, "set in the recipe")
    teacher_b = access.teacher_b
    if teacher_b is None or teacher_b < TINY_B:
        return Choice("live", "teachers are tiny" if teacher_b is not None else "sizes unknown")
    need = 2.4 * teacher_b * models + 19.2 * (
        access.student_b or 0
    )  # GB: weights, and training with Adam
    fits = access.gpu_gib is None or need * 1e9 / GIB <= access.gpu_gib
    if epochs <= 1 and fits:
        return Choice("live", "one epoch: a cache would be read once")
    tokens = None if rows is None else rows * sides * access.tokens_per_answer
    sizes = {
        "hidden": None if access.hidden is None else 2 * access.hidden * models,
        "lists": list_bytes(access.k, access.vocabulary),
    }
    why = f"{epochs:g} epochs" if epochs > 1 else "models exceed gpu_gib"
    for form in ("hidden", "lists"):
        size = sizes[form]
        if size is None:
            continue
        gib = None if tokens is None else size * tokens / GIB
        if access.disk_gib is None or (gib is not None and gib <= access.disk_gib):
            total = "size unknown" if gib is None else f"{gib:.3g} GiB"
            return Choice(
                "hidden" if form == "hidden" else "lists", f"{why}, {size} B/token, {total}"
            )
    return Choice("live", f"{why}, but no cache fits disk_gib = {access.disk_gib:g}")
