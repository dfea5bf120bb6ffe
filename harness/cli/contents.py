"""What a store contains: artifacts with their size, date and kind, and the boards that use them.

Kinds: "scores" (cells), "rows" (prompts, answers, judgments), "model" (a checkpoint or a reference
to one), "other"; "damaged" where the manifest cannot be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import CrucibleError
from harness.engine.integrity import MANIFEST, ROWS
from harness.engine.io import read_json
from harness.engine.store import Store, inputs_of
from leaderboards.samples.addresses import CELLS

KINDS = ("scores", "rows", "model", "other", "damaged")
_MODEL = ("config.json", "model.json")


@dataclass(frozen=True)
class Item:
    """One artifact.

    Attributes:
        finished: date and time of its making, UTC; "" if unknown.
        models: names of the models behind it: references of imported ones, labels of trained ones.
        suites: suites whose scores were made from it, or are in it.
        judge: reference of the judge behind it; "" without one.
        inputs: ids of the artifacts that it was made from.
        boards: names of the boards of this store that use it, directly or not.
    """

    id: str
    kind: str
    operation: str
    label: str
    finished: str
    bytes: int
    rows: int | None
    models: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    judge: str = ""
    inputs: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The label, with model, suite and judge where it does not name them."""
        words = [self.label]
        if len(self.models) == 1 and not self.label.startswith(("model ", "train ")):
            words += [self.models[0]] * (self.models[0] not in self.label)
        if self.kind != "model":
            words += [f"on {suite}" for suite in self.suites[:1] if suite not in self.label]
        words += [f"by {self.judge}"] * bool(self.judge)
        return " ".join(words)

    def record(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {**asdict(self), "title": self.title}


def items_of(store: Store) -> list[Item]:
    """All artifacts of a store, the newest first."""
    manifests = {id: _manifest(store, id) for id in folder_ids(store)}
    boards = boards_of(store, manifests)
    models = _models(manifests)
    suites = _suites(manifests)
    found = []
    for id, manifest in manifests.items():
        files, size = _files(store.folder(id))
        known = manifest.get("files") or {}
        found.append(
            Item(
                id=id,
                kind=_kind(files) if manifest else "damaged",
                operation=manifest.get("operation", "?"),
                label=manifest.get("label", "damaged"),
                finished=str(manifest.get("finished", "")),
                bytes=size,
                rows=known.get(ROWS, {}).get("rows"),
                models=tuple(sorted(models[id])),
                suites=tuple(sorted(suites[id])),
                judge=_judge(manifest),
                inputs=tuple(inputs_of(manifest)),
                boards=tuple(name for name, used in boards.items() if id in used),
            )
        )
    return sorted(found, key=lambda item: (item.finished, item.id), reverse=True)


def folder_ids(store: Store) -> list[str]:
    """Ids of everything in the place of artifacts, damaged or not."""
    places = (store.root / "artifacts").glob("*/*")
    return sorted(p.name for p in places if p.parent.name == p.name[:2] and len(p.name) > 2)


def _manifest(store: Store, id: str) -> dict[str, Any]:
    try:
        return store.manifest(id)
    except CrucibleError:
        return {}


def _files(folder: Path) -> tuple[set[str], int]:
    names, size = set(), 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                size += (Path(place) / name).lstat().st_size
            except OSError:
                continue
            names.add(name)
    return names, size


def _kind(files: set[str]) -> str:
    if CELLS in files:
        return "scores"
    if files.intersection(_MODEL):
        return "model"
    return "rows" if ROWS in files else "other"


def _judge(manifest: dict[str, Any]) -> str:
    params = manifest.get("params", {})
    return str(params.get("judge") or "")


def _models(manifests: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """Models behind each artifact: those among its inputs, or behind the nearest that has any."""
    found: dict[str, set[str]] = {}

    def models(id: str) -> set[str]:
        if id not in found:
            found[id] = set()  # a damaged store may contain a circle
            manifest = manifests.get(id, {})
            ref = manifest.get("params", {}).get("ref")
            if manifest.get("operation") == "import_model":
                found[id] = {str(ref)}
            elif isinstance(own := manifest.get("inputs", {}).get("model"), str):
                trained = manifests.get(own, {}).get("label", "")
                simple = manifests.get(own, {}).get("operation") == "import_model"
                found[id] = models(own) if simple else {trained} - {""}
            else:
                found[id] = set[str]().union(*map(models, inputs_of(manifest)))
        return found[id]

    return {id: models(id) for id in manifests}


def _suites(manifests: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """Suites of the scores that were made from each artifact."""
    found: dict[str, set[str]] = {id: set() for id in manifests}
    for id, manifest in manifests.items():
        suite = manifest.get("params", {}).get("suite")
        if isinstance(suite, str):
            for behind in closure([id], manifests):
                found[behind].add(suite)
    return found


def closure(ids: Iterable[str], manifests: dict[str, dict[str, Any]]) -> set[str]:
    """The artifacts with these ids and everything that they were made from, as far as stored."""
    found: set[str] = set()
    waiting = [id for id in ids if id in manifests]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            waiting += [i for i in inputs_of(manifests[id]) if i in manifests]
    return found


def boards_of(store: Store, manifests: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """Name of each board of a store -> the artifacts that it uses, directly or not.

    Raises:
        BadData: a board cannot be read.
    """
    from leaderboards.files import artifacts_of  # numpy

    found = {}
    for path in sorted((store.root / "boards").glob("*/cells.jsonl")):
        found[path.parent.name] = closure(artifacts_of(path.parent), manifests)
    return found


def command_of(store: Store, board: str) -> str:
    """The command that makes a board again; "" if it is unknown."""
    try:
        spec = read_json(store.root / "boards" / board / "spec.json")
        return str(spec["provenance"]["command"])
    except (CrucibleError, KeyError, TypeError):
        return ""


def leftovers(store: Store) -> list[tuple[str, Path, int]]:
    """What, where, and bytes of what no run needs: unfinished stages, and what was set aside."""
    found = [("damaged", path, _size(path)) for path in _entries(store.root / "damaged")]
    found += [
        ("unfinished", path, _size(path))
        for path in _entries(store.root / "partial")
        if path.suffix != ".lock" and not store.locked(path.name)
    ]
    hidden = (store.root / "artifacts").glob("*/.*")
    return found + [("discarded", path, _size(path)) for path in sorted(hidden)]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    return _files(path)[1] if path.is_dir() else path.lstat().st_size


def size_text(size: float) -> str:
    """Bytes in three digits.

    >>> size_text(999), size_text(1_500_000), size_text(2.4e10)
    ('999 B', '1.5 MB', '24 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 9.95 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def as_json(value: object) -> str:
    """A value as indented JSON, for other programs."""
    return json.dumps(value, indent=1, sort_keys=True, default=str)


def manifest_of(store: Store, id: str) -> dict[str, Any]:
    """The manifest of an artifact as it is, damaged or not.

    Raises:
        BadData: it is not JSON.
    """
    found = read_json(store.folder(id) / MANIFEST)
    return found if isinstance(found, dict) else {}
