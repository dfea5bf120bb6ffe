"""Body and head of a causal language model, used separately.

    hidden states (N, T, H) --head--> logits = cap * tanh(scale * (h W' + b) / cap)

Model families name and use scale and cap differently; `check_head` refuses a model for which this
equation does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.errors import EnvironmentProblem, UserError


@dataclass(frozen=True)
class Head:
    """The output head: logits = cap * tanh(scale * (h W' + b) / cap)."""

    weight: Tensor  # (V, H)
    bias: Tensor | None  # (V,)
    scale: float = 1.0
    cap: float | None = None


def hidden_states(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Final hidden states (N, T, H) of the model's body; position ids are counted from the mask.

    `position_ids` of a batch start at 0 for each document packed into a row, and documents do not
    see each other: transformers finds their boundaries in the ids when no mask is given. Flash
    attention does so in a single row only, so it receives all rows as one.
    """
    if "position_ids" in batch:
        ids, positions = batch["input_ids"], batch["position_ids"]
        if "flash" in str(getattr(model.config, "_attn_implementation", "")):
            ids, positions = ids.reshape(1, -1), positions.reshape(1, -1)
        packed = _body(model)(input_ids=ids, position_ids=positions, use_cache=False)
        states: Tensor = packed.last_hidden_state
        return states.reshape(*batch["input_ids"].shape, -1)
    mask = batch["attention_mask"]
    options: dict[str, Any] = {"attention_mask": mask, "use_cache": False}
    if not bool(mask[:, 0].all()):  # padded on the left: the first real token is at position 0
        options["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = _body(model)(input_ids=batch["input_ids"], **options)
    hidden: Tensor = output.last_hidden_state
    return hidden


def output_head(model: nn.Module) -> Head:
    """Weights of the head, and the fixed transformation that its family applies to logits.

    Raises:
        UserError: the model has no output head.
        EnvironmentProblem: the head is sharded in a way that cannot be gathered here.
    """
    layer = getattr(model, "get_output_embeddings", lambda: None)()
    if layer is None or not hasattr(layer, "weight"):
        raise UserError(
            f"{type(model).__name__} has no output head to score with; expected a causal "
            "language model"
        )
    weight, bias = layer.weight, getattr(layer, "bias", None)
    if hasattr(weight, "ds_id") and weight.numel() == 0:
        raise EnvironmentProblem(
            "the output head is sharded by ZeRO-3, which keeps it empty outside its module; "
            "use FSDP2 or ZeRO-2"
        )
    if hasattr(weight, "full_tensor"):  # FSDP2
        weight = weight.full_tensor()
        bias = None if bias is None else bias.full_tensor()
    scale, cap = _logit_transformation(model)
    return Head(weight, bias, scale, cap)


def check_head(model: nn.Module, *, tolerance: float = 2e-2) -> None:
    """Compare body and head with the model's own logits on three tokens, once per model.

    Families scale or cap their logits under different names; this refuses one that `output_head`
    does not know before a wrong loss is trained.

    Raises:
        UserError: the logits differ by more than `tolerance` of their size.
    """
    size = output_head(model).weight.shape[0]
    device = next(model.parameters()).device
    ids = torch.arange(3, device=device)[None] % size
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    was_training = model.training
    model.eval()
    with torch.no_grad():
        expected = model(**batch, use_cache=False).logits.float()
        head = output_head(model)
        logits = hidden_states(model, batch).float() @ head.weight.float().T
        logits = logits if head.bias is None else logits + head.bias.float()
        found = transform(logits, head.scale, head.cap)
    model.train(was_training)
    if not bool(expected.isfinite().all()):
        raise UserError(
            f"{type(model).__name__} gives logits that are not finite; load it in a wider dtype, "
            "or check its weights"
        )
    error = (found - expected).abs().max() / expected.abs().max().clamp(min=1.0)
    if not bool(error <= tolerance):
        raise UserError(
            f"the head of {type(model).__name__} does more to its logits than scaling and capping "
            f"(relative difference {float(error):.3g}); its log-probabilities cannot be computed"
        )


def check_packing(model: nn.Module, *, tolerance: float = 2e-2) -> None:
    """Compare a document packed behind another one with the same document alone, once per model.

    Raises:
        UserError: packed documents see each other in this model.
    """
    size = output_head(model).weight.shape[0]
    ids = torch.arange(7, device=next(model.parameters()).device)[None] % size
    places = torch.tensor([[0, 1, 2, 3, 0, 1, 2]], device=ids.device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        packed = hidden_states(model, {"input_ids": ids, "position_ids": places})[:, 4:].float()
        alone = {"input_ids": ids[:, 4:], "attention_mask": torch.ones_like(ids[:, 4:])}
        expected = hidden_states(model, alone).float()
    model.train(was_training)
    error = (packed - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
    if not bool(error <= tolerance):
        raise UserError(
            f"in {type(model).__name__}, documents that share a row see each other (relative "
            f'difference {float(error):.3g}); set packing to "none" or "wrapped"'
        )


def transform(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """cap * tanh(scale * logits / cap), in place."""
    if scale != 1.0:
        logits = logits.mul_(scale)
    if cap is not None:
        logits = logits.div_(cap).tanh_().mul_(cap)
    return logits


def slope(logits: Tensor, scale: float, cap: float | None) -> Tensor | float | None:
    """Derivative of `transform`, computed from its result; None for 1."""
    if cap is not None:
        return (1 - (logits / cap) ** 2) * scale
    return None if scale == 1.0 else scale


def _body(model: nn.Module) -> nn.Module:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT
    body = getattr(inner, "base_model", inner)
    if body is inner:
        raise UserError(
            f"{type(inner).__name__} has no body separate from its head; expected a causal "
            "language model"
        )
    return body


def _logit_transformation(model: nn.Module) -> tuple[float, float | None]:
    """(scale, cap) of the model's family."""
    config = model.config.get_text_config()
    scale = 1.0
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):  # Cohere, Falcon-H1
        if getattr(config, name, None) is not None:
            scale = float(getattr(config, name))
    if getattr(config, "logits_scaling", None) is not None:  # Granite divides
        divides = config.model_type != "hyperclovax"
        scale = 1 / config.logits_scaling if divides else config.logits_scaling
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    return scale, None if cap is None else float(cap)
