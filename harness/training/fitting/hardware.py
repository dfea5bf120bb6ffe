"""GPUs of one kind, as written for `crucible plan --fit`: "8x80GB"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.core.errors import UserError

GIB = 2**30
MOST_GPUS = 65_536
MOST_GIB = 1_024.0  # of one GPU
LARGEST = 288  # GiB of the largest that is made (2025); larger ones are understood, not proposed
# Makers say GB and mean GiB: a card of 80 GB has 80 GiB of memory.
_HARDWARE = re.compile(
    r"([0-9]{1,9})\s*[x×*]\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?:g|gb|gib)?", re.IGNORECASE
)
_EXPECTED = 'expected their number and the memory of each, such as "8x80GB" or "4x24GiB"'


@dataclass(frozen=True)
class Hardware:
    """Equal GPUs.

    Attributes:
        gib: memory of each.
    """

    count: int
    gib: float

    @property
    def usable(self) -> float:
        """Bytes of a GPU that a plan may fill: 5 % are left to fragmentation."""
        return 0.95 * self.gib * GIB

    def __str__(self) -> str:
        """
        >>> str(Hardware(8, 80.0)), str(Hardware(1, 47.5))
        ('8x80GB', '1x47.5GB')
        """
        return f"{self.count}x{self.gib:g}GB"


def parse_hardware(text: str) -> Hardware:
    """GPUs from text.

    Raises:
        UserError: it is something else, or no GPUs that exist.

    >>> parse_hardware("8x80GB"), parse_hardware("4 x 24 GiB"), parse_hardware("1x80").gib
    (Hardware(count=8, gib=80.0), Hardware(count=4, gib=24.0), 80.0)
    """
    found = _HARDWARE.fullmatch(text.strip())
    if found is None:
        raise UserError(f'"{text}" does not name GPUs; {_EXPECTED}')
    count, gib = int(found[1]), float(found[2])
    if not 1 <= count <= MOST_GPUS or not 1 <= gib <= MOST_GIB:
        raise UserError(
            f'"{text}" names no GPUs that exist; {_EXPECTED}: 1 to {MOST_GPUS:,} of them, with 1 '
            f"to {MOST_GIB:,.0f} GB each"
        )
    return Hardware(count, gib)
