"""Upload of checkpoints, data sets and published boards to the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.core.errors import EnvironmentProblem, UserError
from harness.core.text import line

Kind = Literal["model", "dataset", "space"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def check_push(repository: str) -> None:
    """Notice before a training that its result could not be uploaded.

    Raises:
        UserError: the name is not OWNER/NAME.
        EnvironmentProblem: huggingface_hub is not installed, or there is no token.
    """
    if not _NAME.fullmatch(repository):
        raise UserError(f'--push "{repository}": expected OWNER/NAME of the hub')
    try:
        from huggingface_hub import get_token
    except ImportError:
        raise EnvironmentProblem(
            "needs huggingface_hub: pip install 'crucible-bench[train]'"
        ) from None
    if not get_token():
        raise EnvironmentProblem(
            "the hub has no token here; run hf auth login, or set HF_TOKEN, and try again"
        )


def push(
    folder: Path,
    repository: str,
    kind: Kind,
    message: str = "Crucible",
    only: Sequence[str] | None = None,
) -> str:
    """Upload a folder; returns the address of the repository.

    A new repository is private; its visibility is changed on the hub. A new space is static. Files
    of an existing one that the folder does not have are kept, except for pages of samples in a
    space, so that no text stays that the folder does not have. The hub keeps their history.

    Args:
        only: patterns of the files to upload, such as "samples/*.html"; default: all.

    Raises:
        UserError, EnvironmentProblem: as `check_push`; or the hub refused or was not reached.
    """
    check_push(repository)
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        sdk = "static" if kind == "space" else None
        made = api.create_repo(
            repository, repo_type=kind, private=True, exist_ok=True, space_sdk=sdk
        )
        api.upload_folder(
            repo_id=repository,
            repo_type=kind,
            folder_path=str(folder),
            commit_message=message,
            allow_patterns=None if only is None else list(only),
            delete_patterns=["samples/*"] if kind == "space" else None,
        )
    except Exception as error:  # of several libraries: HTTP, the hub's own, the network's
        raise EnvironmentProblem(
            f"{folder} is complete, but the hub did not take it: {line(str(error))}; upload it "
            f"with: hf upload {repository} {folder} --repo-type {kind}"
        ) from None
    return str(made)
