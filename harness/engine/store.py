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

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core.errors import BadData, StoreProblem
from harness.core.hashing import canonical_json
from harness.engine.io import disk_errors, publish, replace_file, write_json
from harness.engine.operations import Artifact, Row

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
        marker = self.root / "store.json"
        with disk_errors(self.root):
            if not marker.exists():
                self._create(marker)
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))["format"]
        except (ValueError, KeyError, TypeError):
            raise StoreProblem(f"{marker} is damaged; expected {{'format': {FORMAT}}}") from None
        if not isinstance(found, int) or found > FORMAT:
            raise StoreProblem(
                f"the store {self.root} has format {found}, this version reads up to {FORMAT}; "
                "upgrade crucible-bench or set CRUCIBLE_HOME to another folder"
            )

    def _create(self, marker: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        replace_file(marker, json.dumps({"format": FORMAT}).encode())

    # Finished artifacts

    def folder(self, id: str) -> Path:
        return self.root / "artifacts" / id[:2] / id

    def has(self, id: str) -> bool:
        return (self.folder(id) / "manifest.json").is_file()

    def manifest(self, id: str) -> dict[str, Any]:
        path = self.folder(id) / "manifest.json"
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise StoreProblem(f"artifact {id} in {self.root} is missing or damaged") from None
        return manifest

    def artifact(self, id: str) -> Artifact:
        manifest = self.manifest(id)
        return Artifact(id, self.folder(id), manifest["operation"], manifest["params"])

    def ids(self) -> list[str]:
        """Ids of all finished artifacts, sorted."""
        return sorted(p.parent.name for p in self.root.glob("artifacts/*/*/manifest.json"))

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
            if self.has(id):
                trash = self.partial(id).with_suffix(".discarded")
                self.folder(id).rename(trash)
                shutil.rmtree(trash)

    # Unfinished stages

    def partial(self, id: str) -> Path:
        return self.root / "partial" / id

    @contextmanager
    def lock(self, id: str) -> Iterator[None]:
        """Exclusive lock on one stage; a second process waits, then finds the stage finished."""
        path = self.root / "partial" / f"{id}.lock"
        with disk_errors(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def fresh_output(self, id: str) -> Path:
        """An empty folder that `commit` turns into the artifact."""
        output = self.partial(id) / "output"
        with disk_errors(self.root):
            if output.exists():
                shutil.rmtree(output)
            output.mkdir(parents=True)
        return output

    def commit(self, id: str, manifest: dict[str, Any]) -> None:
        """Turn the output folder of stage `id` into the artifact `id`, in one rename."""
        output = self.partial(id) / "output"
        with disk_errors(self.root):
            write_json(output / "manifest.json", manifest, end="")
            target = self.folder(id)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # without a manifest: not written by a store
                shutil.rmtree(target)
            publish(output, target)
            shutil.rmtree(self.partial(id), ignore_errors=True)
            (self.root / "partial" / f"{id}.lock").unlink(missing_ok=True)


class Log:
    """JSON objects, one per line, each appended in one write; a line cut off by a crash is dropped.

    Attributes:
        found: objects written by earlier attempts.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.found: list[Row] = []
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._size = self._read(path)
        os.ftruncate(self._descriptor, self._size)

    def _read(self, path: Path) -> int:
        """Load complete lines; returns their length in bytes."""
        sound = 0
        with path.open("rb") as stream:
            for line in stream:
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    break
                self.found.append(entry)
                sound += len(line)
        return sound

    def append(self, line: bytes) -> None:
        """Append one JSON object, given as one line without its end."""
        data = line + b"\n"
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._size + written)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        os.close(self._descriptor)


class Journal:
    """Finished batches of a row stage.

    Attributes:
        batches: number of a batch -> its rows, those of earlier attempts included.
    """

    def __init__(self, path: Path) -> None:
        self._log = Log(path)
        self.batches: dict[int, list[Row]] = {e["batch"]: e["rows"] for e in self._log.found}
        self._log.found.clear()

    def append(self, batch: int, rows: list[Row]) -> None:
        self._log.append(canonical_json({"batch": batch, "rows": rows}))
        self.batches[batch] = rows

    def close(self) -> None:
        self._log.close()
