"""Stages as plain data, for processes that have the same code."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

from harness.core.errors import EnvironmentProblem
from harness.core.records import parse
from harness.engine.code import code_of
from harness.engine.operations import OPERATIONS
from harness.engine.plan import Handle, Stage, stage_id
from harness.engine.registry import load_operation

Message = dict[str, Any]


def message_of(stage: Stage) -> Message:
    """A stage as JSON values."""
    return {
        "operation": stage.operation.name,
        "module": stage.operation.function.__module__,
        "version": stage.operation.version,
        "params": stage.params.model_dump(mode="json"),
        "inputs": {
            key: [handle.id for handle in value] if isinstance(value, tuple) else value.id
            for key, value in stage.inputs.items()
        },
        "id": stage.id,
        "label": stage.label,
        "plain": stage.plain,
        "libraries": stage.operation.library_versions(stage.params),
        "code": dict(stage.code),
    }


def stage_of(message: Message) -> Stage:
    """The stage of a message.

    Raises:
        EnvironmentProblem: here it has another id, since code or libraries differ.
        UnknownName: there is no such operation here.
    """
    name = message["operation"]
    if name not in OPERATIONS:  # those of plugins are in no catalogue
        with suppress(ImportError):
            importlib.import_module(message["module"])
    operation = load_operation(name)
    params = parse(operation.params, message["params"], f'stage "{message["label"]}"')
    inputs = {
        key: tuple(map(Handle, value)) if isinstance(value, list) else Handle(value)
        for key, value in message["inputs"].items()
    }
    code = code_of(operation, params)
    id = stage_id(operation, params, inputs, code)
    if id != message["id"]:
        here = {
            "version": operation.version,
            "libraries": operation.library_versions(params),
            "code": dict(code),
        }
        differing = [
            f"{key}: here {here[key]}, there {message[key]}"
            for key in here
            if here[key] != message[key]
        ]
        raise EnvironmentProblem(
            f'operation "{operation.name}" is not the one of the process that planned the run '
            f"({'; '.join(differing) or 'other parameters'}); install the same versions on all "
            "nodes"
        )
    label, plain = message["label"], message["plain"]
    return Stage(id, operation, params, inputs, label, None, code, plain)
