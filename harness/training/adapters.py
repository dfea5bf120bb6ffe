"""LoRA adapters in a model that is trained, by peft; see `harness.training.settings.LoraSettings`.

    adapt             before the first update: adapters in the model, its own weights frozen
    without_adapters  the model as it was: the reference policy, without a second copy of it
    Adapters          after the last update: adapters merged into the weights, taken out, saved

A frozen base is held in the `dtype` of the run, adapters and their optimiser state in float32.
"""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from harness.core.errors import BadData, EnvironmentProblem, MissingExtra
from harness.engine.io import read_json, write_json
from harness.models.completeness import quantisation
from harness.training.gathering import WHOLE
from harness.training.parts import Parts, one_line
from harness.training.settings import LoraSettings, RunSettings

ADAPTERS = "adapter"  # folder of them in the artifact of a training
_NAME = "default"  # peft's own name of a model's first adapters
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # as peft calls them


def adapt(model: Any, params: RunSettings) -> Any:
    """The model with adapters by `params.lora`; unchanged without.

    Of `Parts` the language models get adapters. The first values depend on `params.seed` alone.

    Raises:
        BadData: targets that are not linear layers of the model, or a model for 4 bits that was
            loaded otherwise.
        MissingExtra: peft is not installed.
    """
    lora = params.lora
    if lora is None:
        return model
    if isinstance(model, Parts):
        for name in model.language_models:
            model.models[name] = adapt(model[name], params)
        return model
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtra("peft", "train") from None
    _check_targets(model, lora)
    in_bits = bool(quantisation(model.config))
    if lora.quantise is not None and not in_bits:
        raise BadData(
            f'{model.name_or_path}: lora.quantise = "{lora.quantise}" is for causal language '
            "models alone; leave it out"
        )
    if not in_bits:
        for parameter in model.parameters():  # not the buffers: rotary frequencies need float32
            parameter.data = parameter.data.to(getattr(torch, params.dtype))
    everything = lora.targets == "all-linear"
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if everything else list(lora.targets),
    )
    with torch.random.fork_rng(devices=[]):  # the trainer seeds everything again
        torch.manual_seed(params.seed)
        return get_peft_model(model, config)


def without_adapters(model: Any) -> AbstractContextManager[None]:
    """A block in which an adapted model is its base."""
    block: AbstractContextManager[None] = model.disable_adapter()
    return block


class Adapters:
    """The adapters of a module after `adapt`."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._wrapped: dict[str, Any] = {"": module}
        if isinstance(module, Parts):
            self._wrapped = {name: module[name] for name in module.language_models}
        self._files: dict[str, tuple[dict[str, Any], dict[str, Tensor]]] = {}

    def plain(self) -> Any:
        """The same module without peft's wrappers: its tensors are the same."""
        bases = {name: wrapped.get_base_model() for name, wrapped in self._wrapped.items()}
        if not isinstance(self._module, Parts):
            return bases[""]
        return Parts({**dict(self._module.models.items()), **bases})

    def numbers(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self._module.parameters() if p.requires_grad)

    def resumable(self) -> int:
        """How many numbers a checkpoint to resume from has: weights and both moments of Adam.

        peft leaves a frozen base out; of `Parts` all weights are written.
        """
        weights = self._module.parameters() if isinstance(self._module, Parts) else ()
        return 3 * self.numbers() + sum(p.numel() for p in weights if not p.requires_grad)

    def merge(self, dtype: torch.dtype) -> None:
        """Merge the adapters into the weights and take them out of the module; see `write`.

        The sum W + (alpha / rank) B A is made in float32, one layer after the other, and rounded to
        `dtype`. Weights in 4 bits are widened on the CPU, where they need not fit on a GPU.
        """
        for name, wrapped in self._wrapped.items():
            self._files[name] = _files_of(wrapped)
            _merge(wrapped, dtype)

    def write(self, folder: Path) -> None:
        """Save the merged adapters alone, for peft."""
        for name, (config, state) in self._files.items():
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            write_json(place / _CONFIG, config)
            save_file(state, place / _WEIGHTS, metadata={"format": "pt"})

    def replace(self, folder: Path) -> None:
        """Take the adapters out of the module, unmerged; `write` saves those in a folder again."""
        for name, wrapped in self._wrapped.items():
            _unload(wrapped)
            place = folder / name
            self._files[name] = read_json(place / _CONFIG), load_file(place / _WEIGHTS)


