"""Saving a trained model, so that nothing is lost at the end of a training.

    Saver.check    before the first update: everything that saving needs, tried for real
    Saver.keep     after the last update: weights and log alone, into the scratch folder
    Saver.save     the checkpoint: weights, configuration, tokenizer and log

`check` saves configuration, generation defaults and tokenizer into a trial folder and holds the
disk space of the weights until they are written. Should `save` fail or be killed all the same, the
stage finds the kept weights when it runs again (`Saver.finished`) and saves them without training.
"""

from __future__ import annotations

import copy
import errno
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialised
from torch import Tensor
from transformers import GenerationConfig, Trainer

from harness.core.errors import BadData, CrucibleError, StoreProblem
from harness.core.hashing import finite
from harness.engine.integrity import files_problem, list_files, listed_files_are_sound
from harness.engine.io import atomic_folder, disk_errors, read_json, write_json
from harness.engine.operations import Context
from harness.models.rows import embedding_rows, tokenizer_ids
from harness.training.settings import RunSettings

WEIGHTS, LOG, LISTING = "weights.safetensors", "training_log.json", "files.json"
COPIES = 2  # of the weights: kept, and in the checkpoint
STATE = 3  # weights and both moments of Adam in a checkpoint to resume from
LINE = 1024  # bytes at most of an entry of the log, and of a tensor in a file's header
SLACK = 1 << 16  # bytes that files take in whole blocks
KEPT_CHECKPOINTS = 3  # two, and the one being written
MOSTLY = 0.9  # share of the embedding's rows that a model's own tokenizer uses at least

State = dict[str, Tensor]


class Saver:
    """Saves what one run has trained.

    Args:
        model: transformers model before training, in the weights that training changes.
    """

    def __init__(self, model: Any, tokenizer: Any, params: RunSettings, context: Context) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.dtype: torch.dtype = getattr(torch, params.dtype)
        self.params = params
        self.context = context
        self._kept = context.scratch / "trained"
        self._generation: GenerationConfig | None = None

    @property
    def finished(self) -> bool:
        """Whether an earlier attempt trained to the end and kept its weights, unharmed."""
        if not self._kept.is_dir():
            return False
        listing = self._kept / LISTING
        if listing.exists():
            sound = listed_files_are_sound(listing)
        else:  # of an earlier version
            sound = not files_problem(self._kept, {})
        if not sound:
            shutil.rmtree(self._kept)
        return sound

    def check(self, updates: int, *, main: bool = True) -> None:
        """Try everything that saving needs, and say what it will do differently.

        Args:
            updates: of the whole run, for the space of checkpoints to resume from.
            main: whether this process is the one that saves.

        Raises:
            BadData: the model or tokenizer cannot be saved.
            StoreProblem: too little disk space, or a folder that cannot be written.
        """
        self._settle_generation()
        for text in _oddities(self.model, self.tokenizer):
            self.context.note(text)
        _check_types(self.model, self.dtype)
        if not main:
            return
        trial = self.context.scratch / "trial"
        try:
            with disk_errors(trial):
                shutil.rmtree(trial, ignore_errors=True)
                self._save_all_but_weights(trial)
        except CrucibleError:
            raise
        except Exception as error:
            raise BadData(
                f"{self.model.name_or_path}: this model could not be saved after training, so "
                f"nothing was trained: {_one_line(error)}"
            ) from error
        else:
            beside = sum(path.stat().st_size for path in trial.rglob("*")) + LINE * updates
        finally:
            shutil.rmtree(trial, ignore_errors=True)
        self._hold_space(updates, beside)

    def keep(self, trainer: Trainer, log: Mapping[str, Any]) -> None:
        """Write the trained weights and the log alone, on disk before this returns."""
        state = self._state(trainer)
        if state is None:
            return
        _reserved(self.context.scratch, 0).unlink(missing_ok=True)
        try:
            with atomic_folder(self._kept) as folder:
                save_file(_apart(state, ()), folder / WEIGHTS)
                write_json(folder / LOG, log)
                list_files(folder, folder / LISTING)
        except Exception as error:  # saving may succeed all the same
            self.context.note(f"trained weights could not be kept apart: {_one_line(error)}")

    def load_kept(self) -> None:
        """Give the model the weights of the earlier attempt."""
        self.model.load_state_dict(load_file(self._kept / WEIGHTS))

    def kept_log(self) -> dict[str, Any]:
        """training_log.json of the earlier attempt."""
        found: dict[str, Any] = read_json(self._kept / LOG)
        return found

    def save(self, trainer: Trainer, log: Mapping[str, Any]) -> None:
        """Write checkpoint, tokenizer and training_log.json into the folder of the stage.

        Raises:
            CrucibleError: it failed; the trained weights are kept.
        """
        state = self._state(trainer)
        if state is None:
            return
        for number in range(COPIES):
            _reserved(self.context.scratch, number).unlink(missing_ok=True)
        folder = self.context.directory
        self.model.config.use_cache = True  # gradient checkpointing and TRL turn it off
        try:
            with disk_errors(folder, kept=f"the trained weights are kept in {self._kept}"):
                self.model.save_pretrained(
                    folder, state_dict=_apart(state, self.model.all_tied_weights_keys)
                )
                self._save_generation(folder)
                self.tokenizer.save_pretrained(folder)
                write_json(folder / LOG, log)
        except StoreProblem:
            raise
        except Exception as error:
            raise CrucibleError(
                f"the training is finished, but saving failed: {_one_line(error)}; the trained "
                f"weights are kept in {self._kept}: run the command again to save them without "
                "training"
            ) from error

    def _state(self, trainer: Trainer) -> State | None:
        """Trained weights in the type of the checkpoint, in the main process; None in others."""
        gathered = None
        if trainer.accelerator.num_processes > 1:
            gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        if not trainer.is_world_process_zero():
            return None
        if gathered is None:
            gathered = self.model.to(self.dtype).state_dict()
        self.model.config.dtype = self.dtype
        return {
            name: value.to(self.dtype) if value.is_floating_point() else value
            for name, value in gathered.items()
        }

    def _save_all_but_weights(self, folder: Path) -> None:
        dtype = self.model.config.dtype
        self.model.save_pretrained(folder, state_dict={})
        self.model.config.dtype = dtype
        self._save_generation(folder)
        self.tokenizer.save_pretrained(folder)

    def _settle_generation(self) -> None:
        """Put decoding defaults aside that transformers refuses to write.

        Crucible never uses them: they are written as they were, and checkpoints to resume from do
        without.
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
            self.context.note(
                f"generation_config.json has settings that contradict each other "
                f"({', '.join(flags) or _one_line(error)}); they are saved as they are"
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
            folder / "generation_config.json", use_diff=True, keys_to_pop=["compile_config"]
        )

    def _hold_space(self, updates: int, beside: int) -> None:
        """Hold the disk space of the trained model, and check that of checkpoints.

        Args:
            beside: bytes of what is saved beside the weights.

        Raises:
            StoreProblem: there is less, or files may not be as large.
        """
        folder = self.context.scratch
        numbers = [p.numel() for p in self.model.state_dict().values()]
        size = sum(numbers) * self.dtype.itemsize + beside + LINE * len(numbers) + SLACK
        saves = 0 if self.params.save_steps is None else updates // self.params.save_steps
        resumable = min(saves, KEPT_CHECKPOINTS) * STATE * sum(numbers) * torch.float32.itemsize
        for number in range(COPIES):
            _reserved(folder, number).unlink(missing_ok=True)
        with disk_errors(folder):
            free = shutil.disk_usage(folder).free
        need = f"the trained model needs {_gb(size)} twice until it is complete"
        if resumable:
            need += f", checkpoints up to {_gb(resumable)} (save_steps)"
        remedy = "free some space, or choose another disk (for the store: CRUCIBLE_HOME)"
        if free < COPIES * size + resumable:
            raise StoreProblem(f"{folder} has {_gb(free)} left, but {need}: {remedy}")
        try:
            for number in range(COPIES):
                _hold(_reserved(folder, number), size)
        except OSError as error:
            for number in range(COPIES):
                _reserved(folder, number).unlink(missing_ok=True)
            if error.errno == errno.EFBIG:
                remedy = "raise the limit on the size of files (ulimit -f)"
            raise StoreProblem(
                f"{folder} cannot take the trained model ({error.strerror}): {need}; {remedy}"
            ) from None


def step_log(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The log entries of updates, without those that contain run times."""
    return [
        {key: finite(value) if isinstance(value, float) else value for key, value in entry.items()}
        for entry in history
        if "loss" in entry
    ]


