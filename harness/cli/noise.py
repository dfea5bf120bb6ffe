"""Warnings, log lines and progress bars of libraries, kept off the screen.

Crucible prints its own progress and says what concerns the user. `CRUCIBLE_WARNINGS=1` or
`python -W ...` shows everything, for a look at a library's behaviour.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings

from harness.cli import screen
from harness.core.text import line

VARIABLE = "CRUCIBLE_WARNINGS"

# Read by the libraries when they are imported, by child processes too; a user's value stays.
SETTINGS = {
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
LONGEST = 400  # characters of a warning
OURS = ("harness", "methods", "leaderboards")


def hush() -> None:
    """Silence libraries, unless `$CRUCIBLE_WARNINGS` or an option of Python asks for more.

    Warnings of Crucible's own modules are printed on stderr, one line each.
    """
    if os.environ.get(VARIABLE) or sys.warnoptions:
        return
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")
    root = logging.getLogger()
    if not root.handlers:  # else logging prints warnings of every logger without a handler
        root.addHandler(logging.NullHandler())
    for name in OURS:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(_Lines())


class _Lines(logging.Handler):
    """Warnings as single lines on the current stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("warning: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        screen.end_line()
        sys.stderr.write(line(self.format(record), LONGEST) + "\n")
