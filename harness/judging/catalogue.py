"""What this room registers: the operations of judges."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "judge_alpaca": "harness.judging.operations",
    "judge_arena": "harness.judging.operations",
    "judge_mt_bench": "harness.judging.operations",
    "judge_mt_bench_pairwise": "harness.judging.operations",
}
