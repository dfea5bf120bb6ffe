"""Rows of a cache from teachers' distributions: lists of ids with one bucket, or hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.advantage.advantage_released import floored_reference, half_log_probs
from harness.distillation.advantage.losses import (
    advantages,
    forward_kl,
    list_error_bound,
    listed_advantages,
    listed_kl,
    tail_logp,
)
from harness.distillation.advantage.targets import Distribution, Ratio
from harness.models.head_sums import CHUNK_BYTES, head_logits

LOWEST = -6e4  # a log-probability that float16 holds and whose probability is 0


@dataclass(frozen=True)
class ListSettings:
    """How lists are made.

    Attributes:
        k: ids per position.
        student_k: how many of them are kept for the student's most likely ids.
        released: fp16 softmax, and a floor for ids that the reference's own list lacks.
    """

    k: int
    student_k: int = 0
    released: bool = False


@dataclass
class ListReport:
    """What the lists leave out, as sums over positions.

    Attributes:
        q_tail, p_tail: mass of teacher and student outside the lists.
        bound: bound of the error per position: of KL q_tail KL(q in tail || p in tail), of E_p[A]
            p_tail max_tail |A - A_tail|. Known only with a student.
    """

    positions: int = 0
    q_tail: float = 0.0
    p_tail: float = 0.0
    bound: float = 0.0
    largest: float = 0.0
    with_student: bool = field(default=False)

    def add(self, q_tail: Tensor, p_tail: Tensor | None, bound: Tensor | None) -> None:
        """Add values per position."""
        self.positions += len(q_tail)
        self.q_tail += float(q_tail.sum())
        if p_tail is not None and bound is not None and len(bound):
            self.with_student = True
            self.p_tail += float(p_tail.sum())
            self.bound += float(bound.sum())
            self.largest = max(self.largest, float(bound.max()))

    def summary(self) -> dict[str, float | int]:
        """Means per position."""
        count = max(1, self.positions)
        found: dict[str, float | int] = {"positions": self.positions, "q_tail": self.q_tail / count}
        if self.with_student:
            found |= {
                "p_tail": self.p_tail / count,
                "bound": self.bound / count,
                "largest_bound": self.largest,
            }
        return found


def spans(count: int, vocabulary: int, device: str) -> Iterator[slice]:
    """Chunks of positions whose logits fit `CHUNK_BYTES`."""
    height = max(1, CHUNK_BYTES.get(device, CHUNK_BYTES["cuda"]) // (4 * vocabulary))
    for start in range(0, count, height):
        yield slice(start, min(start + height, count))


@torch.no_grad()
def list_rows(
    source: Distribution | Ratio,
    how: ListSettings,
    student: Distribution | None = None,
    report: ListReport | None = None,
) -> dict[str, Tensor]:
    """Columns ids (M, k), values (M, k) and tail (M,), the last two in float16.

    Values are log-probabilities of a distribution, or log-ratios of a teacher and its reference,
    always of the full distributions: never renormalised within the list. Ids are in the order of
    the teacher's probabilities.

    Raises:
        BadData: k exceeds the vocabulary, or logits are not finite.
    """
    teacher = source.teacher if isinstance(source, Ratio) else source
    if how.k > teacher.vocabulary or how.student_k > how.k:
        raise BadData(
            f"lists of k = {how.k} ids, {how.student_k} of them the student's; expected at most "
            f"the vocabulary of {teacher.vocabulary}, and student_k at most k"
        )
    parts = [
        _rows(source, teacher, how, student, part, report or ListReport())
        for part in spans(len(teacher.hidden), teacher.vocabulary, teacher.hidden.device.type)
    ]
    kind = torch.uint16 if teacher.vocabulary <= 1 << 16 else torch.uint32
    if not parts:
        empty = torch.zeros(0, how.k)
        return {"ids": empty.to(kind), "values": empty.half(), "tail": torch.zeros(0).half()}
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    values, tail = (found[name].clamp(LOWEST, -LOWEST).half() for name in ("values", "tail"))
    return {"ids": found["ids"].to(kind), "values": values, "tail": tail}


def _rows(
    source: Distribution | Ratio,
    teacher: Distribution,
    how: ListSettings,
    student: Distribution | None,
    part: slice,
    report: ListReport,
) -> dict[str, Tensor]:
    q = _logps(teacher, part, how)
    p = None if student is None else student.logps(part)
    ids = top_ids(q, how, p)
    kept, tail = q.gather(-1, ids), tail_logp(q, ids)
    p_tail = None if p is None else tail_logp(p, ids).exp()
    if not isinstance(source, Ratio):
        gap = None if p is None else forward_kl(p, q) - listed_kl(p, ids, kept, tail)
        report.add(tail.exp(), p_tail, gap)
        return {"ids": ids, "values": kept, "tail": tail}
    if source.reference is None:
        r = torch.full_like(q, -float(torch.tensor(float(q.shape[-1])).log()))
    else:
        r = _logps(source.reference, part, how)
    other = r.gather(-1, ids)
    if how.released:
        other = floored_reference(kept, other, r.topk(how.k, dim=-1).values[:, -1])
    values, rest = listed_advantages(kept, other, tail, tail_logp(r, ids))
    if how.released:
        rest = torch.zeros_like(rest)
    bound = None if p is None else list_error_bound(p, ids, advantages(q, r), rest)
    report.add(tail.exp(), p_tail, bound)
    return {"ids": ids, "values": values, "tail": rest}


def _logps(model: Distribution, part: slice, how: ListSettings) -> Tensor:
    if not how.released:
        return model.logps(part)
    return half_log_probs(head_logits(model.hidden[part], model.head, vocabulary=model.vocabulary))


def top_ids(teacher: Tensor, how: ListSettings, student: Tensor | None = None) -> Tensor:
    """Ids (M, k) in descending order of the teacher's log-probabilities (M, V).

    With a student: the teacher's top k - student_k, the student's top student_k, and as many
    further ones of the teacher as both had in common.
    """
    if student is None or not how.student_k:
        return teacher.topk(how.k, dim=-1).indices
    own = how.k - how.student_k
    rank = teacher.clone()
    rank.scatter_(-1, student.topk(how.student_k, dim=-1).indices, 1.0)
    if own:
        rank.scatter_(-1, teacher.topk(own, dim=-1).indices, 2.0)
    chosen = rank.topk(how.k, dim=-1).indices
    order = teacher.gather(-1, chosen).argsort(dim=-1, descending=True, stable=True)
    return chosen.gather(-1, order)


def state_rows(teacher: Distribution, reference: Distribution | None = None) -> dict[str, Tensor]:
    """Hidden states (M, H) as columns `teacher` and `reference`, 2 bytes per number.

    bfloat16 states stay as they are; float32 ones become float16, whose error of 2^-12 is smaller
    than bfloat16's.

    Raises:
        BadData: float32 states that float16 cannot hold.
    """
    found = {"teacher": _narrow(teacher.hidden)}
    if reference is not None:
        found["reference"] = _narrow(reference.hidden)
    return found


def _narrow(states: Tensor) -> Tensor:
    if not bool(states.isfinite().all()):
        raise BadData(
            "a teacher gives hidden states that are not finite; load it in a wider dtype, or omit "
            "the row"
        )
    if states.dtype in (torch.bfloat16, torch.float16):
        return states.cpu()
    narrow = states.half().cpu()
    if not bool(narrow.isfinite().all()):
        raise BadData(
            "hidden states of a float32 teacher exceed the range of float16; load the teacher in "
            "bfloat16, or cache lists"
        )
    return narrow
