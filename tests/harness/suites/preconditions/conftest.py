from __future__ import annotations

from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]
