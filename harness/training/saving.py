"""Saving a trained model, so that nothing is lost at the end of a training.

    Saver.check    before the first update: everything that saving needs, tried for real
    Saver.keep     after the last update: weights and log alone, into the scratch folder
    Saver.save     the checkpoint: weights, configuration, tokenizer and log

Weights are written in files of limited size, each freed before the next one is filled: the main
process holds one file and one tensor of a model that processes divide. The checkpoint is written
from the kept weights, which are mapped into memory and not read.

`check` saves configuration, generation defaults and tokenizer into a trial folder and holds the
disk space of the weights until they are written. Should `save` fail or be killed all the same, the
stage finds the kept weights when it runs again (`Saver.finished`) and saves them without training.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from transformers import Trainer

from harness.core.errors import BadData, CrucibleError, StoreProblem
from harness.core.hashing import finite
from harness.engine.integrity import files_problem, list_files, listed_files_are_sound
from harness.engine.io import atomic_folder, disk_errors, read_json, write_json
from harness.engine.operations import Context
from harness.training.adapters import ADAPTERS, Adapters
from harness.training.gathering import whole_tensors
from harness.training.held_out import LOG
from harness.training.parts import check_types, checkpoints_of, one_line
from harness.training.settings import RunSettings
from harness.training.weight_files import State, mapped, write_files

KEPT = "trained"  # folder in the scratch folder of a stage
LISTING = "files.json"
COPIES = 2  # of the weights: kept, and in the checkpoint
STATE = 3  # weights and both moments of Adam in a checkpoint to resume from
LINE = 1024  # bytes at most of an entry of the log, and of a tensor in a file's header
SLACK = 1 << 16  # bytes that files take in whole blocks
KEPT_CHECKPOINTS = 3  # two, and the one being written


class Saver:
    """Saves what one run has trained.

    Args:
        model: transformers model before training, in the weights that training changes, or several
            as `Parts`.
        tokenizer: that of the model; of `Parts`, a mapping by name.
    """

    def __init__(self, model: Any, tokenizer: Any, params: RunSettings, context: Context) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.dtype: torch.dtype = getattr(torch, params.dtype)
        self.params = params
        self.context = context
        self._kept = context.scratch / KEPT
        self._adapters = None if params.lora is None else Adapters(model)
        if self._adapters is not None:
            self.model = self._adapters.plain()
        self._checkpoints = checkpoints_of(self.model, tokenizer)
        self._tied = {name: main for each in self._checkpoints for name, main in each.tied()}
        self._is_kept = False

    @property
    def finished(self) -> bool:
        """Whether an earlier attempt trained to the end and kept its weights, unharmed."""
        return kept_is_sound(self.context.scratch)

    def check(self, updates: int, *, main: bool = True) -> None:
        """Try everything that saving needs, and say what it will do differently.

        Args:
            updates: of the whole run, for the space of checkpoints to resume from.
            main: whether this process is the one that saves.

        Raises:
            BadData: the model or tokenizer cannot be saved.
            StoreProblem: too little disk space, or a folder that cannot be written.
        """
        for checkpoint in self._checkpoints:
            for text in [*checkpoint.settle_generation(), *checkpoint.oddities()]:
                self.context.note(text)
        check_types(self.model, self.dtype)
        if not main:
            return
        trial = self.context.scratch / "trial"
        try:
            with disk_errors(trial):
                shutil.rmtree(trial, ignore_errors=True)
                for checkpoint in self._checkpoints:
                    checkpoint.save_all_but_weights(trial)
        except CrucibleError:
            raise
        except Exception as error:
            raise BadData(
                f"{self.model.name_or_path}: this model could not be saved after training, so "
                f"nothing was trained: {one_line(error)}"
            ) from error
        else:
            beside = sum(p.stat().st_size for p in trial.rglob("*") if p.is_file()) + LINE * updates
        finally:
            shutil.rmtree(trial, ignore_errors=True)
        self._hold_space(updates, beside)

    def keep(self, trainer: Trainer, log: Mapping[str, Any]) -> None:
        """Write the trained weights and the log alone, on disk before this returns.

        Adapters are merged into the weights before, for all that follows.
        """
        if self._adapters is not None:
            self._adapters.merge(self.dtype)
        main, weights = trainer.is_world_process_zero(), self._weights(trainer)
        try:
            if main:
                self._write(weights, log)
            self._is_kept = main
        except Exception as error:  # saving may succeed all the same
            self.context.note(f"trained weights could not be kept apart: {one_line(error)}")
        for _ in weights:  # divided weights are put together by all processes
            pass
        (self._is_kept,) = broadcast_object_list([self._is_kept])

    def _write(self, weights: Iterator[tuple[str, Tensor]], log: Mapping[str, Any]) -> None:
        _reserved(self.context.scratch, 0).unlink(missing_ok=True)
        with atomic_folder(self._kept) as folder:
            write_files(folder, weights)
            write_json(folder / LOG, log)
            if self._adapters is not None:
                self._adapters.write(folder / ADAPTERS)
            list_files(folder, folder / LISTING)

    def load_kept(self) -> None:
        """Use the weights of the earlier attempt, adapters merged."""
        if self._adapters is not None:
            self._adapters.replace(self._kept / ADAPTERS)
        self._is_kept = True

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
        if not trainer.is_world_process_zero():
            return
        for number in range(COPIES):
            _reserved(self.context.scratch, number).unlink(missing_ok=True)
        folder = self.context.directory
        try:
            with disk_errors(folder, kept=f"the trained weights are kept in {self._kept}"):
                for checkpoint in self._checkpoints:
                    checkpoint.save(folder, state, self.dtype)
                if self._adapters is not None:
                    self._adapters.write(folder / ADAPTERS)
                write_json(folder / LOG, log)
        except StoreProblem:
            raise
        except Exception as error:
            raise CrucibleError(
                f"the training is finished, but saving failed: {one_line(error)}; the trained "
                f"weights are kept in {self._kept}: run the command again to save them without "
                "training"
            ) from error

    def _state(self, trainer: Trainer) -> State:
        """Trained weights in the type of the checkpoint, of the main process."""
        state = mapped(self._kept) if self._is_kept else dict(self._weights(trainer))
        return state | {name: state[main] for name, main in self._tied.items() if main in state}

    def _weights(self, trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
        """Names and trained tensors for the checkpoint; a tensor that is tied under one of them."""
        return whole_tensors(trainer, self.model, self.dtype, self._tied)

    def _hold_space(self, updates: int, beside: int) -> None:
        """Hold the disk space of the trained model, and check that of checkpoints.

        Args:
            beside: bytes of what is saved beside the weights.

        Raises:
            StoreProblem: there is less, or files may not be as large.
        """
        folder = self.context.scratch
        numbers = [_numbers(value) for value in self.model.state_dict().values()]
        size = sum(numbers) * self.dtype.itemsize + beside + LINE * len(numbers) + SLACK
        saves = 0 if self.params.save_steps is None else updates // self.params.save_steps
        each = STATE * sum(numbers)
        if self._adapters is not None:
            size += self._adapters.numbers() * torch.float32.itemsize
            each = self._adapters.resumable()
        resumable = min(saves, KEPT_CHECKPOINTS) * each * torch.float32.itemsize
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


def kept_is_sound(scratch: Path) -> bool:
    """Whether a stage's scratch folder has weights that were trained to the end, unharmed.

    Others are deleted.
    """
    kept = scratch / KEPT
    if not kept.is_dir():
        return False
    listing = kept / LISTING
    # An earlier version kept none.
    sound = listed_files_are_sound(listing) if listing.exists() else not files_problem(kept, {})
    if not sound:
        shutil.rmtree(kept)
    return sound


def step_log(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The log entries of updates, without those that contain run times."""
    return [
        {key: finite(value) if isinstance(value, float) else value for key, value in entry.items()}
        for entry in history
        if "loss" in entry
    ]


def _numbers(tensor: Tensor) -> int:
    """How many numbers a tensor becomes in the checkpoint; of 4 bits, a byte has two."""
    return tensor.numel() * (2 if tensor.dtype == torch.uint8 else 1)


def _reserved(folder: Path, number: int) -> Path:
    return folder / f"reserved-{number}"


def _hold(path: Path, size: int) -> None:
    """Reserve space on disk, where the file system can."""
    with path.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
