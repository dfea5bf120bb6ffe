"""The rows of an update, divided over processes: each row once, in the order of one process.

accelerate gives every process as many batches, and repeats rows where those of an epoch do not
suffice; they would count twice. Here the rows of an epoch are followed by blanks up to a whole
number of batches of all processes. Blanks are taken out of batches; a batch of blanks alone is
replaced by one row that counts nothing, because wrappers of the model communicate in each pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Dataset, Sampler

from harness.training.objective import Examples


class Blank:
    """Stands for no row."""


class Filled(Dataset[Any]):
    """Rows, and blanks up to a multiple of `size`."""

    def __init__(self, rows: Examples, size: int) -> None:
        self.rows, self.size = rows, size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size) * self.size

    def __getitem__(self, place: int) -> Any:
        return self.rows[place] if place < len(self.rows) else Blank()


class RowsThenBlanks(Sampler[int]):
    """The random order of one process, then the blanks."""

    def __init__(self, filled: Filled, seed: int) -> None:
        self.filled = filled
        self._order = SeedableRandomSampler(range(len(filled.rows)), data_seed=seed)

    def __len__(self) -> int:
        return len(self.filled)

    def __iter__(self) -> Iterator[int]:
        yield from self._order
        yield from range(len(self.filled.rows), len(self.filled))

    def set_epoch(self, epoch: int) -> None:
        self._order.set_epoch(epoch)


class Shared:
    """A transformers.Trainer whose processes share the rows of each update; first of its bases."""

    accelerator: Any
    args: Any
    train_dataset: Any
    data_collator: Any

    def share_rows(self) -> None:
        """To be called once the trainer has its rows."""
        processes = self.accelerator.num_processes
        if processes > 1:
            size = processes * self.args.per_device_train_batch_size
            self.train_dataset = Filled(self.train_dataset, size)
            self._collate_rows, self.data_collator = self.data_collator, self._collate_filled

    def counts_nothing(self, batch: Any) -> Any:
        """The same batch, whose rows are not trained."""
        raise NotImplementedError

    def _collate_filled(self, examples: Sequence[Any]) -> Any:
        rows = [row for row in examples if not isinstance(row, Blank)]
        if rows:
            return self._collate_rows(rows)
        return self.counts_nothing(self._collate_rows([self.train_dataset.rows[0]]))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(dataset, Filled):
            return RowsThenBlanks(dataset, self.args.data_seed)
        return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
