"""Buffers that old checkpoints contain and current models compute; they are never merged.

Rotary frequencies and tables, causal masks and position ids follow from the config. Older versions
of transformers saved them, sometimes in float32 beside bfloat16 weights; loading ignores them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ROTARY = re.compile(r"(^|\.)(rotary(_pos)?_emb(edding)?s?|rope)\.(?!.*\b(weight|bias)$)")
_NAMES = re.compile(
    r"(^|\.)(\w*inv_freq|(cos|sin)_cached|masked_bias|causal_mask|position_ids|token_type_ids)$"
)
_MASK = re.compile(r"(^|\.)(self_)?(attn|attention)\.(bias|mask)$")


def is_buffer(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is a known buffer; a causal mask has shape (1, 1, n, n).

    >>> is_buffer("model.layers.0.self_attn.rotary_emb.inv_freq", [32])
    True
    >>> is_buffer("h.0.attn.bias", [1, 1, 64, 64]), is_buffer("h.0.attn.bias", [64])
    (True, False)
    """
    if _NAMES.search(name) or _ROTARY.search(name):
        return True
    square = len(shape) == 4 and tuple(shape[:2]) == (1, 1) and shape[2] == shape[3]
    return square and _MASK.search(name) is not None


def buffer_note(names: Iterable[str]) -> str:
    """Note on the buffers left out, pooled over layers.

    >>> buffer_note(["h.0.attn.masked_bias", "h.1.attn.masked_bias"])
    'known buffers are not merged and left out: 2 x h.*.attn.masked_bias'
    """
    kinds: dict[str, int] = {}
    for name in names:
        kind = re.sub(r"\.\d+\.", ".*.", name)
        kinds[kind] = kinds.get(kind, 0) + 1
    listed = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    return f"known buffers are not merged and left out: {listed}"
