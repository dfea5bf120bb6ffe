"""Running one operation on rows, without an engine."""

from tests.judging_runs import pair
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["pair", "rows_artifact", "run_operation"]
