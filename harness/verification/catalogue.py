"""Operations registered by this room."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "verify_mathematics": "harness.verification.operations",
    "verify_final_answers": "harness.verification.operations",
    "verify_code": "harness.verification.operations",
    "candidate_table": "harness.verification.candidates",
    "select_training_rows": "harness.verification.selection",
}
