"""The store: artifacts by id, each a folder that exists completely or not at all.

    <root>/store.json                     format of the store
    <root>/artifacts/<id[:2]>/<id>/       a finished artifact: its files and manifest.json
    <root>/partial/<id>/journal.jsonl     finished batches of an unfinished row stage
    <root>/partial/<id>/scratch/          files that a file stage keeps between attempts
    <root>/partial/<id>.lock              locked while a process works on the stage

A line of the journal is one batch; a line cut off by a crash is dropped, so that a batch is either
complete or computed again. Artifacts are plain files (JSON, JSON lines, safetensors); no pickles.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core.errors import BadData, DamagedArtifact, StoreProblem
from harness.engine.integrity import (
    MANIFEST,
    files_problem,
    inventory,
    manifest_problem,
    seal,
    state_of,
)
from harness.engine.io import (
    disk_errors,
    make_folder,
    move,
    publish,
    read_json,
    remove,
    replace_file,
    write_json,
)
from harness.engine.journal import Journal, Log
from harness.engine.operations import Artifact

__all__ = ["FORMAT", "Journal", "Log", "Store", "default_root"]

FORMAT = 1


def default_root() -> Path:
    """`$CRUCIBLE_HOME`, else `.crucible` in the current folder."""
    return Path(os.environ.get("CRUCIBLE_HOME") or ".crucible")


class Store:
    """Artifacts below one root folder; safe for concurrent processes.

    Raises:
        StoreProblem: if the folder was written by a newer version or cannot be written.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()
        self._manifests: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {}  # sound ones
        marker = self.root / "store.json"
        with disk_errors(self.root):
            if not marker.exists():
                self._create(marker)
            found = _format(marker)
            if found is None:  # nothing else is in that file, so nothing is lost
                self._put_aside(marker, "not the format of a store")
                self._create(marker)
                found = FORMAT
        for folder in (self.root / "artifacts", self.root / "partial"):
            if folder.is_symlink() and not folder.exists():
                raise StoreProblem(
                    f"{folder} is a link to {os.readlink(folder)}, which is not there; mount that "
                    "disk, or remove the link to begin again"
                )
        if found > FORMAT:
            raise StoreProblem(
                f"the store {self.root} has format {found}, this version reads up to {FORMAT}; "
                "upgrade crucible-bench or set CRUCIBLE_HOME to another folder"
            )

    def _create(self, marker: Path) -> None:
        make_folder(self.root)
        replace_file(marker, json.dumps({"format": FORMAT}).encode())

    # Finished artifacts

    def folder(self, id: str) -> Path:
        return self.root / "artifacts" / id[:2] / id

    def has(self, id: str) -> bool:
        """Whether an artifact is there; nothing is said about its files."""
        return os.path.isfile(self.folder(id) / MANIFEST)

    def manifest(self, id: str) -> dict[str, Any]:
        """The manifest of an artifact.

        Raises:
            StoreProblem: there is no such artifact.
            DamagedArtifact: its manifest is not what was written.
        """
        if not os.path.lexists(self.folder(id)):
            raise StoreProblem(f"artifact {id} is missing from the store {self.root}")
        manifest, problem = self._manifest(id)
        if problem:
            raise DamagedArtifact(id, problem, self.root)
        return manifest

    def _manifest(self, id: str) -> tuple[dict[str, Any], str]:
        """The manifest of an artifact, and what is wrong with it."""
        path = self.folder(id) / MANIFEST
        try:
            state = state_of(os.stat(path))
            if self._manifests.get(id, (None,))[0] == state:
                return self._manifests[id][1], ""
            manifest = read_json(path)
        except BadData as error:
            return {}, str(error).removeprefix(f"{path.parent}{os.sep}")
        except FileNotFoundError:
            return {}, f"{MANIFEST} is missing"
        except OSError as error:
            return {}, f"{MANIFEST} cannot be read: {error.strerror}"
        if problem := manifest_problem(manifest, id):
            return {}, problem
        self._manifests[id] = state, manifest
        return manifest, ""

    def problem(self, id: str, largest: int | None = None) -> str:
        """What is wrong with an artifact; "" for one that is sound, or not there at all.

        Args:
            largest: larger files are checked by their size alone; None reads all.
        """
        if not os.path.lexists(self.folder(id)):
            return ""
        manifest, problem = self._manifest(id)
        return problem or files_problem(self.folder(id), manifest, largest)

    def artifact(self, id: str) -> Artifact:
        """A finished artifact, its listed files checked.

        Raises:
            StoreProblem: there is no such artifact.
            DamagedArtifact: one of its files is not what was written.
        """
        manifest = self.manifest(id)
        if problem := files_problem(self.folder(id), manifest, others=False):
            raise DamagedArtifact(id, problem, self.root)
        return Artifact(id, self.folder(id), manifest["operation"], manifest["params"])

    def made_from(self, ids: Iterable[str]) -> list[str]:
        """Ids of the artifacts that were made from some others, directly or not; sorted."""
        inputs = {id: set(inputs_of(self._manifest(id)[0])) for id in self.ids()}
        reached, found = set(ids), set[str]()
        while more := {id for id, used in inputs.items() if used & reached} - found:
            found |= more
            reached |= more
        return sorted(found - set(ids))

    def set_aside(self, id: str, why: str) -> Path | None:
        """Move an artifact, sound or not, to the folder `damaged`.

        Returns:
            Its new place; None if there is no such artifact any more.
        """
        with self.lock(id), disk_errors(self.root):
            folder = self.folder(id)
            return self._put_aside(folder, why) if os.path.lexists(folder) else None

    def _put_aside(self, path: Path, why: str) -> Path:
        aside = self.root / "damaged"
        if os.path.lexists(aside) and not aside.is_dir():
            move(aside, self.root / "damaged.0")
        make_folder(aside)
        taken = {entry.name for entry in aside.iterdir()}
        names = (f"{path.name}{f'-{n}' if n else ''}" for n in range(len(taken) + 1))
        place = aside / next(name for name in names if name not in taken)
        if path.is_dir() and not path.is_symlink():
            os.chmod(path, 0o700)  # a folder that its owner cannot write cannot be moved
        move(path, place)
        (aside / f"{place.name}.txt").write_text(f"{why}\n", encoding="utf-8", errors="replace")
        return place

    def ids(self) -> list[str]:
        """Ids of all finished artifacts, sorted; hidden folders are being removed or copied."""
        return sorted(p.parent.name for p in self.root.glob("artifacts/*/[!.]*/manifest.json"))

    def find(self, prefix: str) -> str:
        """The one id that begins with `prefix`.

        Raises:
            BadData: if none or several do.
        """
        found = [id for id in self.ids() if id.startswith(prefix)] if prefix else []
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} artifacts" if found else "no artifact"
        verb = "begin" if found else "begins"
        raise BadData(
            f'{what} in {self.root} {verb} with "{prefix}"; expected exactly one '
            "(crucible show lists them)"
        )

    def discard(self, id: str) -> None:
        """Remove a finished artifact, in one rename; the stage will be computed again."""
        with self.lock(id), disk_errors(self.root):
            if os.path.lexists(self.folder(id)):
                trash = self.folder(id).with_name(f".{id}.discarded")
                remove(trash)
                move(self.folder(id), trash)
                remove(trash)

    # Unfinished stages

    def partial(self, id: str) -> Path:
        return self.root / "partial" / id

    @contextmanager
    def lock(self, id: str) -> Iterator[None]:
        """Exclusive lock on one stage; a second process waits, then finds the stage finished."""
        path = self.root / "partial" / f"{id}.lock"
        while True:
            descriptor = self._lock_file(path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    break
            except FileNotFoundError:  # removed by the process that held it
                pass
            os.close(descriptor)
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock_file(self, path: Path) -> int:
        with disk_errors(self.root):
            self.make_way(path.parent)
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENOENT):
                    raise
                self._put_aside(path, "found where a lock was expected")
                return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def locked(self, id: str) -> bool:
        """Whether a process works on a stage."""
        try:
            descriptor = os.open(self.root / "partial" / f"{id}.lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def locks(self) -> list[str]:
        """Ids of the stages on which a process works."""
        found = (path.stem for path in self.root.glob("partial/*.lock"))
        return sorted(id for id in found if self.locked(id))

    def make_way(self, folder: Path) -> Path:
        """Create a folder for unfinished work."""
        self._clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _clear(self, folder: Path) -> None:
        """Set aside what has the name of a folder, or of one that it is in, and is none."""
        for place in (*reversed(folder.parents), folder):
            inside = place != self.root and place.is_relative_to(self.root)
            if inside and os.path.lexists(place) and not place.is_dir():
                self._put_aside(place, "found where a folder was expected")

    def fresh_output(self, id: str) -> Path:
        """An empty folder that `commit` turns into the artifact."""
        output = self.partial(id) / "output"
        with disk_errors(self.root):
            remove(output)
            return self.make_way(output)

    def commit(self, id: str, manifest: dict[str, Any]) -> None:
        """Turn the output folder of stage `id` into the artifact `id`, in one rename.

        The manifest gains the size and digest of every file. Everything is on disk before.
        """
        output, target = self.partial(id) / "output", self.folder(id)
        with disk_errors(self.root):
            sealed = seal({**manifest, "files": inventory(output)})
            write_json(output / MANIFEST, sealed, end="")
            self._clear(target.parent)
            if os.path.lexists(target):  # without a manifest: not written by a store
                self._put_aside(target, f"found without {MANIFEST} where an artifact was expected")
            publish(output, target)
            shutil.rmtree(self.partial(id), ignore_errors=True)
            (self.root / "partial" / f"{id}.lock").unlink(missing_ok=True)


def inputs_of(manifest: dict[str, Any]) -> list[str]:
    """Ids of the artifacts that an artifact was made from."""
    values = manifest.get("inputs", {}).values()
    return [id for value in values for id in (value if isinstance(value, list) else [value])]


def _format(marker: Path) -> int | None:
    """The format in a store's marker; None if there is no number."""
    try:
        found = read_json(marker)
    except BadData:
        return None
    number = found.get("format") if isinstance(found, dict) else None
    return number if type(number) is int and number > 0 else None
