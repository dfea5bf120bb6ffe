"""Tables of numbers as bytes: few bits per number, and the same bytes on every machine.

    {"size": 3, "places": 1, "least": 15, "codes": 7, "data": bytes}    decimals of a narrow range
    {"size": 3, "values": [0.0, 50.0, None], "data": bytes}             few different numbers

A number is coded as its units of the last decimal place above `least`, the last code being None, or
as its place in `values`. Each row of `size` numbers is one whole number with a digit of base
`codes` for each, the first lowest, in as many bytes as the largest such number needs; `data` is
the rows one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.core.hashing import canonical_json

Number = float | None
_MOST_DECIMALS = 9
_EXACT = 2**53
_FEW = 300  # at most so many different numbers are listed


def table(rows: Sequence[Sequence[Number]]) -> dict[str, Any] | None:
    """Rows of equally many numbers as a table; None if they are not decimals that it restores.

    >>> rows_of(table([[1.5, None, 2.0], [3.0, 1.5, 1.5]]))
    [[1.5, None, 2.0], [3.0, 1.5, 1.5]]
    """
    sizes = {len(row) for row in rows}
    if len(sizes) != 1 or sizes == {0}:
        return None
    forms = [form for form in (_listed(rows), _units(rows)) if form is not None]
    if not forms:
        return None
    head, coded, codes = min(forms, key=lambda form: _cost(form[0], form[2], rows))
    size = sizes.pop()
    data = b"".join(joined(row, codes) for row in coded)
    return {"size": size, **head, "data": data}


def rows_of(stored: Any) -> list[list[Number]]:
    """The rows of a table; numbers without decimal places are int.

    Raises:
        ValueError: it is not a table.
    """
    try:
        size, data = stored["size"], stored["data"]
        values = stored.get("values")
        codes = len(values) if values is not None else stored["codes"]
        width = width_of(size, codes)
        places = range(0, len(data), width) if width else (0,)  # one number alone: one row
        coded = [split(data[at : at + width], size, codes) for at in places]
        if values is not None:
            return [[values[code] for code in row] for row in coded]
        least, scale, last = stored["least"], 10 ** stored["places"], codes - 1
        return [[_number(code, least, scale, last) for code in row] for row in coded]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"no table of numbers: {error}") from None


def width_of(size: int, codes: int) -> int:
    """Number of bytes of `size` digits of base `codes`."""
    return (int(codes**size - 1).bit_length() + 7) // 8


def joined(digits: Sequence[int], codes: int) -> bytes:
    """Digits of base `codes`, the first lowest, as bytes of the width of their number."""
    whole = 0
    for digit in reversed(digits):
        whole = whole * codes + digit
    return whole.to_bytes(width_of(len(digits), codes), "little")


def split(data: bytes, size: int, codes: int) -> list[int]:
    """The digits of `joined`."""
    whole, digits = int.from_bytes(data, "little"), []
    for _ in range(size):
        whole, digit = divmod(whole, codes)
        digits.append(digit)
    return digits


def _number(code: int, least: int, scale: int, last: int) -> Number:
    if code == last:
        return None
    return code + least if scale == 1 else (code + least) / scale


Form = tuple[dict[str, Any], list[list[int]], int]  # head, codes of the rows, number of codes


def _listed(rows: Sequence[Sequence[Number]]) -> Form | None:
    different = {number for row in rows for number in row}
    if len(different) > _FEW:
        return None
    values: list[Number] = [*sorted(number for number in different if number is not None)]
    values += [None] if None in different else []
    places = {number: place for place, number in enumerate(values)}
    return {"values": values}, [[places[n] for n in row] for row in rows], len(values)


def _units(rows: Sequence[Sequence[Number]]) -> Form | None:
    known = [number for row in rows for number in row if number is not None]
    for places in range(_MOST_DECIMALS + 1):
        if all(round(number, places) == number for number in known):
            break
    else:
        return None
    scale = 10**places
    if not known or max(abs(number) for number in known) * scale >= _EXACT:
        return None
    units = [[None if n is None else round(n * scale) for n in row] for row in rows]
    whole = [unit for row in units for unit in row if unit is not None]
    if places and any(unit / scale != number for unit, number in zip(whole, known, strict=True)):
        return None
    least, codes = min(whole), max(whole) - min(whole) + 2
    head = {"places": places, "least": least, "codes": codes}
    return head, [[codes - 1 if u is None else u - least for u in row] for row in units], codes


def _cost(head: dict[str, Any], codes: int, rows: Sequence[Sequence[Number]]) -> float:
    bits = math.log2(codes) * len(rows[0]) if codes > 1 else 0.0
    return len(canonical_json(head)) + len(rows) * math.ceil(bits / 8)
