"""Memory of processes: what they share counts once."""

from __future__ import annotations

import mmap
import os
import signal
import time

import pytest

from harness.verification import memory
from harness.verification.memory import Meter, family_of, memory_of, resident_of, shared_of


def test_shared_memory_counts_once() -> None:
    shared = mmap.mmap(-1, 64 << 20)
    shared.write(b"x" * (64 << 20))
    read, write = os.pipe()
    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            len(shared[:])
            os.write(write, b"x")
            time.sleep(60)
            os._exit(0)
        children.append(child)
    try:
        for _ in children:
            os.read(read, 1)
        family = family_of(os.getpid())
        assert set(children) < set(family)
        together = sum(map(shared_of, family))
        alone = sum(map(resident_of, family))
        assert alone - together > 150 << 20
        assert memory_of(os.getpid()) < alone
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
        shared.close()


@pytest.mark.parametrize("grouped", [False, True])
def test_a_meter_notices_more_than_the_limit(
    grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not grouped:
        monkeypatch.setattr(memory, "_made_group", lambda *_: None)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.read(read, 1)
        kept = bytearray(96 << 20)
        for place in range(0, len(kept), 4096):
            kept[place] = 1
        time.sleep(60)
        os._exit(0)
    # A group counts what is used after it was made.
    meter = Meter((48 << 20) + (0 if grouped else memory_of(child)), child)
    try:
        if grouped and meter.group is None:
            pytest.skip("this user cannot make a control group here")
        assert not meter.exceeded()
        os.write(write, b"x")
        patience = time.monotonic() + 60  # a busy machine fills the memory slowly
        while not (found := meter.exceeded()) and time.monotonic() < patience:
            time.sleep(meter.pause())
        assert found
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        meter.close()
    assert meter.group is None or not os.path.exists(meter.group)
