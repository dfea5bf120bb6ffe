"""What an objective has without being told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UserError
from harness.training.objective import linear_ramp
from tests.harness.training.advantage_objective import Advantage


def test_a_model_with_a_head_of_another_kind_is_refused(model_of: Any) -> None:
    model = model_of("llama")
    Advantage(0.1).prepare(model)
    assert Advantage(0.1).scheduled(3, 9) == {}
    plain = model.forward

    def forward(*args: Any, **options: Any) -> Any:
        output = plain(*args, **options)
        output.logits = output.logits**2
        return output

    model.forward = forward
    with pytest.raises(UserError, match="more to its logits than scaling and capping"):
        Advantage(0.1).prepare(model)


@given(
    start=st.floats(-1, 1), end=st.floats(-1, 1), total=st.integers(1, 50), step=st.integers(-9, 60)
)
def test_a_ramp_stays_between_its_ends(start: float, end: float, total: int, step: int) -> None:
    value = linear_ramp(step, start=start, end=end, end_step=total)
    assert min(start, end) - 1e-9 <= value <= max(start, end) + 1e-9
    assert linear_ramp(0, start=start, end=end, end_step=total) == start
    assert linear_ramp(total, start=start, end=end, end_step=total) == pytest.approx(end)


@pytest.mark.parametrize("released", [False, True])
def test_a_ramp_may_begin_late(released: bool) -> None:
    told = {"start": 2.0, "end": 6.0, "start_step": 3, "end_step": 7, "released": released}
    found = [linear_ramp(step, **told) for step in (-1, 2, 3, 4, 5, 7, 8)]
    assert found == [2.0, 2.0, 2.0, 3.0, 4.0, 6.0, 6.0]
    assert linear_ramp(1, start=0.0, end=1.0, end_step=4) == 0.25  # from step 0 by default


class Scheduled(Advantage):
    def scheduled(self, step: int, total: int) -> dict[str, float]:
        return {"step": step, "total": total}


def test_held_out_rows_are_measured_with_the_values_of_the_end() -> None:
    with Scheduled(0.1).held_out(7) as found:
        assert found == {"step": 7, "total": 7}


def test_a_ramp_of_length_zero_jumps_after_its_only_step() -> None:
    assert [linear_ramp(t, start=0.2, end=1.0, end_step=0) for t in (-1, 0, 1)] == [0.2, 0.2, 1.0]
    with pytest.raises(ZeroDivisionError):
        linear_ramp(0, start=0.2, end=1.0, end_step=0, released=True)
