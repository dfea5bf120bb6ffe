"""Reading prompts with a causal language model: one padded forward pass and the resulting cache.

The cache has room for the tokens to be generated, and may begin with stored key-value states.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from harness.backends.prefixes import Reading, room_for

ROOM = 128  # positions by which a key-value buffer grows


def left_padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention mask and positions, each (B, L); pads have id 0 and are masked."""
    longest = max(len(prompt) for prompt in prompts)
    ids = np.zeros((len(prompts), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    return (
        torch.from_numpy(ids).to(device),
        torch.from_numpy(mask).to(device),
        torch.from_numpy(positions).to(device),
    )


def accepts(model: Any, option: str) -> bool:
    """Whether the model's forward pass has an argument of this name."""
    return option in _arguments(type(model).forward)


@cache
def _arguments(forward: Any) -> frozenset[str]:
    # Called per token, and reading a signature takes longer than one layer of a tiny model.
    return frozenset(inspect.signature(forward).parameters)


def forward_options(model: Any, positions: torch.Tensor, keep: int) -> dict[str, Any]:
    """Arguments that only some architectures take: positions and the number of logits to keep."""
    options: dict[str, Any] = {}
    if accepts(model, "position_ids"):
        options["position_ids"] = positions
    if accepts(model, "logits_to_keep"):
        options["logits_to_keep"] = keep
    return options


@torch.inference_mode()
def read_prompts(
    model: Any, prompts: Sequence[Sequence[int]], readings: Sequence[Reading] | None = None
) -> tuple[torch.Tensor, Any, torch.Tensor]:
    """Logits (B, V) of each prompt's next token, the cache, and its mask (B, L)."""
    logits, cache, mask = read_columns(model, prompts, readings, keep=1)
    return logits[:, -1], cache, mask


@torch.inference_mode()
def read_columns(
    model: Any,
    prompts: Sequence[Sequence[int]],
    readings: Sequence[Reading] | None = None,
    *,
    keep: int,
    spare: int = ROOM,
) -> tuple[torch.Tensor, Any, torch.Tensor]:
    """Logits (B, keep, V) behind the last `keep` tokens, the cache, and its mask (B, L).

    With readings, only the tokens without stored states are read. Their columns follow those of the
    stored states, so that a row may have pads between the two.

    Args:
        spare: columns of the cache for tokens that will be generated.
    """
    device = next(model.parameters()).device
    if not readings:
        ids, mask, positions = left_padded(prompts, device)
        cache = None
    else:
        known = torch.tensor([reading.known for reading in readings], device=device)[:, None]
        rest = [prompt[reading.known :] for prompt, reading in zip(prompts, readings)]
        ids, mask, positions = left_padded(rest, device)
        positions += known
        wide = int(known.max())
        before = torch.arange(wide, device=device) >= wide - known
        mask = torch.cat([before.to(mask.dtype), mask], dim=1)
        room = room_for(readings, wide, mask.shape[1] + spare)
        cache = DynamicCache(config=model.config)
        cache.layers = [_RoomyLayer(keys, values, wide) for keys, values in zip(*room)]
    output = model(
        input_ids=ids,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
        **forward_options(model, positions, keep),
    )
    for row, reading in enumerate(readings or ()):
        reading.fill(room[:, :, row, :, : mask.shape[1]])
    return output.logits[:, -keep:], output.past_key_values, mask


class _RoomyLayer(DynamicLayer):
    """A cache layer that writes new keys and values into spare room instead of copying all of them.

    The library's layer concatenates at every token; for tiny models on a CPU, those copies took
    more than half of the decoding time.
    """

    def __init__(self, key_room: torch.Tensor, value_room: torch.Tensor, used: int) -> None:
        super().__init__()
        self.lazy_initialization(key_room, value_room)
        self._key_room, self._value_room, self._used = key_room, value_room, used
        self._show()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        end = self._used + key_states.shape[-2]
        if end > self._key_room.shape[-2]:
            self._key_room = _with_room(self.keys)
            self._value_room = _with_room(self.values)
        self._key_room[:, :, self._used : end] = key_states
        self._value_room[:, :, self._used : end] = value_states
        self._used = end
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._key_room = self._key_room[indices]
        self._value_room = self._value_room[indices]
        self._show()

    def _show(self) -> None:
        self.keys = self._key_room[:, :, : self._used]
        self.values = self._value_room[:, :, : self._used]


def _with_room(states: torch.Tensor, repeats: int = 1) -> torch.Tensor:
    """A copy of states (B, heads, L, d), each row `repeats` times, with room for more positions."""
    rows, heads, used, width = states.shape
    room = states.new_empty((rows * repeats, heads, used + ROOM, width))
    room[:, :, :used] = states.repeat_interleave(repeats, dim=0) if repeats > 1 else states
    return room


def repeat_cache(cache: Any, n: int) -> None:
    """Repeat each row of a cache n times, in place."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer or (n > 1 and type(layer) is _RoomyLayer):
            keys, values = _with_room(layer.keys, n), _with_room(layer.values, n)
            cache.layers[number] = _RoomyLayer(keys, values, layer.keys.shape[-2])
        elif n > 1:
            layer.batch_repeat_interleave(n)
