"""Plans: stage ids, sharing, and refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.core.errors import BadRecord, UnknownName
from harness.core.hashing import canonical_json, digest, seed_from
from harness.core.records import Record
from harness.engine.operations import OPERATIONS, Estimate, Operation, operation
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


class Many(Record):
    of: tuple[int, ...] = ()
    inner: dict[str, object] = {}


def rows_of_all(params: Many, **inputs: object) -> Estimate:
    found = [
        v for value in inputs.values() for v in (value if isinstance(value, tuple) else [value])
    ]
    return Estimate(rows=sum(one.rows or 0 for one in found))


def nothing() -> None: ...


@pytest.fixture
def operations() -> Iterator[None]:
    """Operations without a function: a file, one with an estimate, one that maps rows."""
    operation("test_plan_file", version=1, params=Many)(nothing)
    operation("test_plan_sum", version=1, params=Many, estimate=rows_of_all)(nothing)
    operation("test_plan_rows", version=1, params=Many, rows="rows")(nothing)
    yield
    for name in ("test_plan_file", "test_plan_sum", "test_plan_rows"):
        del OPERATIONS[name]


@pytest.mark.usefixtures("operations")
def test_handles_are_inputs_and_everything_else_parameters() -> None:
    plan = Plan()
    one, two = plan.stage("test_plan_file", of=[1]), plan.stage("test_plan_file", of=(2, 3))
    made = plan.stage(
        "test_plan_file", a=one, b=[two, one], of=[], inner=Params(name="y"), label="shown"
    )
    stage = plan.stages[made.id]
    assert stage.inputs == {"a": one, "b": (two, one)}
    assert stage.input_ids() == [one.id, two.id, one.id]
    assert stage.params == Many(inner={"name": "y", "rate": 5e-7, "seeds": (13, 21)})
    assert (stage.label, plan.stages[one.id].label) == ("shown", "test_plan_file")
    assert plan.stage("test_plan_file", a=one, b=[one, two]) != made  # their order counts
    with pytest.raises(BadRecord, match="of"):
        plan.stage("test_plan_file", of=[one, 3])  # not all of them are handles
    with pytest.raises(BadRecord, match="another plan"):
        Plan().stage("test_plan_file", b=[one])


@pytest.mark.usefixtures("operations")
def test_an_operation_on_rows_needs_its_input() -> None:
    plan = Plan()
    with pytest.raises(BadRecord, match='stage "test_plan_rows": input "rows" is missing'):
        plan.stage("test_plan_rows", other=plan.stage("test_plan_file"))
    assert plan.stage("test_plan_rows", rows=plan.stage("test_plan_file"))


@pytest.mark.usefixtures("operations")
def test_what_is_needed_are_the_targets_and_what_they_lack() -> None:
    plan = Plan()
    a, b = plan.stage("test_plan_file", of=[1]), plan.stage("test_plan_file", of=[2])
    c = plan.stage("test_plan_file", x=a)
    d = plan.stage("test_plan_file", x=[b, c])

    def needed(targets: list[Handle], *finished: Handle) -> list[Handle]:
        return [Handle(s.id) for s in plan.needed(targets, [handle.id for handle in finished])]

    assert needed([d]) == [a, b, c, d]
    assert needed([c]) == [a, c]
    assert needed([d], c) == [b, d]
    assert needed([d, c], d) == [a, c]
    assert needed([d], d) == []
    assert needed([d], a, b) == [c, d]


@pytest.mark.usefixtures("operations")
def test_estimates_go_from_inputs_to_what_is_made_of_them() -> None:
    plan = Plan()
    unknown = plan.stage("test_plan_file", of=[1])
    told = plan.stage("test_plan_file", of=[2], hint=Estimate(rows=4))
    both = plan.stage("test_plan_sum", a=told, b=[told, unknown])
    again = plan.stage("test_plan_sum", a=both, hint=Estimate(rows=1))
    last = plan.stage("test_plan_sum", a=[both, again])
    found = plan.estimates()
    assert [found[h.id].rows for h in (unknown, told, both, again, last)] == [None, 4, 8, 1, 9]
    assert found[unknown.id] == Estimate()


@pytest.mark.usefixtures("operations")
def test_an_id_depends_on_code_and_the_plain_one_does_not() -> None:
    made = fixed()
    assert stage_id(made, Params(), {}, {}) == stage_id(made, Params(), {})
    assert stage_id(made, Params(), {}, {"m": "1"}) != stage_id(made, Params(), {})
    plan = Plan()
    one = plan.stage("test_plan_file", of=[1])
    two = plan.stage("test_plan_file", x=[one], y=one)
    operation_ = plan.stages[one.id].operation
    assert plan.stages[one.id].code  # of this file
    plain = stage_id(operation_, Many(of=(1,)), {})
    assert plan.stages[one.id].plain == plain != one.id
    inputs = {"x": (Handle(plain),), "y": Handle(plain)}
    assert plan.stages[two.id].plain == stage_id(operation_, Many(), inputs)
