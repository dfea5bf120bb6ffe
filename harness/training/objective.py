"""Objectives: what a training run minimises, independent of the trainer that runs it.

An objective turns examples into batches and a batch into sums. The trainer
(`harness.training.trainer`) minimises

    loss = sum over terms of  (sum over the window) / (count over the window)

where the window is all micro-batches of one update on all processes. Each term has a count of its
own (tokens or rows), so that two micro-batches of four give exactly the loss and gradient of one
batch of eight, and two processes those of one, however unequal the lengths are.

    examples --collate--> batch --counts--> {term: count}, before the first forward pass
                            |
                            +-----sums----> {term: (sum, count)}, and values that are only logged

This module loads without torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

Batch = Mapping[str, "Tensor"]
Counts = dict[str, "Tensor"]
Sums = dict[str, tuple["Tensor", "Tensor"]]  # name -> (sum, number of tokens or rows summed over)


class Examples(Protocol):
    """A training set, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...


class Objective(ABC):
    """One training objective."""

    def prepare(self, model: nn.Module) -> None:
        """Check that the model can be trained with this objective, and adjust it.

        The default refuses a model whose output head `harness.models.heads` cannot reproduce.
        """
        from harness.models.heads import check_head

        check_head(model)

    def rates(self) -> Mapping[str, float]:
        """Learning rates of parts of the model, by the beginning of their parameters' names."""
        return {}

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> Batch:
        """A batch of tensors from the elements of the training set."""

    @abstractmethod
    def counts(self, batch: Batch) -> Counts:
        """The count of each term in a batch, from the batch alone."""

    def scheduled(self, step: int, total: int) -> dict[str, float]:
        """Values that change during training, logged with each update.

        Args:
            step: finished updates.
            total: updates of the whole run.
        """
        return {}

    @contextmanager
    def held_out(self, total: int) -> Iterator[Mapping[str, float]]:
        """Around a measurement on held-out rows: the scheduled values for it.

        These are those of the end of the run, so that all points of a curve are of one loss. An
        objective with a state of its own puts it aside here, because measuring must not change the
        training.

        Args:
            total: updates of the whole run.
        """
        yield self.scheduled(total, total)

    @abstractmethod
    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        """Terms to minimise, and values that are only logged.

        Runs inside the model's forward pass, so that data-parallel wrappers see it. A logged value
        with the name of a term is logged in place of the term, for example without its weight.

        Args:
            scheduled: what `scheduled` returned for this update.

        Returns:
            (sum, count) of each term, with the counts that `counts` gives for the same batch; and
            (sum, count) of each logged value.
        """


def linear_ramp(
    step: int,
    *,
    start: float,
    end: float,
    start_step: int = 0,
    end_step: int,
    released: bool = False,
) -> float:
    """A straight line from `start` to `end`, constant outside.

    A ramp of length zero is `start` up to its only step and `end` after it.

    Raises:
        ZeroDivisionError: with `released`, at the only step of a ramp of length zero.

    >>> [linear_ramp(t, start=0.0, end=1.0, end_step=4) for t in (-1, 0, 1, 4, 9)]
    [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    if step < start_step:
        return start
    if step > end_step:
        return end
    if start_step == end_step and not released:
        return start
    return start + (end - start) * ((step - start_step) / (end_step - start_step))
