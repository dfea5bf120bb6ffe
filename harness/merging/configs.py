"""Configurations of checkpoints compared by meaning: which keys change what weights mean.

Every key counts except those listed here. Both files are read by transformers' config class, so
that a missing key equals its default and old spellings equal new ones (`rope_theta` and
`rope_scaling`, or `rope_parameters`); what transformers cannot read is compared as written.
Floats are equal to float32's precision, activations if they compute the same function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import BadData

# Compared elsewhere: the kind of model, and the vocabulary by rows and tokens.
_ELSEWHERE = {"model_type", "architectures", "vocab_size", "auto_map"}
# Of storage, of running and of training: the weights mean the same.
_IGNORED = {
    "torch_dtype", "dtype", "gradient_checkpointing", "pretraining_tp", "torchscript",
    "return_dict", "use_return_dict", "chunk_size_feed_forward", "problem_type",
    "task_specific_params", "finetuning_task", "initializer_range", "initializer_factor",
    "init_std", "output_router_logits", "router_aux_loss_coef", "router_z_loss_coef",
    "router_jitter_noise", "attn_implementation", "use_flash_attn", "reorder_and_upcast_attn",
    "unsloth_fixed", "unsloth_version",
}  # fmt: skip
# Of generation, and the declared limit of positions; they are said, and the base's are kept.
_TOKEN_IDS = {"unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id"}
_POSITIONS = {
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length",
    "seq_length",
}  # fmt: skip
# These only matter to the layers that `layer_types` declares as sliding or chunked.
_DERIVE_LAYERS = {"max_window_layers", "sliding_window_pattern", "use_sliding_window"}
_WINDOWS = {"sliding_window", "attention_chunk_size"}
_OTHER_SPELLING = {"rope_scaling": "rope_parameters", "partial_rotary_factor": "rope_parameters"}

Flat = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """A key with its value in the base and in a target; `path` is dotted for nested keys.

    Attributes:
        harmless: it cannot change what weights mean.
    """

    path: str
    base: Any
    target: Any
    harmless: bool

    def __str__(self) -> str:
        return f"{self.path} is {self.target}; expected {self.base}"

    def is_allowed(self, names: Sequence[str]) -> bool:
        """Whether a setting names this key: in full, its last or its first part.

        >>> key = Difference("text_config.rope_parameters.rope_theta", 1e4, 1e6, False)
        >>> [key.is_allowed([name]) for name in ("rope_theta", "rope_parameters", "rope")]
        [True, True, False]
        """
        spelled = {*names, *(_OTHER_SPELLING[name] for name in names if name in _OTHER_SPELLING)}
        return any(f".{name}." in f".{self.path}." for name in spelled)


def differences(base: Path, target: Path, raw: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Keys of two checkpoint folders' config.json that differ in meaning, sorted.

    Args:
        raw: contents of both files, compared if transformers cannot read one of them.
    """
    loaded = [load_config(folder) for folder in (base, target)]
    read = [config.to_dict() for config in loaded if config is not None]
    known = [_normal(each) for each in (read if len(read) == 2 else raw)]
    ours, theirs = (dict(_flat(each)) for each in known)
    found = []
    for path in sorted(ours.keys() | theirs.keys()):
        one, two = ours.get(path), theirs.get(path)
        key = path.rpartition(".")[2]
        if not (_is_ignored(path, key, ours, theirs) or _equal(key, one, two)):
            found.append(Difference(path, one, two, _is_harmless(key, ours, theirs)))
    return found


def check_configs(
    base: Path, target: Path, raw: Sequence[Mapping[str, Any]], allowed: Sequence[str]
) -> list[str]:
    """Notes on tolerated differences of two configurations.

    Args:
        allowed: names of keys that may differ, see `Difference.is_allowed`.

    Raises:
        BadData: another key differs.
    """
    found = differences(base, target, raw)
    refused = [each for each in found if not (each.harmless or each.is_allowed(allowed))]
    if refused:
        names = sorted({each.path.rpartition(".")[2] for each in refused})
        listed = ", ".join(f'"{name}"' for name in names)
        raise BadData(
            f"{target} does not fit the base {base}: its config gives weights another meaning: "
            f"{'; '.join(map(str, refused))}. To merge nevertheless, with the base's config: "
            f"allow_config = [{listed}]"
        )
    notes = []
    for allowing, what in ((False, "the base's is kept"), (True, "allowed by allow_config")):
        keys = [str(each) for each in found if each.harmless != allowing]
        if keys:
            notes.append(f"{target.name}: config: {'; '.join(keys)} ({what})")
    return notes


