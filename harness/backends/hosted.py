"""Backends of the registry's group "judges": hosted models and the nano oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.backends.base import Backend
from harness.core.errors import EnvironmentProblem, UserError, nearest, unknown
from harness.engine import registry
from harness.engine.calls import Services
from harness.models.not_models import check_file, check_name
from harness.models.references import HUB_ID, parse_hosted, resolve


def open_backend(ref: str, services: Services) -> Backend:
    """The backend of a reference that names an entry of the registry's group "judges".

    An entry of the group is a callable from options (the model under "model") and the run's
    services to an instance of a subclass of `Backend`; it sends no request.

    Args:
        ref: see `harness.models.references.parse_hosted`.

    Raises:
        UnknownName: the registry has no such entry.
        BadRecord: the entry does not have an option.
        EnvironmentProblem: a plugin's entry returned something else than a `Backend`.
    """
    name, options = parse_hosted(ref)
    if name not in registry.entries("judges"):
        raise _no_judge(ref, name)
    opener: Callable[[Mapping[str, str], Services], Any] = registry.load("judges", name)
    found = opener(options, services)
    if not isinstance(found, Backend):
        raise EnvironmentProblem(
            f'the judge "{name}" of {registry.entry("judges", name).origin} is a '
            f"{type(found).__name__}; expected an instance of a subclass of "
            "harness.backends.base.Backend: class MyBackend(Backend)"
        )
    return found


def _no_judge(ref: str, name: str) -> UserError:
    """The error for a reference that is no entry: often a model without its engine."""
    path = Path(name).expanduser()
    try:
        if path.is_file():
            check_file(path)
        check_name(name)
        local = path.is_dir() and resolve(name) is not None
    except UserError as problem:
        return problem
    if local or HUB_ID.fullmatch(name):
        return UserError(
            f'"{ref}" is a model without a server, and a judge needs one; expected vllm:{name} '
            "(vLLM runs it) or openai:<model>@<url> of your server (crucible judges)"
        )
    known = registry.entries("judges")
    if ":" not in name:
        tails = {entry.partition(":")[2]: entry for entry in known if ":" in entry}
        if name.lower() in tails:
            return UserError(f'no judge named "{name}"; did you mean "{tails[name.lower()]}"?')
        if nearest(name, known) is None:
            return UserError(
                f'no judge named "{name}"; expected openai:{name} for a model of OpenAI, '
                f"openai:{name}@<url> on your own server, or nano:oracle (crucible judges)"
            )
    return unknown("judge", name, known, "crucible judges")
