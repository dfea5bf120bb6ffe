"""Two attention circuits with fixed weights, for a model that must look up tokens in its context.

An induction circuit predicts the token that followed an earlier occurrence of the current one
(Olsson et al. 2022, arXiv 2209.11895): a head of the first layer copies each token to the next
position; a head of the second layer attends to the position whose copy equals the current token,
and outputs the token there. A further head of the second layer works in the opposite direction: it
attends to earlier positions of the token that precedes the current one, and outputs the token
before them.

Models of this size form such circuits only after many more steps than a build has: after 200 steps
of drills 0.3 of the repeated tokens were found; a model initialised with the circuits finds 0.99
after 25 steps. The three heads are not trained, because training would destroy a look-up before
the model has learnt to use it. All other weights are trained.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

SPREAD = 0.5  # standard deviation of embeddings, so large that training does not overwrite them
SHARP = 8.0  # scale of the first head's queries and keys; nearly all attention is on one token
MATCH = 3.0  # scale of the second layer's queries and keys
CARRY, SAY = 0.5, 1.0  # scale of the outputs of the heads in the first and the second layer
SLOW = 1e-3  # radians per token; slower pairs of dimensions compare tokens at any distance


@torch.no_grad()
def wire(model: Any, layer: int = 1) -> None:
    """Set and freeze one head of the first layer and two of a later one, the second by default.

    The model is a Llama with attention biases and an untied output head, so that training the
    output does not change the embeddings, by which tokens are compared.

    The first head's query and key are constant, so that its attention depends only on rotary
    embeddings: the query is rotated back by one position, which makes the product largest at the
    previous token. The other heads compare in the pairs of dimensions that hardly rotate; a large
    `rope_theta` gives more of them.
    """
    hidden, width = model.config.hidden_size, model.config.head_dim
    own, before, found = (_directions(hidden, width) for _ in range(3))
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=SPREAD)
    first, second = (model.model.layers[place].self_attn for place in (0, layer))
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
    """Set a head to find a token and output what the found position contains.

    Args:
        sought: directions (hidden, width) of the token to look for, read at the current position.
        among: directions (hidden, width) by which other positions are compared with it.
        say: directions (hidden, width) of the output, read at the position found.
    """
    width = sought.shape[1]
    rows = slice(head * width, (head + 1) * width)
    attention.q_proj.weight[rows] = attention.k_proj.weight[rows] = 0
    attention.q_proj.weight[rows][slow] = MATCH * sought.T[: len(slow)]
    attention.k_proj.weight[rows][slow] = MATCH * among.T[: len(slow)]
    attention.v_proj.weight[rows] = say.T
    attention.o_proj.weight[:, rows] = SAY * say
    _keep(attention, rows)


def _keep(attention: Any, rows: slice) -> None:
    """Set the gradients of a head to zero, so that Muon and AdamW do not update it."""
    for name, parameter in attention.named_parameters():
        mask = torch.ones_like(parameter)
        if "o_proj" not in name:
            mask[rows] = 0
        elif parameter.ndim == 2:
            mask[:, rows] = 0
        parameter.register_hook(partial(torch.mul, mask))


def _turning(config: Any) -> Tensor:
    """Rotation of each pair of dimensions in radians per token (head_dim / 2,)."""
    half = config.head_dim // 2
    return config.rope_parameters["rope_theta"] ** -(torch.arange(half) / half)


def _directions(hidden: int, width: int) -> Tensor:
    """Orthonormal columns (hidden, width); depends on torch's current seed."""
    return torch.linalg.qr(torch.randn(hidden, hidden))[0][:, :width]
