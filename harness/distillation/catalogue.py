"""What this room registers: the operations of teachers on disk."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "import_documents": "harness.distillation.corpus",
    "make_teacher": "harness.distillation.operations",
    "map_teacher": "harness.distillation.operations",
    "train_fusion": "harness.distillation.operations",
    "answer_pairs": "harness.distillation.advantage.pairs",
    "cache_teachers": "harness.distillation.advantage.operations",
    "span_advantages": "harness.distillation.advantage.spans",
    "train_on_pairs": "harness.distillation.advantage.operations",
}
