"""GPUs as they are written for `crucible plan --fit`."""

from __future__ import annotations

import pytest

from harness.core.errors import UserError
from harness.training.fitting.hardware import Hardware, parse_hardware


@pytest.mark.parametrize(
    ("text", "count", "gib"),
    [
        ("8x80GB", 8, 80),
        ("4x24GiB", 4, 24),
        ("1x80", 1, 80),
        (" 2 X 40 gb ", 2, 40),
        ("16×141G", 16, 141),
        ("8*79.5GB", 8, 79.5),
    ],
)
def test_number_and_memory_of_gpus(text: str, count: int, gib: float) -> None:
    found = parse_hardware(text)
    assert found == Hardware(count, gib)
    assert parse_hardware(str(found)) == found
    assert found.usable == pytest.approx(0.95 * gib * 2**30)


@pytest.mark.parametrize(
    "text",
    [
        "", "8", "80GB", "x80GB", "8x", "8xA100", "A100x8", "8x80TB", "8x80MB", "-1x80GB",
        "8x-80GB", "1e3x80", "8x80GBx2", "8x80GB, 4x24GB", "0x80GB", "8x0GB", "8x0.5GB",
        "8x5000GB", "nan x 80", "99999999x80GB", "9" * 5000 + "x80GB", "8x" + "9" * 5000,
        "8.5x80GB", "8x80\nGB?", "٨x80GB",
    ],
)  # fmt: skip
def test_nonsense_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match='such as "8x80GB" or "4x24GiB"') as found:
        parse_hardware(text)
    assert str(found.value).count(";") == 1
