"""What this room registers: the operations of training, and the losses."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "split_prompts": "harness.training.preference_data",
    "best_responses": "harness.training.preference_data",
    "preference_pairs": "harness.training.preference_data",
    "reference_logps": "harness.training.preference_operations",
    "train_preference": "harness.training.preference_operations",
    "train_sft": "harness.training.sft",
}
