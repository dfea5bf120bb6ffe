"""Lists and hidden states of teachers, position by position from tables made by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.advantage import advantage_released as released
from harness.distillation.advantage.produce import (
    ListReport,
    ListSettings,
    list_rows,
    spans,
    state_rows,
    top_ids,
)
from harness.distillation.advantage.targets import Distribution, Ratio
from harness.models import head_sums
from harness.models.heads import Head

EYE = Head(torch.eye(4), None)  # hidden states are the logits
P = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
Q = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.6, 0.2, 0.1], [0.4, 0.1, 0.4, 0.1]])
R = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.2, 0.3, 0.4, 0.1], [0.1, 0.1, 0.1, 0.7]])


def of(probs: Tensor) -> Distribution:
    return Distribution(probs.log(), EYE, 4)


def close(found: Tensor, expected: Tensor) -> None:
    """Up to the rounding of float16."""
    torch.testing.assert_close(found.float(), expected.float(), rtol=2e-3, atol=1e-3)


def test_a_list_of_one_teacher_holds_its_likeliest_ids_and_the_rest() -> None:
    report = ListReport()
    found = list_rows(of(Q), ListSettings(2), None, report)
    assert found["ids"].dtype == torch.uint16
    assert found["ids"].tolist() == [[0, 1], [1, 2], [0, 2]]
    assert found["values"].dtype == found["tail"].dtype == torch.float16
    close(found["values"].exp(), torch.tensor([[0.5, 0.3], [0.6, 0.2], [0.4, 0.4]]))
    close(found["tail"].exp(), torch.tensor([0.2, 0.2, 0.2]))
    assert report.summary() == {"positions": 3, "q_tail": pytest.approx(0.2)}


def test_a_student_makes_what_a_list_leaves_out_known() -> None:
    """KL in the tail: q_tail KL(q in tail || p in tail) = KL - KL of the list."""
    report = ListReport()
    list_rows(of(Q), ListSettings(2), of(P), report)
    ids = ([0, 1], [1, 2], [0, 2])
    lost, mass = [], []
    for q, p, kept in zip(Q, P, ids, strict=True):
        rest = [n for n in range(4) if n not in kept]
        q_tail, p_tail = q[rest].sum(), p[rest].sum()
        inner = (q[rest] / q_tail) * ((q[rest] / q_tail).log() - (p[rest] / p_tail).log())
        lost.append(float(q_tail * inner.sum()))
        mass.append(float(p_tail))
    found = report.summary()
    assert found == {
        "positions": 3,
        "q_tail": pytest.approx(0.2),
        "p_tail": pytest.approx(sum(mass) / 3),
        "bound": pytest.approx(sum(lost) / 3, abs=1e-6),
        "largest_bound": pytest.approx(max(lost), abs=1e-6),
    }


def test_a_list_of_ratios_holds_those_of_the_teachers_likeliest_ids() -> None:
    report = ListReport()
    found = list_rows(Ratio(of(Q), of(R)), ListSettings(2), of(P), report)
    assert found["ids"].tolist() == [[0, 1], [1, 2], [0, 2]]
    ratio = (Q / R).log()
    close(
        found["values"], torch.stack([ratio[n, i] for n, i in enumerate(([0, 1], [1, 2], [0, 2]))])
    )
    tails = torch.tensor([0.2 / 0.5, 0.2 / 0.3, 0.2 / 0.8]).log()
    close(found["tail"], tails)
    outside = ([2, 3], [0, 3], [1, 3])
    bounds = [float(P[n, rest].sum() * (ratio[n, rest] - tails[n]).abs().max())
              for n, rest in enumerate(outside)]  # fmt: skip
    summary = report.summary()
    assert summary["bound"] == pytest.approx(sum(bounds) / 3, rel=1e-5)
    assert summary["largest_bound"] == pytest.approx(max(bounds), rel=1e-5)
    uniform = list_rows(Ratio(of(Q), None), ListSettings(2))
    close(uniform["values"][0], (Q[0, :2] * 4).log())
    close(uniform["tail"], torch.tensor([0.4, 0.4, 0.4]).log())


def test_released_lists_floor_a_reference_that_lacks_an_id_and_have_no_rest() -> None:
    """The reference's own two likeliest are 2 and 1, and 3 and 0 (of equal ones the first)."""
    found = list_rows(Ratio(of(Q[1:]), of(R[1:])), ListSettings(2, released=True))
    assert found["ids"].tolist() == [[1, 2], [0, 2]]
    assert found["tail"].tolist() == [0.0, 0.0]
    close(found["values"][0], torch.tensor([0.6 / 0.3, 0.2 / 0.4]).log())
    close(found["values"][1], torch.tensor([0.4 / 0.1, 0.4 / 0.1]).log())
    rare = torch.tensor([[0.45, 0.25, 0.2, 0.1]])
    found = list_rows(Ratio(of(rare), of(rare.flip(1))), ListSettings(2, released=True))
    # Of 0 and 1 the reference lists neither: both get the teacher's smallest, 0.25.
    close(found["values"][0], torch.tensor([0.45 / 0.25, 1.0]).log())