def _reserved(folder: Path, number: int) -> Path:
    return folder / f"reserved-{number}"


def _hold(path: Path, size: int) -> None:
    """Reserve space on disk, where the file system can."""
    with path.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, max(1, size))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _apart(state: State, tied: Iterable[str]) -> State:
    """A state whose tensors share no memory, except those that the model declares as tied.

    safetensors does not write shared memory; a shared tensor is written once for each name.
    """
    seen: set[tuple[torch.device, int]] = set()
    declared, found = set(tied), {}
    for name, value in state.items():
        place = (value.device, value.untyped_storage().data_ptr())
        if name in declared:
            found[name] = value
            continue
        found[name] = (value.clone() if place in seen else value).contiguous()
        seen.add(place)
    return found


def _check_types(model: Any, dtype: torch.dtype) -> None:
    """Refuse tensors that safetensors cannot write."""
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise BadData(
                f"{model.name_or_path}: {name} is no tensor but {type(value).__name__}, which a "
                "checkpoint cannot store; nothing was trained"
            )
        kind = dtype if value.is_floating_point() else value.dtype
        try:
            serialised({"value": torch.zeros(1, dtype=kind)})
        except Exception as error:
            raise BadData(
                f"{model.name_or_path}: {name} has type {kind}, which a checkpoint cannot store "
                f"({_one_line(error)}); nothing was trained"
            ) from error


def _oddities(model: Any, tokenizer: Any) -> list[str]:
    """What is unusual about a model and does not stop its training."""
    found, tied = [], dict(model.all_tied_weights_keys)
    places: dict[tuple[torch.device, int], list[str]] = {}
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor) and name not in tied:
            place = (value.device, value.untyped_storage().data_ptr())
            places.setdefault(place, []).append(name)
    if shared := [names for names in places.values() if len(names) > 1]:
        found.append(
            f"{' and '.join(shared[0][:2])} are one tensor, which the model does not declare; they "
            "are saved as two equal ones"
        )
    head = model.get_output_embeddings()
    ties = head is not None and bool(model.config.get_text_config().tie_word_embeddings)
    if ties and head.weight is not model.get_input_embeddings().weight:
        found.append(
            "config.json ties the output head to the embedding, but the checkpoint has two "
            "different ones; they are trained and saved apart"
        )
    rows, ids = embedding_rows(model), tokenizer_ids(tokenizer)
    if ids < MOSTLY * rows:
        found.append(
            f"the tokenizer has {ids} ids, the embedding {rows} rows: check that both belong to "
            "the same model"
        )
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
