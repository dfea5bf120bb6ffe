"""Suppress progress bars and messages of lm-eval, which would break up Crucible's progress bar."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Context without progress bars and messages below errors from lm-eval and datasets."""
    import datasets
    import lm_eval.api.task
    import lm_eval.models.huggingface
    from tqdm import tqdm

    modules: list[Any] = [lm_eval.api.task, lm_eval.models.huggingface]
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [logger.level for logger in loggers]
    bars = datasets.is_progress_bar_enabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        for module in modules:  # not every call has an argument that disables the bar
            module.tqdm = partial(tqdm, disable=True)
        datasets.disable_progress_bars()
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
        for module in modules:
            module.tqdm = tqdm
        if bars:
            datasets.enable_progress_bars()
