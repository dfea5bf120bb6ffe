"""Checkpoints that one training changes: a model, or several models that learn together.

Parts          several models as one module; each is saved into a folder of its name
Checkpoint     what saving one of them needs: configuration, generation defaults, tokenizer
checkpoints_of the checkpoints of a module
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialised
from torch import Tensor, nn
from transformers import GenerationConfig

from harness.core.errors import BadData
from harness.models.rows import embedding_rows, tokenizer_ids
from harness.training import weight_files
from harness.training.weight_files import State, apart

MOSTLY = 0.9  # share of the embedding's rows that a model's own tokenizer uses at least


class Parts(nn.Module):
    """Transformers models that are trained together, by name.

    `forward` is that of none of them: an objective calls the parts.

    Args:
        language_models: names of those that get adapters where a run trains adapters
            (`RunSettings.lora`); all weights of the others are trained.
    """

    def __init__(self, models: Mapping[str, Any], language_models: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.language_models = language_models

    def __getitem__(self, name: str) -> Any:
        return self.models[name]

    @property
    def name_or_path(self) -> str:
        return " and ".join(str(model.name_or_path) for model in self.models.values())

    def forward(self, *args: Any, **options: Any) -> Any:
        raise TypeError("several models have no forward pass of their own; call one of them")

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        for model in self.models.values():
            model.gradient_checkpointing_enable(**options)


class Checkpoint:
    """One model with its tokenizer, and how it is saved.

    Args:
        folder: name of the folder inside that of the stage; "" for that one itself.
        prefix: of its tensors in the state of the whole module.
    """

    def __init__(self, model: Any, tokenizer: Any, folder: str = "", prefix: str = "") -> None:
        self.model, self.tokenizer = model, tokenizer
        self.folder, self.prefix = folder, prefix
        self._generation: GenerationConfig | None = None

    def settle_generation(self) -> Iterator[str]:
        """Put decoding defaults aside that transformers refuses to write.

        Crucible never uses them: they are written as they were, and checkpoints to resume from do
        without. Yields a sentence about them.
        """
        if not self.model.can_generate():
            return
        given = self.model.generation_config
        try:
            given.validate(strict=True)
        except ValueError as error:
            self._generation = copy.deepcopy(given)
            self.model.generation_config = GenerationConfig(
                bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id
            )
            flags = re.findall(r"^- `(\w+)`", str(error), re.MULTILINE)
            yield (
                f"generation_config.json has settings that contradict each other "
                f"({', '.join(flags) or one_line(error)}); they are saved as they are"
            )

    def _save_generation(self, folder: Path) -> None:
        if self._generation is None:
            return
        # The trainer may have given the model the end token of its tokenizer.
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = self.model.generation_config.to_dict().get(name)
            if value is not None:
                self._generation.update(**{name: value})
        self._generation.to_json_file(
            folder / "generation_config.json", keys_to_pop=["compile_config"]
        )

    def save_all_but_weights(self, stage: Path) -> None:
        """Try what saving writes beside the weights, into a folder for all checkpoints."""
        folder = stage / self.folder
        dtype = self.model.config.dtype
        self.model.save_pretrained(folder, state_dict={})
        self.model.config.dtype = dtype
        self._save_generation(folder)
        self.tokenizer.save_pretrained(folder)

    def save(self, stage: Path, state: State, dtype: torch.dtype) -> None:
        """Write the checkpoint.

        Args:
            state: of the whole module; what is written is taken out of it.
        """
        folder = stage / self.folder
        self.model.config.use_cache = True  # gradient checkpointing and TRL turn it off
        self.model.config.dtype = dtype
        own = {
            name.removeprefix(self.prefix): state.pop(name)
            for name in list(state)
            if name.startswith(self.prefix)
        }
        weights = apart(own, self.model.all_tied_weights_keys)
        del own  # so that what is written can be freed
        self.model.save_pretrained(
            folder, state_dict=weights, max_shard_size=weight_files.FILE_BYTES
        )
        self.model.config.dtype = dtype  # not that of the training's weights
        self.model.config.save_pretrained(folder)
        self._save_generation(folder)
        self.tokenizer.save_pretrained(folder)

    def tied(self) -> Iterator[tuple[str, str]]:
        """Names in the state of the whole module that are tied, and those they are tied to."""
        values, declared = self.model.state_dict(), self.model.all_tied_weights_keys
        for name, main in declared.items():
            both = name in values and main in values and main not in declared
            if both and values[name].data_ptr() == values[main].data_ptr():
                yield self.prefix + name, self.prefix + main

    def oddities(self) -> list[str]:
        """What is unusual about the model and does not stop its training."""
        model = self.model
        found, tied = [], dict(model.all_tied_weights_keys)
        places: dict[tuple[torch.device, int], list[str]] = {}
        for name, value in model.state_dict().items():
            if isinstance(value, Tensor) and name not in tied:
                place = (value.device, value.untyped_storage().data_ptr())
                places.setdefault(place, []).append(name)
        if shared := [names for names in places.values() if len(names) > 1]:
            found.append(
                f"{' and '.join(shared[0][:2])} are one tensor, which the model does not declare; "
                "they are saved as two equal ones"
            )
        head = model.get_output_embeddings()
        ties = head is not None and bool(model.config.get_text_config().tie_word_embeddings)
        if ties and head.weight is not model.get_input_embeddings().weight:
            found.append(
                "config.json ties the output head to the embedding, but the checkpoint has two "
                "different ones; they are trained and saved apart"
            )
        rows, ids = embedding_rows(model), tokenizer_ids(self.tokenizer)
        if ids < MOSTLY * rows:
            found.append(
                f"the tokenizer has {ids} ids, the embedding {rows} rows: check that both belong "
                "to the same model"
            )
        return found


def checkpoints_of(model: Any, tokenizer: Any) -> list[Checkpoint]:
    """The checkpoints of a module.

    Args:
        tokenizer: that of the model; a mapping by name for `Parts`.
    """
    if not isinstance(model, Parts):
        return [Checkpoint(model, tokenizer)]
    return [
        Checkpoint(part, tokenizer[name], name, f"models.{name}.")
        for name, part in model.models.items()
    ]


def check_types(model: Any, dtype: torch.dtype) -> None:
    """Refuse tensors that safetensors cannot write."""
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise BadData(
                f"{model.name_or_path}: {name} is no tensor but {type(value).__name__}, which a "
                "checkpoint cannot store; nothing was trained"
            )
        kind = dtype if value.is_floating_point() else value.dtype
        try:
            serialised({"value": torch.tensor([], dtype=kind)})
        except Exception as error:
            raise BadData(
                f"{model.name_or_path}: {name} has type {kind}, which a checkpoint cannot store "
                f"({one_line(error)}); nothing was trained"
            ) from error


def one_line(error: Exception) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
