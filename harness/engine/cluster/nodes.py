"""What a node must have before it gets work: the same code and libraries, the store, locks."""

from __future__ import annotations

import fcntl
import os
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.core.errors import EnvironmentProblem
from harness.core.hashing import file_digest
from harness.engine.io import disk_errors, make_folder

# Libraries whose versions may change results, and that of the cluster.
LIBRARIES = ("torch", "transformers", "trl", "vllm", "numpy", "ray")


@dataclass(frozen=True)
class Probe:
    """Files by which a node shows that it has the store of the run.

    Attributes:
        paths: folders and files that the stages of the run read by their path.
    """

    root: str
    token: str
    paths: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return Path(self.root) / "partial" / f".probe-{self.token}"


@contextmanager
def probing(root: Path, paths: Sequence[str] = ()) -> Iterator[Probe]:
    """A probe in a store, locked by this process."""
    probe = Probe(str(root), secrets.token_hex(8), tuple(paths))
    with disk_errors(root):
        make_folder(probe.file.parent)
        probe.file.write_text(probe.token)
        descriptor = os.open(probe.file, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield probe
        finally:
            os.close(descriptor)
            for place in probe.file.parent.glob(f"{probe.file.name}*"):
                place.unlink(missing_ok=True)


@cache
def here() -> dict[str, str]:
    """Python, libraries and Crucible of this process."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    package = Path(__file__).parents[2]
    found["crucible's code"] = file_digest(*sorted(package.rglob("*.py")))[:10]
    return found


def report(probe: Probe) -> dict[str, Any]:
    """What a node finds, to be called on it."""
    found: dict[str, Any] = {"versions": here(), "problem": ""}
    found["missing"] = [path for path in probe.paths if not os.path.exists(path)]
    try:
        if probe.file.read_text() != probe.token:
            raise FileNotFoundError
    except OSError:
        found["problem"] = (
            f"has another or no store at {probe.root}; the store must be on a file system that "
            "all nodes share, under the same path (--store)"
        )
        return found
    try:
        probe.file.with_name(f"{probe.file.name}-{secrets.token_hex(4)}").write_text("")
    except OSError as error:
        found["problem"] = f"cannot write to the store {probe.root}: {error.strerror}"
        return found
    found["problem"] = _lock_problem(probe.file)
    return found


def _lock_problem(path: Path) -> str:
    remedy = "; mount it with working locks (NFS 4, or lockd), or use another file system"
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""  # the process of the run holds it
    except OSError as error:
        return f"cannot lock files of the store ({error.strerror}){remedy}"
    finally:
        os.close(descriptor)
    return f"does not see the locks of other nodes on the store's file system{remedy}"


def check_reports(reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse nodes on which stages would fail, or give other results.

    Args:
        reports: name of a node -> what it found.

    Raises:
        EnvironmentProblem: naming the nodes and what is wrong with them.
    """
    for name, found in reports.items():
        if found["problem"]:
            raise EnvironmentProblem(f"node {name} {found['problem']}. Nothing was run")
        if found["missing"]:
            raise EnvironmentProblem(
                f"node {name} lacks {', '.join(found['missing'][:3])}, which the run reads; put it "
                "on a file system that all nodes share. Nothing was run"
            )
        own = here()
        differing = [
            f"{key} {found['versions'].get(key, 'none')} (here {own.get(key, 'none')})"
            for key in {**own, **found["versions"]}
            if own.get(key) != found["versions"].get(key)
        ]
        if differing:
            raise EnvironmentProblem(
                f"node {name} has other versions: {', '.join(differing)}; install the same on all "
                "nodes. Nothing was run"
            )