def test_lists_are_bounded_by_what_float16_holds() -> None:
    certain = Distribution(torch.tensor([[-1e5, 0.0, -1e5, -1e5]]), EYE, 4)
    other = Distribution(torch.tensor([[-1e5, -1e5, 0.0, -1e5]]), EYE, 4)
    found = list_rows(certain, ListSettings(2))
    assert found["values"][0].tolist() == [0.0, -60_000.0]
    assert found["tail"].tolist() == [-60_000.0]
    ratio = list_rows(Ratio(certain, other), ListSettings(4))
    assert sorted(ratio["values"][0].tolist()) == [-60_000.0, 0.0, 0.0, 60_000.0]


@pytest.mark.parametrize(("vocabulary", "kind"), [(65_536, torch.uint16), (65_537, torch.uint32)])
def test_ids_take_two_bytes_up_to_a_vocabulary_of_65536(vocabulary: int, kind: torch.dtype) -> None:
    head = Head(torch.zeros(vocabulary, 1), None)
    for positions in (0, 1):
        found = list_rows(
            Distribution(torch.zeros(positions, 1), head, vocabulary), ListSettings(3)
        )
        assert found["ids"].dtype == kind
        assert {name: tuple(each.shape) for name, each in found.items()} == {
            "ids": (positions, 3), "values": (positions, 3), "tail": (positions,)
        }  # fmt: skip
        assert found["values"].dtype == found["tail"].dtype == torch.float16


def test_a_list_is_as_long_as_the_vocabulary_at_most_and_as_the_students_share_at_least() -> None:
    assert list_rows(of(Q), ListSettings(4, student_k=4), of(P))["ids"].shape == (3, 4)
    for how in (ListSettings(5), ListSettings(3, student_k=4)):
        with pytest.raises(BadData, match="expected at most the vocabulary of 4, and student_k"):
            list_rows(of(Q), how)


def test_the_students_likely_ids_take_the_places_of_the_teachers_last_ones() -> None:
    teacher = torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05]]).log()
    student = torch.tensor([[0.1, 0.2, 0.05, 0.3, 0.35]]).log()
    assert top_ids(teacher, ListSettings(3, 1), student).tolist() == [[0, 1, 4]]
    assert top_ids(teacher, ListSettings(3, 2), student).tolist() == [[0, 3, 4]]
    assert top_ids(teacher, ListSettings(3, 3), student).tolist() == [[1, 3, 4]]
    assert top_ids(teacher, ListSettings(3, 0), student).tolist() == [[0, 1, 2]]
    assert top_ids(teacher, ListSettings(3, 2)).tolist() == [[0, 1, 2]]
    # What both have in common makes room for one more of the teacher's.
    agreed = torch.tensor([[0.5, 0.1, 0.1, 0.2, 0.1]]).log()
    assert top_ids(teacher, ListSettings(3, 1), agreed).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("device", "limit", "expected"),
    [("cpu", 80, [(0, 2), (2, 4), (4, 5)]), ("cpu", 39, [(n, n + 1) for n in range(5)]),
     ("xpu", 120, [(0, 3), (3, 5)]), ("cpu", 10_000, [(0, 5)])],
)  # fmt: skip
def test_chunks_hold_four_bytes_per_position_and_id(
    device: str, limit: int, expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(head_sums.CHUNK_BYTES, "cpu", limit)
    monkeypatch.setitem(head_sums.CHUNK_BYTES, "cuda", limit)
    assert [(part.start, part.stop) for part in spans(5, 10, device)] == expected
    assert list(spans(0, 10, device)) == []


def test_a_report_adds_up_and_is_of_the_teacher_alone_without_a_student() -> None:
    report = ListReport()
    assert report.summary() == {"positions": 0, "q_tail": 0.0}
    report.add(torch.tensor([0.5, 0.25]), None, None)
    report.add(torch.tensor([0.25]), torch.tensor([0.5]), None)
    report.add(torch.tensor([]), torch.tensor([]), torch.tensor([]))
    assert report.summary() == {"positions": 3, "q_tail": 1 / 3}
    report.add(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.75]), torch.tensor([2.0, 0.5]))
    report.add(torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([1.0]))
    assert report.summary() == pytest.approx(
        {"positions": 6, "q_tail": 2 / 6, "p_tail": 1.25 / 6, "bound": 3.5 / 6,
         "largest_bound": 2.0}
    )  # fmt: skip