def load_config(folder: Path) -> Any:
    """The folder's config as transformers reads it; None if it cannot, or only by remote code."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception:  # libraries raise what they like here, and the raw file remains
        return None


def _normal(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with old spellings of rotary settings and implied values written out."""
    made = dict(config)
    rope: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        given = made.pop(key, None)
        rope |= given if isinstance(given, dict) else {}
    made = {key: _normal(v) if isinstance(v, dict) else v for key, v in made.items()}
    for key in ("rope_theta", "partial_rotary_factor"):
        if made.get(key) is not None:
            rope.setdefault(key, made.pop(key))
    made.pop("partial_rotary_factor", None)
    if rope and not any(isinstance(value, dict) for value in rope.values()):  # not by layer type
        rope.setdefault("rope_type", rope.pop("type", "default"))
        rope.pop("type", None)
    made["rope_parameters"] = rope
    heads = made.get("num_attention_heads")
    if heads and made.get("num_key_value_heads") is None:
        made["num_key_value_heads"] = heads
    if heads and made.get("head_dim") is None and isinstance(made.get("hidden_size"), int):
        made["head_dim"] = made["hidden_size"] // heads
    if made.get("n_inner") is None and isinstance(made.get("n_embd"), int):
        made["n_inner"] = 4 * made["n_embd"]
    return made


def _flat(config: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _is_ignored(path: str, key: str, ours: Flat, theirs: Flat) -> bool:
    top = path.partition(".")[0]
    if key.startswith("_") or {key, top} & (_ELSEWHERE | _IGNORED) or "dropout" in key:
        return True
    if key.endswith("pdrop") or (key in _generation_keys() and not key.endswith("_id")):
        return True
    if key not in _DERIVE_LAYERS | _WINDOWS:
        return False
    layers = [each.get(f"{path.removesuffix(key)}layer_types") or () for each in (ours, theirs)]
    if not all(layers):
        return False
    windows = any(name in str(layers) for name in ("sliding", "chunked"))
    return key in _DERIVE_LAYERS or not windows


def _is_harmless(key: str, ours: Flat, theirs: Flat) -> bool:
    if key in _POSITIONS:  # extended rotary embeddings are computed from the limit
        kinds = [v for each in (ours, theirs) for k, v in each.items() if k.endswith("rope_type")]
        return set(kinds) <= {"default"}
    return key in _TOKEN_IDS or (key.endswith("_id") and key in _generation_keys())


def _generation_keys() -> set[str]:
    """Settings of generation, which old configs contain; a router may be called top_k, too."""
    from transformers import GenerationConfig

    return set(vars(GenerationConfig())) - {"top_k"}


def _equal(key: str, one: Any, two: Any) -> bool:
    if isinstance(one, float | int) and isinstance(two, float | int):
        if isinstance(one, bool) or isinstance(two, bool):
            return one is two
        return math.isclose(one, two, rel_tol=2e-7)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(_equal(key, a, b) for a, b in zip(one, two))
    if isinstance(one, str) and isinstance(two, str) and one != two and "act" in key:
        return _same_activation(one, two)
    return bool(one == two)


def _same_activation(one: str, two: str) -> bool:
    """Whether two names of transformers' activations stand for one function."""
    import torch
    from transformers.activations import ACT2FN

    if not {one, two} <= ACT2FN.keys():
        return False
    points = torch.linspace(-60, 60, 2401, dtype=torch.float64)
    try:
        return torch.allclose(ACT2FN[one](points), ACT2FN[two](points), rtol=0, atol=1e-6)
    except (RuntimeError, TypeError):  # those with weights of their own
        return False
