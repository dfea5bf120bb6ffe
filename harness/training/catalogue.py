"""What this room registers: the operations of training, and the losses."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "split_prompts": "harness.training.preference_data",
    "best_responses": "harness.training.preference_data",
    "preference_pairs": "harness.training.preference_data",
    "preferred_responses": "harness.training.preference_data",
    "reference_logps": "harness.training.preference_operations",
    "train_preference": "harness.training.preference_operations",
    "train_sft": "harness.training.sft",
}

# Preference loss -> where it is defined.
LOSSES = {
    "dpo": "harness.training.pair_losses:dpo",
    "ln_dpo": "harness.training.pair_losses:ln_dpo",
    "robust": "harness.training.pair_losses:robust",
    "exo": "harness.training.pair_losses:exo",
    "hinge": "harness.training.pair_losses:hinge",
    "ipo": "harness.training.pair_losses:ipo",
    "simpo": "harness.training.pair_losses:simpo",
    "simpo_hinge": "harness.training.pair_losses:simpo_hinge",
    "orpo": "harness.training.pair_losses:orpo",
    "nca": "harness.training.pair_losses:nca",
    "bco": "harness.training.pair_losses:bco",
    "sppo_hard": "harness.training.pair_losses:sppo_hard",
    "apo_zero": "harness.training.pair_losses:apo_zero",
    "apo_down": "harness.training.pair_losses:apo_down",
    "aot": "harness.training.pair_losses:aot",
    "aot_pair": "harness.training.pair_losses:aot_pair",
    "kto_pair": "harness.training.pair_losses:kto_pair",
    "sft": "harness.training.pair_losses:sft",
}
