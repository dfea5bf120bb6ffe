"""Whether failures in a row are the rows' own or the server's: a harmless request tells.

Providers refuse single prompts in many words, and a run that fails again on old failures meets
nothing else. So neither words nor counts end a run: after some failures without an answer between
them, a harmless request with the same settings is sent. If it is answered, the failures are those
of their rows; if not, every request would fail.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from harness.core.errors import CrucibleError

GIVE_UP = 20  # failures without an answer between them


class Patience:
    """Failures since the last answer; used inside one event loop."""

    def __init__(self) -> None:
        self.failures = 0
        self._answered = -math.inf
        self._asking = asyncio.Lock()

    def answered(self) -> None:
        self.failures = 0
        self._answered = time.monotonic()

    async def spend(
        self,
        begun: float,
        most: int,
        control: Callable[[], Awaitable[bool]],
        problem: Callable[[], CrucibleError],
    ) -> None:
        """Count a failure; after `most` in a row, find out whose they are.

        Args:
            begun: time at which the failed call was sent.
            control: send a harmless request; whether it was answered.
            problem: the error that ends the run.

        Raises:
            CrucibleError: they are the server's.
        """
        self.failures += 1
        if self.failures < most:
            return
        async with self._asking:
            if begun < self._answered:  # answered meanwhile
                return
            if not await control():
                raise problem()
            self.answered()
