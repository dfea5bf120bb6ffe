"""A plan: the graph of stages that leads to the cells, made before anything runs.

    plan = Plan()
    prompts = plan.stage("import_prompts", ref="nano:train", limit=900)
    samples = plan.stage("sample", prompts=prompts, model=model, n=5, temperature=0.8)

Keyword arguments that are handles (or lists of handles) are inputs, all others are parameters. The
id of a stage is the digest of operation, version, resolved parameters (without those that say how
it runs, `harness.core.records.How`), input ids, the library versions that the operation lists, and
the source of code that is not built in (`code`): two methods that request the same stage share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.core.errors import BadRecord
from harness.core.hashing import digest
from harness.core.records import Record, identity, parse
from harness.engine.code import code_of
from harness.engine.operations import Estimate, Operation
from harness.engine.registry import load_operation


@dataclass(frozen=True)
class Handle:
    """Future artifact of a stage, passed as an input to other stages."""

    id: str


class StageMaker(Protocol):
    """Type of the argument `stage` of the `plan` of methods and suites."""

    def __call__(self, name: str, /, **arguments: Any) -> Handle: ...


@dataclass(frozen=True)
class Stage:
    """An operation with resolved parameters and inputs.

    Attributes:
        code: modules that it depends on and that are not built in, with their digests.
        plain: id without code, also that of its inputs; equal to the id where no plugin takes part.
    """

    id: str
    operation: Operation[Any]
    params: Record
    inputs: dict[str, Handle | tuple[Handle, ...]]
    label: str
    hint: Estimate | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    plain: str = ""

    def input_ids(self) -> list[str]:
        return [handle.id for value in self.inputs.values() for handle in _flat(value)]


Inputs = dict[str, Handle | tuple[Handle, ...]]


def _flat(value: Handle | tuple[Handle, ...]) -> tuple[Handle, ...]:
    return value if isinstance(value, tuple) else (value,)


@dataclass
class Plan:
    """Stages, each after its inputs."""

    stages: dict[str, Stage] = field(default_factory=dict)

    def stage(
        self, name: str, /, *, label: str = "", hint: Estimate | None = None, **arguments: Any
    ) -> Handle:
        """Add a stage (or find the identical one) and return its handle.

        Args:
            label: name in progress bars; not part of the id.
            hint: size known to the caller, for estimates; not part of the id.

        Raises:
            UnknownName: if there is no such operation.
            BadRecord: for a parameter that the operation's record refuses, or a missing input.
        """
        operation = load_operation(name)
        inputs: dict[str, Handle | tuple[Handle, ...]] = {}
        values: dict[str, object] = {}
        for key, value in arguments.items():
            if isinstance(value, Handle):
                inputs[key] = value
            elif _is_handles(value):
                inputs[key] = tuple(value)
            else:
                values[key] = value.model_dump() if isinstance(value, Record) else value
        params = parse(operation.params, values, f'stage "{name}"')
        if operation.rows is not None and operation.rows not in inputs:
            raise BadRecord(f'stage "{name}": input "{operation.rows}" is missing')
        for handle in (h for value in inputs.values() for h in _flat(value)):
            if handle.id not in self.stages:
                raise BadRecord(f'stage "{name}": an input belongs to another plan')
        code = code_of(operation, params)
        id = stage_id(operation, params, inputs, code)
        if id not in self.stages:
            plain = self._plain(id, operation, params, inputs, code)
            made = Stage(id, operation, params, inputs, label or name, hint, code, plain)
            self.stages[id] = made
        return Handle(id)

    def _plain(
        self, id: str, operation: Operation[Any], params: Record, inputs: Inputs, code: object
    ) -> str:
        """The id without any code."""
        plain = {
            key: _each(value, lambda h: self.stages[h.id].plain) for key, value in inputs.items()
        }
        return id if plain == inputs and not code else stage_id(operation, params, plain)

    def needed(self, targets: Iterable[Handle], finished: Iterable[str]) -> list[Stage]:
        """Stages to run for `targets`, in order, given the ids that exist already.

        Inputs of finished stages are not needed, so they may have been deleted.
        """
        done = set(finished)
        wanted = {handle.id for handle in targets} - done
        for stage in reversed(list(self.stages.values())):
            if stage.id in wanted:
                wanted.update(id for id in stage.input_ids() if id not in done)
        return [stage for id, stage in self.stages.items() if id in wanted]

    def estimates(self) -> dict[str, Estimate]:
        """Expected cost of every stage whose operation declares one, by stage id."""
        found: dict[str, Estimate] = {}
        for stage in self.stages.values():
            if stage.hint is not None or stage.operation.estimate is None:
                found[stage.id] = stage.hint or Estimate()
                continue
            inputs = {
                key: tuple(found[handle.id] for handle in value)
                if isinstance(value, tuple)
                else found[value.id]
                for key, value in stage.inputs.items()
            }
            found[stage.id] = stage.operation.estimate(stage.params, **inputs)
        return found


def _each(
    value: Handle | tuple[Handle, ...], id_of: Callable[[Handle], str]
) -> Handle | tuple[Handle, ...]:
    """The same handles with other ids."""
    if isinstance(value, tuple):
        return tuple(Handle(id_of(handle)) for handle in value)
    return Handle(id_of(value))


def stage_id(
    operation: Operation[Any],
    params: Record,
    inputs: Inputs,
    code: Mapping[str, str] | None = None,
) -> str:
    """Digest of everything that the result of a stage depends on, 32 hexadecimal digits.

    Args:
        code: digests of modules that are not built in.
    """
    return digest(
        {
            **({"code": dict(code)} if code else {}),
            "operation": operation.name,
            "version": operation.version,
            "params": identity(params),
            "inputs": {key: [h.id for h in _flat(value)] for key, value in inputs.items()},
            "libraries": operation.library_versions(params),
        }
    )


def _is_handles(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(item, Handle) for item in value)
    )
