"""What this room registers: the operations that bring data into a plan, and where data comes
from."""

from __future__ import annotations

# Operation -> the module that defines it.
OPERATIONS = {
    "import_prompts": "harness.data.prompts",
    "import_answers": "harness.data.answers",
    "import_authors": "harness.data.authors",
}
