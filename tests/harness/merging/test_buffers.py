"""Known buffers of old checkpoints, and parameters with similar names."""

from __future__ import annotations

import pytest

from harness.merging.buffers import buffer_note, is_buffer


@pytest.mark.parametrize(
    ("name", "shape", "known"),
    [
        ("model.layers.3.self_attn.rotary_emb.inv_freq", (32,), True),
        ("model.rotary_emb.original_inv_freq", (32,), True),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", (1, 1, 64, 32), True),
        ("transformer.rotary_pos_emb.inv_freq", (32,), True),
        ("gpt_neox.layers.0.attention.rotary_emb.inv_freq", (8,), True),
        ("gpt_neox.layers.0.attention.masked_bias", (), True),
        ("gpt_neox.layers.0.attention.bias", (1, 1, 64, 64), True),
        ("transformer.h.11.attn.bias", (1, 1, 1024, 1024), True),
        ("h.0.attn.masked_bias", (), True),
        ("transformer.h.0.attn.attention.bias", (1, 1, 64, 64), True),
        ("bert.embeddings.position_ids", (1, 512), True),
        ("h.0.attn.c_attn.bias", (96,), False),
        ("h.0.attn.bias", (96,), False),
        ("blocks.0.attention.bias", (1, 4, 64, 64), False),
        ("model.layers.0.self_attn.q_proj.bias", (96,), False),
        ("model.layers.0.self_attn.rotary_emb.proj.weight", (8, 8), False),
        ("bert.embeddings.position_embeddings.weight", (512, 8), False),
        ("model.rope_frequency_net.weight", (4, 4), False),
    ],
)
def test_buffers_are_known_by_name_and_shape(
    name: str, shape: tuple[int, ...], known: bool
) -> None:
    assert is_buffer(name, shape) is known


def test_a_note_pools_layers() -> None:
    names = ["h.0.attn.masked_bias", "h.1.attn.masked_bias", "position_ids"]
    assert buffer_note(names).endswith("left out: 2 x h.*.attn.masked_bias, 1 x position_ids")
