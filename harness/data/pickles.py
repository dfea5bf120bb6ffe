"""Refusal of files that hold, or can hold, a pickle: reading one runs whatever code it names."""

from __future__ import annotations

import gzip
import pickletools
import zlib
from pathlib import Path

from harness.core.errors import BadData

NAMES = (".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".pt", ".pth", ".bin", ".ckpt")
# joblib packs its pickles with any of these.
_PACKED = {b"ZF": "zlib", b"\x78\x01": "zlib", b"\x78\x9c": "zlib", b"\x78\xda": "zlib"}
_PACKED |= {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x5d\x00\x00": "lzma", b"\x04\x22\x4d\x18": "lz4"}


def refuse_pickle(path: Path) -> None:
    """Do nothing for a file of text or Parquet.

    Raises:
        BadData: the content, or else the name, is that of a pickle; says how to convert it.
    """
    found = pickle_inside(path)
    plain = path.name.lower().removesuffix(".gz")
    if found is None and plain.endswith(NAMES):
        found = f"named like one ({path.suffix})"
    if found is None:
        return
    frame = f"pandas.DataFrame(pandas.read_pickle({path.name!r}))"
    code = f"import pandas; {frame}.to_json('authors.jsonl', orient='records', lines=True)"
    raise BadData(
        f"{path} holds a pickle ({found}), which can run code when it is read; expected .csv, "
        ".jsonl, .json or .parquet. If you trust where it comes from, convert it yourself, once: "
        f'python -c "{code}"'
    )


def pickle_inside(path: Path) -> str | None:
    """What a file is if it is a pickle or can hold one, by its bytes; None for anything else."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{path}: cannot be read: {error}") from None
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return f"protocol {data[1]}"
    if data[:6] == b"\x93NUMPY":
        return "a numpy array, which may be of objects"
    if data[:4] == b"PK\x03\x04":
        return "a zip archive, as torch and numpy write around pickles"
    for magic, name in _PACKED.items():
        if data.startswith(magic) and not data.isascii():
            return f"packed by {name}, as joblib writes"
    return "protocol 0 or 1" if data[-1:] == b"." and _is_program(data) else None


def _is_program(data: bytes) -> bool:
    """Whether the bytes are the instructions of a pickle; they are read, never followed."""
    try:
        return [at for _, _, at in pickletools.genops(data)][-1] == len(data) - 1
    except ValueError:
        return False
