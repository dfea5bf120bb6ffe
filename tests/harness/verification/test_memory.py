"""Memory of processes: what they share counts once."""

from __future__ import annotations

import mmap
import os
import time

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


def test_a_meter_notices_more_than_the_limit() -> None:
    if (child := os.fork()) == 0:
        time.sleep(0.2)
        kept = bytearray(96 << 20)
        for place in range(0, len(kept), 4096):
            kept[place] = 1
        time.sleep(60)
        os._exit(0)
    meter = Meter(memory_of(child) + (48 << 20), child)
    try:
        assert not meter.exceeded()
        for _ in range(500):
            if meter.exceeded():
                break
            time.sleep(meter.pause())
        assert meter.exceeded()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        meter.close()
    assert meter.group is None or not os.path.exists(meter.group)
