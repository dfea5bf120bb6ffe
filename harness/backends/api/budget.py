"""The money of calls in flight: reserved before each, settled after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from harness.core.errors import UserError
from harness.engine.calls import Account


class Budget:
    """One model's part of an account; used inside one event loop."""

    def __init__(self, account: Account, model: str) -> None:
        self._account = account
        self._model = model
        self._reserved = 0
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def spending(self, most_usd: float | None) -> AsyncIterator[dict[str, Any]]:
        """Reserve the maximum cost of a call; book what the body puts into the dictionary.

        Near the limit, wait for calls in flight to release theirs.

        Raises:
            UserError: nothing is in flight and the limit would be exceeded, or there is no price.
        """
        reserved = await self._reserve(most_usd)
        booked: dict[str, Any] = {}
        try:
            yield booked
        finally:
            self._reserved -= bool(reserved)
            self._account.settle(self._model, reserved, **booked)
            self._settled.set()

    async def _reserve(self, most_usd: float | None) -> float:
        while True:
            try:
                reserved = self._account.reserve(self._model, most_usd)
            except UserError:
                if not self._reserved or most_usd is None:
                    raise
                self._settled.clear()
                await self._settled.wait()
            else:
                self._reserved += bool(reserved)
                return reserved
