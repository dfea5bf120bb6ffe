"""Statistics that are functions of sums over rows, by name, so that cells can declare theirs.

The catalogue's table STATISTICS names functions: sums (rounds, columns) -> values (rounds,) in the
cell's unit, NaN where undefined. A name may have whole numbers as arguments, such as
"label_macro_f1_worst:5". A resample in which a statistic is undefined has the value of the sample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import unknown
from harness.core.records import Resampled
from harness.engine.registry import load_target, table
from harness.stats.rows import sums_of_rows

Floats = NDArray[np.float64]
TABLE = "STATISTICS"


def replicates_of_columns(prompt_set: str, sample: Resampled, rounds: int) -> Floats | None:
    """The statistic of a sample with columns in each resample of its prompts: (rounds,).

    Returns:
        None if the sums are too large to be exact, or the sample does not define the statistic.

    Raises:
        UnknownName: no catalogue has the statistic.
    """
    sums = sums_of_rows(prompt_set, sample.columns, rounds, clusters=sample.clusters)
    if sums is None:
        return None
    values: Floats = np.asarray(statistic(sample.statistic)(sums), dtype=np.float64)
    if np.isnan(values[0]):
        return None
    return np.where(np.isnan(values[1:]), values[0], values[1:])


def statistic(name: str) -> Callable[[ArrayLike], Floats]:
    """The function that a name stands for; errors as `replicates_of_columns`.

    >>> float(statistic("percent")([[1.0, 4.0]])[0])
    25.0
    """
    known = table(TABLE)
    first, _, rest = name.partition(":")
    if first not in known:
        raise unknown("statistic", first, known)
    function = load_target(known[first])
    settings = [int(part) for part in rest.split(",")] if rest else []
    return lambda sums: function(sums, *settings)


def percent(sums: ArrayLike) -> Floats:
    """100 times the first of two sums over the second; NaN where that is 0."""
    table = np.asarray(sums, dtype=np.float64)
    part, whole = table[..., 0], table[..., 1]
    found: Floats = np.divide(100 * part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return found
