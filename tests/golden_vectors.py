"""Golden vectors: JSON files whose absent fields skip a test by name instead of failing it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest


class Fields(dict[str, Any]):
    """An object of a vector file."""

    def __missing__(self, key: str) -> Any:
        pytest.skip(f'the golden vectors at hand have no field "{key}"')


def vectors(path: Path) -> Any:
    """The content of a vector file, .json or .json.gz."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    return json.loads(text, object_hook=Fields)
