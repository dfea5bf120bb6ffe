"""Registrations of this room: operations that import data into a plan."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "import_prompts": "harness.data.prompts",
    "import_answers": "harness.data.answers",
    "import_authors": "harness.data.authors",
    "import_question_set": "harness.data.question_sets",
}
