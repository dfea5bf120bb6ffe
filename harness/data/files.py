"""Finding data: files below $CRUCIBLE_DATA, files of the hub, data sets of the hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import EnvironmentProblem, MissingExtra, UserError

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


def local_file(names: Sequence[str], folder: Path | None = None) -> Path | None:
    """The first of `names`, or of `names` with .gz, that exists below a folder.

    Args:
        folder: default: $CRUCIBLE_DATA.
    """
    variable = os.environ.get(FOLDER_VARIABLE)
    root = folder if folder is not None else Path(variable).expanduser() if variable else None
    if root is None:
        return None
    candidates = (root / (name + suffix) for name in names for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def hub_reachable(source: HubFile) -> bool:
    """Whether a hub file is cached on this machine, or the hub is not switched off."""
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
    """Local copy of a hub file, downloaded once; the hub's offline variables are respected.

    Raises:
        EnvironmentProblem: it is not cached and cannot be downloaded, with the reason.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise MissingExtra("huggingface_hub", "train") from None
    try:
        path = huggingface_hub.hf_hub_download(
            source.repo, source.path, revision=source.revision, repo_type=source.kind
        )
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise EnvironmentProblem(str(error).strip().split("\n")[0]) from error
    return Path(path)


def load_dataset(
    ref: str, split: str, revision: str | None = None, config: str | None = None
) -> Iterable[Any]:
    """Rows of a data set of the hub.

    Raises:
        UserError: the data set has no such split, or needs a configuration.
        EnvironmentProblem: it is gated, or not cached and the hub cannot be reached.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    try:
        chosen = {} if config is None else {"name": config}
        rows: Iterable[Any] = datasets.load_dataset(ref, split=split, revision=revision, **chosen)
    except ValueError as error:
        raise UserError(f"hub data set {ref} ({split}): {str(error).splitlines()[0]}") from error
    except OSError as error:
        if "gated" in str(error).lower():
            raise EnvironmentProblem(
                f"hub data set {ref} is gated: accept its terms on the hub and log in (hf auth "
                "login), or give a local file instead"
            ) from error
        raise EnvironmentProblem(
            f"hub data set {ref} ({split}) is not on this machine and the hub cannot be reached: "
            "give a local file instead, or unset HF_HUB_OFFLINE and check the network "
            f"({str(error).splitlines()[0]})"
        ) from error
    return rows
