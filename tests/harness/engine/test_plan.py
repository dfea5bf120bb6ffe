"""Plans: stage ids, sharing, and refusals."""

from __future__ import annotations

import pytest

from harness.core.errors import BadRecord, UnknownName
from harness.core.hashing import canonical_json, digest, seed_from
from harness.core.records import Record
from harness.engine.operations import Estimate, Operation
from harness.engine.plan import Handle, Plan, stage_id


class Params(Record):
    name: str = "x"
    rate: float = 5e-7
    seeds: tuple[int, ...] = (13, 21)


def fixed(version: int = 1) -> Operation[Params]:
    return Operation("golden", version, Params, lambda: None)


# Ids of past releases: artifacts in users' stores are found by them.
GOLDEN = {
    ("plain", 1): "c390118cec2c470e831a7d597132e36f",
    ("plain", 2): "41c2ccd756f3a9d0eff79aff3705e0a2",
    ("input", 1): "e837d376c3239d9ae5f6a979afd12fb8",
}


def test_stage_ids_are_those_of_the_table() -> None:
    made = {
        ("plain", 1): stage_id(fixed(), Params(), {}),
        ("plain", 2): stage_id(fixed(2), Params(), {}),
        ("input", 1): stage_id(fixed(), Params(), {"rows": Handle("a" * 32)}),
    }
    assert made == GOLDEN


def test_defaults_and_spelt_out_values_are_the_same_stage() -> None:
    plan = Plan()
    first = plan.stage("import_prompts", ref="nano:train", limit=4)
    second = plan.stage("import_prompts", limit=4, ref="nano:train", label="other label")
    assert first == second
    assert len(plan.stages) == 1


def test_an_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(BadRecord, match='unknown key "limt"; did you mean "limit"'):
        Plan().stage("import_prompts", ref="nano:train", limt=4)


def test_an_unknown_operation_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match='did you mean "import_prompts"'):
        Plan().stage("import_prompt", ref="nano:train")


def test_a_handle_of_another_plan_is_refused() -> None:
    with pytest.raises(BadRecord, match="another plan"):
        Plan().stage("split_prompts", prompts=Handle("a" * 32), part="sft", seed=1)


def test_a_hint_replaces_the_operations_estimate_and_is_not_part_of_the_id() -> None:
    plan = Plan()
    plain = plan.stage("import_prompts", ref="nano:train", limit=7)
    assert plan.estimates()[plain.id].rows == 7
    other = Plan()
    hinted = other.stage("import_prompts", ref="nano:train", limit=7, hint=Estimate(rows=9))
    assert (hinted, other.estimates()[hinted.id].rows) == (plain, 9)


def test_identity_of_values() -> None:
    assert canonical_json({"b": 2, "a": [1.0, "é"]}) == '{"a":[1.0,"é"],"b":2}'.encode()
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert 0 <= seed_from("x") < 2**63
    with pytest.raises(ValueError):
        canonical_json(float("nan"))
