"""Two circuits set by hand, for a model that has to look words up.

Where a word stood before, an induction circuit finds what came after it (Olsson et al. 2022,
arXiv 2209.11895): a head of the first layer copies each token to the one behind it, a head of the
second looks for the place whose copy is the current token, and repeats what stands there. A further
head of the second layer goes the other way: it looks for the token that the current one stands
behind, and says what stands before it there.

Models of this size form such circuits only after many more steps than a build has: 200 steps of
drills left 0.3 of the repeated words found, where a model that starts with the circuits has 0.99
after 25. These three heads are not trained: where a look-up is of no use yet, training takes it
apart before what it is for has been learnt. All else learns around them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

SPREAD = 0.5  # deviation of embeddings: wide enough that training does not overwrite them
SHARP = 8.0  # of the first head's queries and keys: the token before gets nearly all attention
MATCH = 3.0  # of the second layer's queries and keys
CARRY, SAY = 0.5, 1.0  # what the heads of the first and of the second layer add to the stream
SLOW = 1e-3  # radians a token: pairs of dimensions slower than that compare tokens at any distance


@torch.no_grad()
def wire(model: Any) -> None:
    """Set a head of the first layer and two of the second, for good.

    The model is a Llama with attention biases whose output head is not its embedding: what tells
    tokens apart must stay what it is.

    The first head's query and key are constant, so that rotary embeddings alone decide: the query
    is turned back by one position, which makes the product largest one token behind. The others
    compare by the pairs of dimensions that hardly turn; a large `rope_theta` makes more of them.
    """
    hidden, width = model.config.hidden_size, model.config.head_dim
    own, before, found = (_directions(hidden, width) for _ in range(3))
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=SPREAD)
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    turn = _turning(model.config)
    fast = torch.where(turn > 0.02, SHARP, 0.0)
    first.q_proj.weight[:width] = first.k_proj.weight[:width] = 0
    first.k_proj.bias[:width] = torch.cat([fast, torch.zeros_like(fast)])
    first.q_proj.bias[:width] = torch.cat([fast * turn.cos(), -fast * turn.sin()])
    first.v_proj.weight[:width] = own.T
    first.o_proj.weight[:, :width] = CARRY * before
    _keep(first, slice(0, width))
    slow = (turn < SLOW).nonzero().flatten()
    slow = torch.cat([slow, slow + width // 2])
    _look_up(second, 0, slow, sought=own, among=before, say=found)
    _look_up(second, 1, slow, sought=before, among=own, say=before)


def _look_up(
    attention: Any, head: int, slow: Tensor, *, sought: Tensor, among: Tensor, say: Tensor
) -> None:
    """Head number `head` attends to where `among` holds what `sought` holds here."""
    width = sought.shape[1]
    rows = slice(head * width, (head + 1) * width)
    attention.q_proj.weight[rows] = attention.k_proj.weight[rows] = 0
    attention.q_proj.weight[rows][slow] = MATCH * sought.T[: len(slow)]
    attention.k_proj.weight[rows][slow] = MATCH * among.T[: len(slow)]
    attention.v_proj.weight[rows] = say.T
    attention.o_proj.weight[:, rows] = SAY * say
    _keep(attention, rows)


def _keep(attention: Any, rows: slice) -> None:
    """No gradients for a head; an update by Muon or AdamW is then zero there, too."""
    for name, parameter in attention.named_parameters():
        mask = torch.ones_like(parameter)
        if "o_proj" not in name:
            mask[rows] = 0
        elif parameter.ndim == 2:
            mask[:, rows] = 0
        parameter.register_hook(partial(torch.mul, mask))


def _turning(config: Any) -> Tensor:
    """(head_dim / 2,) radians that each pair of dimensions turns by from token to token."""
    half = config.head_dim // 2
    return config.rope_parameters["rope_theta"] ** -(torch.arange(half) / half)


def _directions(hidden: int, width: int) -> Tensor:
    """(hidden, width) with orthonormal columns; depends on torch's current seed."""
    return torch.linalg.qr(torch.randn(hidden, hidden))[0][:, :width]
