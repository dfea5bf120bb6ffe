"""Common parts of training runs: arguments, progress, resumption.

A run writes checkpoints only on request (`save_steps`), into the scratch folder of the stage; a
killed stage resumes from the newest complete one, or from the end (`harness.training.saving`).
Nothing is reported to any service, no model card is made, and no telemetry leaves the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from harness.core.errors import BadData, CrucibleError, EnvironmentProblem
from harness.core.hashing import finite
from harness.engine.integrity import list_files, listed_files_are_sound
from harness.engine.io import read_json, write_json
from harness.engine.operations import Context
from harness.models.threads import one_core
from harness.training.adapters import check_kernel, check_processes
from harness.training.gathering import WHOLE
from harness.training.held_out import curve_of, passed_best
from harness.training.parts import Parts
from harness.training.saving import Saver, step_log
from harness.training.settings import RunSettings

COMPLETE = "complete"  # marker file in a checkpoint that was written completely
WRITTEN_BY = "launch.json"  # in a checkpoint, the processes that wrote it

A = TypeVar("A", bound=TrainingArguments)


def training_arguments(kind: type[A], params: RunSettings, context: Context, **extra: Any) -> A:
    """transformers.TrainingArguments, or a subclass `kind` with `extra` arguments, for a run.

    Raises:
        EnvironmentProblem: several GPUs are visible to this one process.
        BadData: a launch of processes that this run does not have.
    """
    on_cpu = context.device == "cpu"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if params.launch is not None and params.launch.processes != processes:
        raise BadData(
            f"this training runs in {processes} process{'' if processes == 1 else 'es'}, but its "
            f"settings ask for {params.launch.processes} (launch): leave launch out"
        )
    rows, passes = params.per_process
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        # Otherwise every process keeps the whole gradient until the last forward pass.
        extra["accelerator_config"] = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    if not on_cpu and torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ:
        raise EnvironmentProblem(
            f"{torch.cuda.device_count()} GPUs are visible to one process, which would split "
            "batches between them: set CUDA_VISIBLE_DEVICES=0 to train on one, or launch.processes "
            f"= {torch.cuda.device_count()} for all"
        )
    return kind(
        output_dir=str(context.scratch),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=passes,
        learning_rate=params.learning_rate,
        num_train_epochs=params.epochs,
        max_steps=params.max_steps or -1,
        lr_scheduler_type=params.scheduler,
        warmup_steps=params.warmup_ratio,  # a value below 1 is a share of all steps
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        seed=params.seed,
        data_seed=params.seed,
        bf16=params.dtype == "bfloat16",
        gradient_checkpointing=params.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        save_strategy="no" if params.save_steps is None else "steps",
        save_steps=params.save_steps or 1,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        **extra,
    )


class Progress(TrainerCallback):
    """Reports updates to the stage, marks complete checkpoints, and stops a run that diverges."""

    def __init__(self, context: Context, launch: dict[str, Any]) -> None:
        self.context = context
        self.launch = launch

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.context.progress(state.global_step, state.max_steps, unit="updates")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and finite(loss) is None:
            raise CrucibleError(
                f"training diverged: the loss at update {state.global_step} of {state.max_steps} "
                f"is {loss}; lower learning_rate or max_grad_norm"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if args.world_size > 1:  # until every process has written its part
            torch.distributed.barrier()
        if args.process_index == 0:
            write_json(folder / WRITTEN_BY, self.launch)
            list_files(folder, folder / COMPLETE)


def newest_checkpoint(scratch: Path) -> Path | None:
    """The newest checkpoint that was written completely and is still what was written, or None."""
    complete = [path.parent for path in scratch.glob(f"checkpoint-*/{COMPLETE}")]
    ordered = sorted(complete, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in ordered if listed_files_are_sound(path / COMPLETE)), None)


def run(trainer: Trainer, context: Context) -> None:
    """Train, resuming from the newest complete checkpoint if there is one.

    Raises:
        BadData: other processes have divided it.
    """
    launch = _launch_of(trainer)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress(context, launch))
    start = newest_checkpoint(context.scratch)
    if start is not None:
        _check_launch(start, launch)
    with one_core(trainer.model):
        trainer.train(resume_from_checkpoint=None if start is None else str(start))


def _launch_of(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint to resume from depends on: nothing where processes have the whole model."""
    kind = trainer.accelerator.distributed_type.value
    if kind in WHOLE:
        return {"processes": 1, "kind": "whole"}
    return {"processes": trainer.accelerator.num_processes, "kind": kind}


