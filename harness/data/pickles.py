"""Refusal of files that contain, or can contain, a pickle: reading one can run any code."""

from __future__ import annotations

import pickletools
import zlib
from pathlib import Path

from harness.core.errors import BadData
from harness.engine.io import unpacked

NAMES = (".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".pt", ".pth", ".bin", ".ckpt")
# Compressions that joblib uses.
_PACKED = {b"ZF": "zlib", b"\x78\x01": "zlib", b"\x78\x9c": "zlib", b"\x78\xda": "zlib"}
_PACKED |= {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x5d\x00\x00": "lzma", b"\x04\x22\x4d\x18": "lz4"}


def refuse_pickle(path: Path) -> None:
    """Refuse a file that is a pickle by its content or name.

    Raises:
        BadData: with a command that converts the file.
    """
    found = pickle_inside(path)
    plain = path.name.lower().removesuffix(".gz")
    if found is None and plain.endswith(NAMES):
        found = f"by its name, {path.suffix}"
    if found is None:
        return
    frame = f"pandas.DataFrame(pandas.read_pickle({path.name!r}))"
    code = f"import pandas; {frame}.to_json('authors.jsonl', orient='records', lines=True)"
    raise BadData(
        f"{path} contains a pickle ({found}), which can run code when it is read; expected .csv, "
        ".jsonl, .json or .parquet. If you trust its origin, convert it once: "
        f'python -c "{code}"'
    )


def pickle_inside(path: Path) -> str | None:
    """Format of a file, by its bytes, if it is a pickle or can contain one; else None."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with unpacked(path) as stream:
                data = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{path}: cannot be read: {error}") from None
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return f"protocol {data[1]}"
    if data[:6] == b"\x93NUMPY":
        return "a numpy array, which may be of objects"
    if data[:4] == b"PK\x03\x04":
        return "a zip archive, which torch and numpy put around pickles"
    for magic, name in _PACKED.items():
        if data.startswith(magic) and not data.isascii():
            return f"compressed by {name}, as joblib does"
    return "protocol 0 or 1" if data[-1:] == b"." and _is_program(data) else None


def _is_program(data: bytes) -> bool:
    """Whether the bytes are instructions of a pickle; they are parsed, never run."""
    try:
        return [at for _, _, at in pickletools.genops(data)][-1] == len(data) - 1
    except ValueError:
        return False
