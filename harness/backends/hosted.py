"""Backends of the registry's group "judges": hosted models and the nano oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.backends.base import Backend
from harness.core.errors import EnvironmentProblem
from harness.engine import registry
from harness.engine.calls import Services
from harness.models.references import parse_hosted


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
    opener: Callable[[Mapping[str, str], Services], Any] = registry.load("judges", name)
    found = opener(options, services)
    if not isinstance(found, Backend):
        raise EnvironmentProblem(
            f'the judge "{name}" of {registry.entry("judges", name).origin} is a '
            f"{type(found).__name__}; expected an instance of a subclass of "
            "harness.backends.base.Backend: class MyBackend(Backend)"
        )
    return found
