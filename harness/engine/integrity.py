"""Whether the files of an artifact are those that were written.

    inventory(folder)                  name -> size, digest and rows of every file, for the manifest
    manifest_problem(manifest, id)     what is wrong with a manifest
    files_problem(folder, manifest)    what is wrong with the files, by size and digest
    list_files(folder, listing)        the same for a folder that is not an artifact:
    listed_files_are_sound(listing)    whether the files listed by a file are what was written

Artifacts of earlier versions have no list of files. Theirs are examined for what a reader would
stumble over: JSON that cannot be parsed, rows without ids or with repeated ones, and safetensors
whose header and size contradict each other.

A file whose size and times are as they were when this process last read it is not read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.engine.io import flush_tree, iterate_objects, read_json, replace_file

MANIFEST = "manifest.json"
ROWS = "rows.jsonl"
BLOCK = 1 << 20
HEADER = 100_000_000  # bytes; the safetensors format allows no longer header
SMALL = 64 * 2**20  # bytes; files up to this size are read even if a run does not open them

_NEEDED: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "operation": str,
    "version": int,
    "label": str,
    "params": dict,
    "inputs": dict,
}
_READ: dict[str, tuple[int, ...]] = {}  # state of the files that were read and found sound


def inventory(folder: Path) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of every file below a folder, by relative name; of .jsonl also the lines."""
    return {name: _facts(folder / name) for name in sorted(_names(folder))}


def _names(folder: Path) -> Iterator[str]:
    """Files of an artifact, without its manifest and hidden files, which nothing reads."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            relative = (Path(place) / name).relative_to(folder).as_posix()
            if relative != MANIFEST and not name.startswith("."):
                yield relative


def _facts(path: Path) -> dict[str, Any]:
    state, lines, size = hashlib.sha256(), 0, 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            state.update(block)
            size += len(block)
            lines += block.count(b"\n") if path.suffix == ".jsonl" else 0
    rows = {"rows": lines} if path.suffix == ".jsonl" else {}
    return {"bytes": size, "sha256": state.hexdigest(), **rows}


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a digest of itself."""
    plain = json.loads(json.dumps(manifest))  # as it will be read: all keys are text
    return {**plain, "digest": digest(plain)}


def manifest_problem(manifest: object, id: str) -> str:
    """What is wrong with the manifest of artifact `id`; "" if nothing is found."""
    if not isinstance(manifest, dict):
        return f"{MANIFEST} contains {type(manifest).__name__}; expected an object"
    for key, kind in _NEEDED.items():
        if not isinstance(manifest.get(key), kind):
            return f'{MANIFEST}: key "{key}" is {manifest.get(key)!r:.60}'
    inputs = [i for v in manifest["inputs"].values() for i in (v if isinstance(v, list) else [v])]
    if not all(isinstance(input, str) for input in inputs):
        return f'{MANIFEST}: key "inputs" lists something other than ids'
    if manifest["id"] != id:
        return f"{MANIFEST} is that of artifact {manifest['id']:.40}"
    if "digest" in manifest or "files" in manifest:
        rest = {key: value for key, value in manifest.items() if key != "digest"}
        if manifest.get("digest") != digest(rest):
            return f"{MANIFEST} is not what was written"
    return ""


def files_problem(
    folder: Path, manifest: Mapping[str, Any], largest: int | None = None, *, others: bool = True
) -> str:
    """What is wrong with the files of an artifact; "" if nothing is found.

    Args:
        largest: larger files are checked by their size alone; None reads all.
        others: whether a file that the manifest does not list is wrong.
    """
    listed: dict[str, dict[str, Any]] | None = manifest.get("files")
    try:
        found = set(_names(folder))
        if listed is None:
            return next(filter(None, (_form(folder / name, largest) for name in found)), "")
        for name, known in listed.items():
            if problem := _problem(folder / name, name, known, largest):
                return problem
    except OSError as error:
        name = Path(error.filename).name if isinstance(error.filename, str) else folder.name
        return f"{name} cannot be read: {error.strerror}"
    for name in sorted(found - set(listed)) if others else ():
        return f"{name} was not written with it"
    return ""


def _problem(path: Path, name: str, known: Mapping[str, Any], largest: int | None) -> str:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    if not stat.S_ISREG(status.st_mode):
        return f"{name} is not a file"
    if status.st_size != known["bytes"]:
        rows = f" in {known['rows']:,} rows" if "rows" in known else ""
        return f"{name} has {status.st_size:,} bytes; {known['bytes']:,}{rows} were written"
    if (largest is not None and status.st_size > largest) or _is_known(path, status):
        return ""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != known["sha256"]:
        return f"{name} has another content than was written, in the same {status.st_size:,} bytes"
    _READ[str(path)] = state_of(status)
    return ""


def _is_known(path: Path, status: os.stat_result) -> bool:
    return _READ.get(str(path)) == state_of(status)


def state_of(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file does."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


# Folders that a stage keeps for its next attempt


def list_files(folder: Path, listing: Path) -> None:
    """Write size and digest of every file of a folder into a file, on disk before it is there."""
    flush_tree(folder)
    replace_file(listing, json.dumps(inventory(folder)).encode())


def listed_files_are_sound(listing: Path) -> bool:
    """Whether the files beside a listing are those that were listed.

    An empty file is the listing of an earlier version, which says nothing.
    """
    try:
        text = listing.read_bytes()
        listed = json.loads(text) if text else {}
        return not any(
            _problem(listing.parent / name, name, known, None) for name, known in listed.items()
        )
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return False


# Artifacts of earlier versions


def _form(path: Path, largest: int | None) -> str:
    """What is wrong with a file whose content at its writing is unknown."""
    status = path.stat()
    if (largest is not None and status.st_size > largest) or _is_known(path, status):
        return ""
    try:
        if path.suffix == ".jsonl":
            _check_rows(path)
        elif path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".safetensors":
            _check_tensors(path, status.st_size)
    except BadData as error:
        return str(error).removeprefix(f"{path.parent}{os.sep}")
    _READ[str(path)] = state_of(status)
    return ""


def _check_rows(path: Path) -> None:
    seen = set()
    for row in iterate_objects(path):
        id = row.get("id")
        if path.name == ROWS and id in seen:
            raise BadData(f'{path}: row "{id}" occurs twice')
        seen.add(id if isinstance(id, str) else None)


def _check_tensors(path: Path, size: int) -> None:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length <= min(size, HEADER) else b""
    try:
        entries = json.loads(header)
        end = max((e["data_offsets"][1] for n, e in entries.items() if n[:2] != "__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise BadData(f"{path}: not a safetensors file: its header cannot be read") from None
    if 8 + length + end != size:
        raise BadData(f"{path}: has {size:,} bytes; its header describes {8 + length + end:,}")
