"""Registrations of this room: operations on data, and dependency parsers."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "import_prompts": "harness.data.prompts",
    "import_answers": "harness.data.answers",
    "import_authors": "harness.data.authors",
    "import_preferences": "harness.data.preferences",
    "import_question_set": "harness.data.question_sets",
    "import_dialogues": "harness.data.dialogues",
    "import_pairs": "harness.data.pairs",
    "import_rated": "harness.data.rated",
    "import_instruction_set": "harness.data.instructions.reading",
    "find_verb_nouns": "harness.data.instructions.operations",
    "measure_overlaps": "harness.data.instructions.operations",
    "analyse_instructions": "harness.data.instructions.analysis",
}

# Dependency parser -> function that opens it, see `harness.data.instructions.parsers`.
PARSERS = {"spacy": "harness.data.instructions.spacy_parser:spacy_parser"}
