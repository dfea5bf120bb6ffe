"""Whether what was loaded is the model of the checkpoint.

transformers fills weights that a checkpoint lacks with random numbers, leaves out those that the
configuration has no place for, and reads integers as if they were weights. It only logs a warning,
so such a model would be trained and scored in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import BadData
from harness.engine.integrity import HEADER

_EIGHT_BITS_OR_FEWER = ("I8", "U8", "F8", "F6", "F4", "I4", "U4")
_FULL = "use the full-precision checkpoint"
_LISTED = 3


def check_loaded(
    name: str, model: Any, found: Mapping[str, Iterable[Any]], *, new_head: bool = False
) -> None:
    """Refuse a model that is not the one in its files.

    Args:
        found: loading information of transformers: missing_keys, unexpected_keys and
            mismatched_keys (name, shape in the files, shape in the model).
        new_head: weights outside the body of the model are new by intention.

    Raises:
        BadData: weights are missing or have other shapes than the configuration says, or the files
            have more layers.
    """
    body = f"{model.base_model_prefix}."

    def wanted(key: str) -> bool:
        return not new_head or (key.startswith(body) and "pooler" not in key)

    for key, shape, expected in found["mismatched_keys"]:
        if wanted(key):
            raise BadData(
                f"{name}: {key} has shape {_shape(shape)} in its files, but {_shape(expected)} by "
                "its config.json; expected the config.json that was saved with these weights"
            )
    missing = sorted(key for key in found["missing_keys"] if wanted(key) and "pooler" not in key)
    if missing:
        raise BadData(
            f"{name}: its files have no weights for {_list(missing)}, which would be random "
            "numbers; copy the checkpoint again, or mend its config.json"
        )
    known = {_pattern(key) for key, _ in model.named_parameters()}
    left_out = sorted(key for key in found["unexpected_keys"] if _pattern(key) in known)
    if left_out:
        raise BadData(
            f"{name}: its config.json has no place for {_list(left_out)}, which would be left out; "
            "expected the config.json that was saved with these weights"
        )
    scales = sorted(key for key in found["unexpected_keys"] if re.search(r"scale|qzeros", key))
    if scales:
        raise BadData(
            f"{name}: its weights are quantised ({_list(scales)}), but its config.json has no "
            f"quantization_config to read them with; {_FULL}"
        )


def check_stored(folder: Path, config: Any) -> None:
    """Refuse weights stored in eight bits or fewer that nothing says how to read.

    Raises:
        BadData: with tensor and type.
    """
    if quantisation(config):
        return
    for path in sorted(folder.glob("*.safetensors")):
        for tensor, entry in _header(path).items():
            kind = str(entry.get("dtype", ""))
            if tensor.endswith("weight") and kind.startswith(_EIGHT_BITS_OR_FEWER):
                raise BadData(
                    f"{folder}: {tensor} is stored as {kind}, but config.json has no "
                    f"quantization_config that says what the numbers mean; {_FULL}"
                )


def check_trainable(name: str, model: Any) -> None:
    """Refuse a model that training cannot start from.

    Raises:
        BadData: quantised weights, or weights that are not finite.
    """
    import torch

    check_full_precision(name, model.config)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BadData(
                f"{name}: {key} contains NaN or infinity, so that every loss would be NaN; copy "
                "the checkpoint again, or use an earlier one"
            )


def check_full_precision(name: str, config: Any) -> None:
    """Refuse quantised weights.

    Raises:
        BadData: with the method that quantised them.
    """
    if method := quantisation(config):
        raise BadData(f"{name}: weights quantised with {method} cannot be trained here; {_FULL}")


def quantisation(config: Any) -> str:
    """Method of a configuration's quantization_config, or ""."""
    found = config.to_dict().get("quantization_config")
    if not found:
        return ""
    table = found if isinstance(found, dict) else found.to_dict()
    return str(table.get("quant_method", "an unknown method"))


def _pattern(key: str) -> str:
    return re.sub(r"\d+", "#", key)


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _list(keys: list[str]) -> str:
    more = len(keys) - _LISTED
    return ", ".join(keys[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """Names and types of the tensors in a safetensors file; {} if it is damaged."""
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            whole = size < min(path.stat().st_size, HEADER)
            header = json.loads(stream.read(size)) if whole else {}
    except (OSError, ValueError, RecursionError):
        return {}  # loading will say so
    return {key: entry for key, entry in header.items() if isinstance(entry, dict)}
