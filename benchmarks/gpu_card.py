"""The GPU that `gpu.py` measures on: which it is, whether torch can use it, who else uses it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from harness.core.errors import EnvironmentProblem

NEEDED = {"torch": (2, 11), "transformers": (5, 16)}
UNLISTED_MIB = 1024  # memory in use that is worth a word though no process is listed


@dataclass(frozen=True)
class Card:
    """What is measured on; `uuid` is that of nvidia-smi, without its prefix."""

    name: str
    driver: str = ""
    uuid: str = ""


def on_cpu() -> Card:
    return Card(f"CPU, {len(os.sched_getaffinity(0))} cores")


def find_card(ask_torch: Callable[[], Mapping[str, Any]]) -> tuple[Card | None, str]:
    """The GPU, or None and the reason.

    Args:
        ask_torch: what `gpu_rows.probe` returned in a child process.

    Raises:
        EnvironmentProblem: there is a GPU, but torch cannot use it.
    """
    listed = nvidia_smi("--query-gpu=uuid,name,driver_version")
    if problem := outdated():
        if listed:
            raise EnvironmentProblem(problem)
        return None, problem
    found = ask_torch()
    if "name" in found:
        uuid, driver = str(found["uuid"]), "unknown"
        for fields in listed:
            if fields[0].endswith(uuid) or len(listed) == 1:
                driver = fields[2]
        return Card(f"{found['name']}, {found['total'] / 2**30:.0f} GiB", driver, uuid), ""
    said = str(found.get("message", ""))
    if "too old" in said:
        driver = listed[0][2] if listed else ""
        raise EnvironmentProblem(too_old(said, driver, str(found.get("build", ""))))
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None, "CUDA_VISIBLE_DEVICES hides every GPU"
    version = metadata.version("torch")
    if listed:
        built = said or ("no reason given" if found.get("build") else "it is built without CUDA")
        raise EnvironmentProblem(
            f"nvidia-smi lists {listed[0][1]}, but torch {version} sees no GPU: {built}"
        )
    return None, f"torch {version} sees none"


def too_old(message: str, driver: str, build: str) -> str:
    """
    >>> too_old("The NVIDIA driver ... is too old (found version 11040).", "470.82", "13.0")[:66]
    'the NVIDIA driver 470.82 supports CUDA 11.4, but torch was built f'
    """
    number = re.search(r"found version (\d+)", message)
    cuda = "CUDA {}.{}".format(*_version(int(number[1]))) if number else "an older CUDA"
    named = " ".join(["the NVIDIA driver", *([driver] if driver else [])])
    return (
        f"{named} supports {cuda}, but torch was built for CUDA {build or 'of a newer version'}: "
        f"update the driver, or install a torch that was built for {cuda}"
    )


def _version(number: int) -> tuple[int, int]:
    return number // 1000, number % 1000 // 10


def outdated() -> str:
    """A package that is missing or too old for every row, in one sentence, or ""."""
    for package, needed in NEEDED.items():
        wanted = ".".join(map(str, needed))
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"{package} is not installed; expected {wanted} or newer"
        if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < needed:
            return f"{package} {found} is installed; expected {wanted} or newer"
    return ""


def others(card: Card) -> str:
    """Other processes on the card, in one sentence, or "". None of ours may be on it now."""
    apps = nvidia_smi("--query-compute-apps=gpu_uuid,pid,process_name,used_memory")
    on_card = [fields for fields in apps if fields[0].endswith(card.uuid)]
    if on_card:
        named = ", ".join(f"{name} ({pid}, {mib} MiB)" for _, pid, name, mib in on_card)
        return f"other processes use this card: {named}"
    for uuid, used in nvidia_smi("--query-gpu=uuid,memory.used"):
        if uuid.endswith(card.uuid) and used.isdecimal() and int(used) > UNLISTED_MIB:
            return f"{used} MiB of this card are in use by processes that nvidia-smi does not list"
    return ""


def nvidia_smi(query: str) -> list[list[str]]:
    """Fields of each line that a query prints; [] where nvidia-smi is absent or fails."""
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    lines = done.stdout.splitlines()
    wanted = query.count(",") + 1
    split = [[field.strip() for field in line.split(",")] for line in lines]
    return [fields for fields in split if len(fields) == wanted]


def devices(cpu: bool) -> dict[str, str]:
    """Environment of a child process that may see one GPU, or none."""
    if cpu:
        return {"CUDA_VISIBLE_DEVICES": "", "CRUCIBLE_DEVICE": "cpu"}
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
