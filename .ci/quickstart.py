"""From a checkout to a board: installs the package with pip's output on the screen, runs WRPO.

    python -m tox run -e quickstart            # in an environment of its own
    python .ci/quickstart.py                   # in the current environment

On a machine without a GPU the CPU build of torch is installed, a tenth of the size. Uses the
standard library only.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
GPU_SIGNS = ("/dev/nvidia0", "/dev/kfd")  # NVIDIA's and AMD's drivers


def has_gpu() -> bool:
    """Whether a driver of a GPU that torch supports is on this machine."""
    return shutil.which("nvidia-smi") is not None or any(map(os.path.exists, GPU_SIGNS))


def wants_cpu_build() -> bool:
    """Whether the CPU build must be asked for: elsewhere than on Linux it is the usual one."""
    return platform.system() == "Linux" and not has_gpu()


def torch_version() -> str:
    """The version of torch in constraints.txt, "torch" alone if it has none."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith("torch==")), "torch")


def say(text: str) -> None:
    sys.stdout.write(f"\n== {text}\n")
    sys.stdout.flush()


def pip(*arguments: str) -> int:
    """Run pip with its own output and progress bars; returns its exit code."""
    return subprocess.call([sys.executable, "-m", "pip", "install", *arguments])


def install() -> int:
    """Install torch and the package; returns pip's exit code."""
    if find_spec("torch") is not None:
        say("1/3 torch is installed already")
    elif wants_cpu_build():
        say(f"1/3 no GPU found: the CPU build of torch, 200 MB, from {CPU_BUILDS}")
        if pip(torch_version(), "--index-url", CPU_BUILDS):
            say("that did not work; the usual build follows with the package")
    else:
        say("1/3 a GPU, or no Linux: the usual build of torch comes with the package")
    say("2/3 Crucible with transformers and the rest of the training libraries")
    return pip("-e", f"{ROOT}[train]")


def main(arguments: list[str]) -> int:
    began = time.monotonic()
    if code := install():
        return code
    say(f"3/3 crucible reproduce wrpo (installed after {time.monotonic() - began:.0f} s)")
    sys.stdout.write(
        "four tiny models answer, nine systems are trained, three suites evaluate them: about\n"
        "five minutes on two cores. Ctrl-C stops, the same command resumes.\n"
    )
    sys.stdout.flush()
    code = subprocess.call(
        [
            sys.executable,
            "-c",
            "from harness.cli import main; main()",
            "reproduce",
            "wrpo",
            *arguments,
        ]
    )
    say(f"{time.monotonic() - began:.0f} s in all")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