def test_states_take_two_bytes_per_number() -> None:
    states = torch.tensor([[1.0, 65504.0], [2.0, 3.0]])
    half = Distribution(states.half(), EYE, 4)
    narrow = Distribution(states, EYE, 4)
    wide = Distribution(1e30 * states.bfloat16(), EYE, 4)
    found = state_rows(narrow, wide)
    assert list(found) == ["teacher", "reference"]
    assert (found["teacher"].dtype, found["reference"].dtype) == (torch.float16, torch.bfloat16)
    assert torch.equal(found["teacher"].float(), states)
    assert state_rows(half).keys() == {"teacher"}
    for bad in (math.inf, math.nan):
        broken = torch.tensor([[1.0, bad], [2.0, 3.0]])
        for kind in (torch.float32, torch.float16, torch.bfloat16):
            with pytest.raises(BadData, match="hidden states that are not finite"):
                state_rows(narrow, Distribution(broken.to(kind), EYE, 4))
    with pytest.raises(BadData, match="exceed the range of float16"):
        state_rows(Distribution(torch.tensor([[7e4, 1.0]]), EYE, 4))


def test_the_released_functions_by_hand() -> None:
    ratio = torch.tensor([-2.0, 0.0, 0.5, 3.0], dtype=torch.float64)
    assert released.clamped(ratio).tolist() == [1e-8, 1e-8, 0.5, 1 - 1e-8]
    (compressed,) = released.compressed(Q[:1].log(), 2, half=False)
    assert compressed["indices"] == [0, 1]
    assert compressed["values"] == pytest.approx([0.5, 0.3])
    assert compressed["remaining_probs_sum"] == pytest.approx(0.2)
    teacher = [{"indices": [0, 1], "values": [0.5, 0.3]}, {"indices": [2], "values": [1e-9]}]
    reference = [{"indices": [1, 3], "values": [0.1, 0.8]}, {"indices": [0], "values": [1.0]}]
    margins = released.released_margins(teacher, reference)
    assert [found["indices"] for found in margins] == [[1, 0], [2]]
    assert margins[0]["values"] == pytest.approx([math.log(3.0), math.log(0.5 / 0.3)])
    assert margins[1]["values"] == pytest.approx([math.log(1e-9 / 1e-7)])
    ids, values = torch.tensor([[0, 2]]), torch.tensor([[0.5, -1.0]])
    found = released.released_expectation(Q[:1].log(), ids, values, clamp=False, beta=2.0)
    assert found.item() == pytest.approx(2 * (0.5 * 0.5 - 0.15))
    clamp = released.released_expectation(Q[:1].log(), ids, values)
    assert clamp.item() == pytest.approx(0.25, abs=1e-6)
    sums, counts = [torch.tensor(3.0), torch.tensor(1.0)], [torch.tensor(3.0), torch.tensor(2.0)]
    assert released.micro_batch_mean(sums, counts).item() == 0.75


def test_the_released_kl_has_no_gradient_below_its_floor() -> None:
    student = torch.tensor([[1e-9, 1.0]]).log().requires_grad_()
    teacher = torch.tensor([[0.5, 0.5]]).log()
    found = released.floored_kl(student, teacher)
    expected = 0.5 * (math.log(0.5) - math.log(1e-7)) + 0.5 * math.log(0.5)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.sum().backward()
    assert student.grad is not None
    assert student.grad.tolist() == [[0.0, pytest.approx(-0.5)]]
    certain = released.floored_kl(teacher, torch.tensor([[0.0, 1.0]]).log())
    assert certain.item() == pytest.approx(math.log(2))


def test_the_released_code_leaves_the_last_counted_position_of_each_row_out() -> None:
    labels = torch.tensor([[3, -100, 4, -100], [-100, -100, -100, 5], [-100] * 4])
    found = released.without_end(torch.ones(3, 4), labels)
    assert found.tolist() == [[1, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_half_precision_loses_small_probabilities() -> None:
    found = released.half_log_probs(torch.tensor([[0.0, -40.0]]))
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.0, -math.inf]]


def test_a_reference_below_its_own_list_gets_the_teachers_smallest() -> None:
    teacher = torch.tensor([[0.5, 0.2], [0.5, 1e-9]]).log()
    reference = torch.tensor([[0.3, 0.1], [0.1, 0.2]]).log()
    found = released.floored_reference(teacher, reference, torch.tensor([0.3, 0.2]).log())
    torch.testing.assert_close(found.exp(), torch.tensor([[0.3, 0.2], [1e-7, 0.2]]))