def _check_launch(checkpoint: Path, launch: dict[str, Any]) -> None:
    written = checkpoint / WRITTEN_BY
    found = read_json(written) if written.exists() else {"processes": 1, "kind": "whole"}
    if found != launch:
        was, now = (f"{one['processes']} ({one['kind']})" for one in (found, launch))
        raise BadData(
            f"{checkpoint} was written by other processes: found {was}, expected {now}; launch as "
            f"before, or delete {checkpoint.parent} to train from the beginning"
        )


def open_model(
    path: Path, params: RunSettings | None = None, device: str = "cpu"
) -> tuple[Any, Any]:
    """A model to train, in float32 on the CPU (the trainer moves it), and its tokenizer.

    A base in 4 bits (`params.lora.quantise`) is on `device`.

    Raises:
        BadData: as `load_causal_lm`; quantised weights, or weights that are not finite.
        EnvironmentProblem: there is nothing that runs a base in 4 bits.
    """
    from harness.models.checkpoints import load_causal_lm
    from harness.models.completeness import check_trainable

    if params is not None and params.lora is not None and params.lora.quantise is not None:
        check_kernel(device)
        return load_causal_lm(path, device, "bfloat16", fresh=True, quantise="nf4")
    model, tokenizer = load_causal_lm(path, "cpu", "float32", fresh=True)
    check_trainable(model.name_or_path, model)
    return model, tokenizer


def run_and_save(
    trainer: Trainer, tokenizer: Any, params: RunSettings, context: Context, held_out: int
) -> None:
    """Check what saving needs, train, and write checkpoint, tokenizer and training_log.json.

    An attempt that trained to the end and then failed to save, or was killed, is not trained again.
    A held-out loss that rose again before the end is noted.

    Args:
        held_out: number of rows of a curve in the trainer's history.

    Raises:
        BadData: the model or tokenizer cannot be saved.
        StoreProblem: too little disk space, or a folder that cannot be written.
    """
    if params.lora is not None:
        check_processes(trainer.accelerator, "adapters (lora)")
    elif isinstance(trainer.model, Parts):
        check_processes(trainer.accelerator, "models that learn together")
    saver = Saver(trainer.accelerator.unwrap_model(trainer.model), tokenizer, params, context)
    saver.check(_updates(trainer), main=trainer.is_world_process_zero())
    if saver.finished:
        saver.load_kept()
        log = saver.kept_log()
    else:
        run(trainer, context)
        history = trainer.state.log_history
        log = {"updates": trainer.state.global_step, "log": step_log(history)}
        log |= curve_of(history, held_out)
        saver.keep(trainer, log)
    if said := passed_best(log):
        context.note(said)
    saver.save(trainer, log)


def _updates(trainer: Trainer) -> int:
    """Updates of a whole run."""
    arguments = trainer.args
    rows = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    each = -(-len(trainer.train_dataset) // rows)
    return (
        arguments.max_steps if arguments.max_steps > 0 else ceil(arguments.num_train_epochs * each)
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off telemetry, even if huggingface_hub was imported before, and progress bars."""
    from huggingface_hub import constants
    from transformers.utils import logging

    sends, bars = not constants.HF_HUB_DISABLE_TELEMETRY, logging.is_progress_bar_enabled()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = not sends
        if bars:
            logging.enable_progress_bar()
