"""Data files: read JSON of either kind, and found by a list of places.

Only JSON, JSON lines and CSV are read, plain or gzipped; nothing that could run code.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import BadData, EnvironmentProblem

FOLDER_VARIABLE = "CRUCIBLE_DATA"


@dataclass(frozen=True)
class HubFile:
    """A file of a hub repository at a full revision, which never changes."""

    repo: str
    path: str
    revision: str
    kind: Literal["dataset", "space"] = "dataset"

    def __str__(self) -> str:
        return f"{self.repo}/{self.path}@{self.revision[:12]}"


def read_text(path: Path) -> str:
    """The text of a file, unpacked where its name ends in .gz.

    Raises:
        BadData: it cannot be read, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: not UTF-8 text: {error.reason}") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadData(f"{path}: cannot be read: {reason}") from None


def read_objects(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list (.json, or any file that begins with "[") or of JSON lines.

    Raises:
        BadData: naming file and line for anything that is not JSON objects.
    """
    text = read_text(path)
    if path.name.removesuffix(".gz").endswith(".json") or text.lstrip().startswith("["):
        return _listed(text, path)
    objects = []
    # Not splitlines(): a JSON text may hold U+2028 and other line ends of Unicode as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadData(f"{path}, line {number}: not JSON: {error.msg}") from None
        if not isinstance(found, dict):
            raise BadData(f"{path}, line {number}: expected an object, found {line[:40]!r}")
        objects.append(found)
    return objects


def _listed(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadData(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadData(f"{path}: expected a list of objects")
    return found


def local_file(names: Sequence[str], folder: Path | None = None) -> Path | None:
    """The first of `names` (also with .gz) below a folder; None where none is.

    Args:
        folder: $CRUCIBLE_DATA when not given.
    """
    variable = os.environ.get(FOLDER_VARIABLE)
    root = folder if folder is not None else Path(variable).expanduser() if variable else None
    if root is None:
        return None
    candidates = (root / (name + suffix) for name in names for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def hub_reachable(source: HubFile) -> bool:
    """Whether a hub file is on this machine already, or may be asked for."""
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError:
        return False
    cached = huggingface_hub.try_to_load_from_cache(
        source.repo, source.path, revision=source.revision, repo_type=source.kind
    )
    return isinstance(cached, str) or not constants.HF_HUB_OFFLINE


def download(source: HubFile) -> Path:
    """The local copy of a hub file, fetched once; the hub's offline variables are respected.

    Raises:
        EnvironmentProblem: it is not here and cannot be had, with the reason.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise EnvironmentProblem(
            "huggingface_hub is not installed (pip install 'crucible-bench[train]')"
        ) from None
    try:
        path = huggingface_hub.hf_hub_download(
            source.repo, source.path, revision=source.revision, repo_type=source.kind
        )
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise EnvironmentProblem(str(error).strip().split("\n")[0]) from error
    return Path(path)
