"""Backends named by the registry's group "judges": hosted models, and the nano oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from harness.backends.base import Backend
from harness.engine import registry
from harness.engine.calls import Services
from harness.models.references import parse_hosted


def open_backend(ref: str, services: Services) -> Backend:
    """The backend that a reference of the registry's group "judges" names.

    An entry of the group is a callable that takes the options (the model under "model") and the
    run's services, and returns a backend; it must not make a request yet.

    Args:
        ref: see `harness.models.references.parse_hosted`.

    Raises:
        UnknownName: the registry has no such entry.
        BadRecord: an option that the entry does not have.
    """
    name, options = parse_hosted(ref)
    opener = cast("Callable[[Mapping[str, str], Services], Backend]", registry.load("judges", name))
    return opener(options, services)