def _files_of(wrapped: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of adapters, the same for the same adapters on every machine."""
    from peft import get_peft_model_state_dict

    config = {**wrapped.peft_config[_NAME].to_dict(), "inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    if Path(str(config["base_model_name_or_path"])).exists():  # a folder of this machine
        config["base_model_name_or_path"] = None
    state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    return config, {name: value.detach().cpu().contiguous() for name, value in state.items()}


def _merge(wrapped: Any, dtype: torch.dtype) -> None:
    from peft.tuners.lora import LoraLayer

    modules = wrapped.get_base_model().named_modules()
    layers = [(name, layer) for name, layer in modules if isinstance(layer, LoraLayer)]
    plain = _unload(wrapped)
    with torch.no_grad():
        for name, layer in layers:
            weight = plain.get_submodule(name).weight
            added = layer.get_delta_weight(_NAME).float().to(weight.device)
            weight.data = (weight.data.float() + added).to(dtype)


def _unload(wrapped: Any) -> Any:
    plain = wrapped.unload()
    return plain.to("cpu").dequantize() if quantisation(plain.config) else plain


def _check_targets(model: Any, lora: LoraSettings) -> None:
    """Refuse targets that are no linear layers.

    The head is none of them: log-probabilities are computed from its own weight.
    """
    head = model.get_output_embeddings()
    linear = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D)
    }
    names = sorted({name.rpartition(".")[2] for name, layer in linear.items() if layer is not head})
    for target in () if lora.targets == "all-linear" else lora.targets:
        hits = [one for name, one in linear.items() if f".{name}".endswith(f".{target}")]
        if head is not None and any(one is head for one in hits):
            raise BadData(
                f'{model.name_or_path}: lora.targets names "{target}", the output head, which '
                f"cannot have an adapter; expected some of {', '.join(names)}"
            )
        if not hits:
            raise BadData(
                f'{model.name_or_path}: lora.targets names "{target}", but no linear layer of the '
                f'model is called so; expected some of {", ".join(names)}, or "all-linear"'
            )
    if not names:
        raise BadData(f"{model.name_or_path}: the model has no linear layer that could be adapted")


def check_kernel(device: str) -> None:
    """Refuse a base in 4 bits where nothing can run it.

    Raises:
        EnvironmentProblem: no GPU, or bitsandbytes does not work on it.
        MissingExtra: bitsandbytes is not installed.
    """
    if device.partition(":")[0] != "cuda" or not torch.cuda.is_available():
        raise EnvironmentProblem(
            f'lora.quantise = "nf4" needs a CUDA GPU, but this run is on "{device}"; leave it out'
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("bitsandbytes", "qlora")
    try:
        from bitsandbytes.functional import quantize_4bit

        quantize_4bit(torch.ones(64, device=device), quant_type="nf4")
    except Exception as error:
        raise EnvironmentProblem(
            f'lora.quantise = "nf4": bitsandbytes does not work on this GPU ({one_line(error)}); '
            "install a version for it, or leave quantise out"
        ) from error


def check_processes(accelerator: Any, what: str) -> None:
    """Refuse processes that divide the weights of one model.

    Args:
        what: is trained, and is put together by a process that has the whole model.

    Raises:
        EnvironmentProblem: naming the kind of launch.
    """
    kind = accelerator.distributed_type.value
    if kind not in WHOLE:
        raise EnvironmentProblem(
            f"{what} are trained by processes that have the whole model each; found a launch of "
            f'type {kind}, expected {" or ".join(WHOLE[1:])}: set launch.config = "ddp"'
        )
