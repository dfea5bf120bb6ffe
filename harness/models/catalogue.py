"""Registrations of this room: the operation that points to a model."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "import_model": "harness.models.references",
}
