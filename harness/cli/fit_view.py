"""Output of `crucible plan --fit`: how each stage would run on given GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from harness.core.errors import UserError
from harness.engine import costs

if TYPE_CHECKING:
    from harness.training.fitting.hardware import Hardware
    from harness.training.fitting.proposals import Proposal

HEADINGS = ("model", "GPUs", "split", "batch", "memory", "time", "disk")


def show_fit(
    console: Console, found: Sequence[Proposal], hardware: Hardware, weights: float = 0.0
) -> None:
    """Print one line per proposal, equal ones once, what does not fit, settings, and sums.

    Args:
        weights: GiB of the models that the plan reads.
    """
    if not found:
        console.print(f"\nfit {hardware}: no stage needs a GPU, as far as sizes are known")
        return
    table = Table(
        box=None, pad_edge=False, padding=(0, 1), width=None if console.is_terminal else 150
    )
    table.add_column(f"on {hardware}")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "split" else "right", no_wrap=True)
    groups = _alike(found)
    for same in groups:
        table.add_row(_named(same), *_cells(same))
    console.print()
    console.print(table, soft_wrap=not console.is_terminal)
    said = [f"{_named(same)}: {_problem(same[0])}" for same in groups if same[0].problem]
    for same in groups:
        said += [f"{_named(same)}: {', '.join(same[0].settings)}"] if same[0].settings else []
    for text in said + _summary(found, hardware, weights):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def check_fit(found: Sequence[Proposal], hardware: Hardware) -> None:
    """Refuse hardware on which the plan could not run.

    Raises:
        UserError: names the first stage that does not fit, and what it needs. Stages of unknown
            size may fit.
    """
    large = [one for one in found if one.problem and one.parameters_b is not None]
    if large:
        more = f" (nor do {len(large) - 1} others)" if len(large) > 1 else ""
        raise UserError(
            f'stage "{large[0].label}" does not fit {hardware}{more}: {large[0].problem}; give '
            "--fit larger GPUs, or change the recipe with --set"
        )


def _summary(found: Sequence[Proposal], hardware: Hardware, weights: float) -> list[str]:
    fitting = [one for one in found if not one.problem]
    seconds = sum(one.seconds for one in fitting if one.seconds is not None)
    disk = sum(one.disk_gib for one in found if one.disk_gib is not None)
    unknown = sum(one.parameters_b is None for one in found)
    lines = [
        f"{len(fitting)} of {len(found)} stages fit {hardware}"
        + (f", {unknown} are of unknown size" if unknown else "")
        + (f": {seconds / 3600:,.1f} h one after the other" if seconds else "")
        + f"; disk: at most {disk:,.0f} GiB of checkpoints, {weights:,.0f} GiB of models"
    ]
    if any(one.launch is not None for one in fitting):
        lines.append(
            "batch: rows per forward pass x accumulation steps x processes, together the batch of "
            "the recipe; ddp: whole models; fsdp: weights, gradients and moments divided; launch "
            "= { ... }: settings of the training (docs/scale.md)"
        )
    lines.append(
        f"assumed: {costs.PEAK / 1e12:.0f}e12 operations per second and GPU, of which training "
        f"reaches {costs.TRAINING_SHARE:.0%} and sampling {costs.SAMPLING_SHARE:.0%}, nothing lost "
        "to communication; memory at the longest sequences (docs/estimates.md)"
    )
    return lines


def _alike(found: Sequence[Proposal]) -> list[list[Proposal]]:
    """Proposals grouped by what is proposed, in order."""
    groups: dict[tuple[object, ...], list[Proposal]] = {}
    for one in found:
        key = (one.operation, one.parameters_b, one.launch, one.accumulation, one.tensor_parallel)
        groups.setdefault((*key, one.settings, one.problem), []).append(one)
    return list(groups.values())


def _named(same: Sequence[Proposal]) -> str:
    return same[0].label + (f" and {len(same) - 1} more" if len(same) > 1 else "")


def _cells(same: Sequence[Proposal]) -> tuple[str, ...]:
    first = same[0]
    size = "?" if first.parameters_b is None else f"{first.parameters_b:.3g} B"
    if first.problem:
        return (size, *[""] * (len(HEADINGS) - 1))
    seconds = [one.seconds for one in same if one.seconds is not None]
    disks = [one.disk_gib for one in same if one.disk_gib is not None]
    return (
        size,
        str(first.gpus),
        _split(first),
        _batch(first),
        "?" if first.gib is None else f"{first.gib:,.0f} GiB",
        f"{sum(seconds) / 3600:,.1f} h" if seconds else "?",
        f"{sum(disks):,.0f} GiB" if disks else "",
    )


def _split(one: Proposal) -> str:
    if one.launch is None:
        return f"tp {one.tensor_parallel} x {one.replicas}"
    several = {"none": "ddp", "fsdp": "fsdp"}[one.launch.sharding]
    words = (
        several if one.launch.processes > 1 else "whole",
        "lora" if one.adapters else "",
        "checkpointing" if one.launch.checkpointing else "",
    )
    return ", ".join(word for word in words if word)


def _batch(one: Proposal) -> str:
    if one.launch is None:
        return ""
    return f"{one.launch.rows} x {one.accumulation} x {one.launch.processes}"


def _problem(one: Proposal) -> str:
    return one.problem if one.parameters_b is None else f"does not fit: {one.problem}"
