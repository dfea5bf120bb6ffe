"""A command typed in a folder, run in this process: the code path of `crucible`, without its start.

What must hold between processes, such as stored responses, interruption and silent libraries, is
tested with `tests.cli.test_messages.crucible`, which starts one.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from harness.cli.main import main


def crucible_here(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Exit code and output of a command; its store is `cwd/home`."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    environment = {"COLUMNS": "100", "CRUCIBLE_HOME": str(cwd / "home"), **env}
    handler = signal.getsignal(signal.SIGTERM)
    with (
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["crucible", *arguments]),
        # What libraries print is held back in the whole process, for good.
        mock.patch.object(sys.modules[main.__module__], "hush"),
    ):
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
