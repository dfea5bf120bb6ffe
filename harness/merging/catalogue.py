"""Operations registered by this room."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "merge_models": "harness.merging.operations",
    "merge_by_mergekit": "harness.merging.operations",
}
