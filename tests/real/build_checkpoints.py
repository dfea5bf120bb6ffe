"""Make the real checkpoints once: `python build_checkpoints.py FOLDER`.

The folder gets SmolLM2-135M-Instruct and three real tokenizers, made by the script that
CRUCIBLE_REAL_TOOL names (`python SCRIPT FOLDER`). A folder that is complete is left as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PARTS = ("smollm2", "tok_llama2", "tok_mistral", "tok_llama3")
ROOT = Path(__file__).resolve().parents[2]


def missing(folder: Path) -> list[str]:
    """Parts that the folder does not have."""
    return [part for part in PARTS if not (folder / part / "tokenizer_config.json").is_file()]


def main() -> None:
    folder = Path(sys.argv[1])
    if not missing(folder):
        return
    beside = ROOT.parent / "shared" / "tools" / "real_checkpoints.py"
    tool = Path(os.environ.get("CRUCIBLE_REAL_TOOL") or beside)
    if not tool.is_file():
        sys.exit(
            f"no script {tool} to make real checkpoints with: set CRUCIBLE_REAL_TOOL to one, or "
            "CRUCIBLE_REAL to a folder that has them"
        )
    subprocess.run([sys.executable, str(tool), str(folder)], check=True)
    if still := missing(folder):
        sys.exit(f"{tool} made no {', '.join(still)} in {folder}")


if __name__ == "__main__":
    main()
