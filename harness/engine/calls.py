"""Settings and accounts of calls to hosted models, and services shared by the stages of a run.

    with Services(CallSettings(responses=store.root / "responses.sqlite")) as services:
        InlineExecutor(services=services).execute(plan, targets, store)

None of these settings affects an answer, so none is part of an id: the same plan may run live, from
stored responses alone (`offline`), through a batch interface, or with another concurrency.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar, cast

from pydantic import Field, field_validator

from harness.core.errors import UserError
from harness.core.records import Record
from harness.engine.prices import PriceList


class Closing(Protocol):
    """A client, a server or a file that a run opens and must close."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closing)


class CallSettings(Record):
    """Settings of calls to hosted models and of the servers that a run starts.

    Attributes:
        responses: file of stored responses; None stores nothing.
        offline: answer from stored responses only; a miss is an error.
        concurrency: largest number of requests in flight per endpoint.
        timeout_s: limit for one attempt.
        retries: transport retries after rate limits, server errors, time-outs and broken bodies.
        requests_per_minute, tokens_per_minute: None uses the limits in the server's headers.
        max_cost_usd: money limit; the run stops before it is exceeded.
        prices: price file that overrides the built-in table.
        max_reply_bytes: limit of a reply's body after decompression; a larger one fails its row.
        batch: send requests through the provider's batch interface (cheaper, within a day).
        vllm_python: interpreter with vLLM; None uses $CRUCIBLE_VLLM_PYTHON, else this interpreter.
        replicas: number of vLLM servers started in parallel, one per GPU; on a cluster the most
            workers of a row stage.
        executor: "inline", "ray" or "ray:HOST:PORT".
        allow_code_execution: let stages run code written by a model, in confinement; a recipe
            cannot give this permission.
        allow_weak_isolation: run such code also where it could read and write the user's files,
            because the machine has neither namespaces nor Landlock.
    """

    responses: Path | None = None
    offline: bool = False
    concurrency: int = Field(default=64, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=6, ge=0)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    max_cost_usd: float | None = Field(default=None, ge=0)
    prices: Path | None = None
    max_reply_bytes: int = Field(default=64 * 2**20, ge=1024)
    batch: bool = False
    vllm_python: str | None = None
    replicas: int = Field(default=1, ge=1)
    executor: str = "inline"
    allow_code_execution: bool = False
    allow_weak_isolation: bool = False

    @field_validator("executor")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in ("inline", "ray") and not value.startswith("ray:"):
            raise ValueError("inline, ray (this machine, or its cluster) or ray:HOST:PORT")
        return value


@dataclass
class Spent:
    """Requests, tokens and money of one model in this run; `cost_usd` is None without a price."""

    requests: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0


class Account:
    """Requests, tokens and money of a run, by model; thread-safe.

    `reserve` before a request and `settle` after it: a request in flight counts with its largest
    possible cost, so that the limit holds in any case.
    """

    def __init__(self, max_cost_usd: float | None = None) -> None:
        self.max_cost_usd = max_cost_usd
        self.models: dict[str, Spent] = {}
        self._reserved = 0.0
        self._lock = threading.Lock()

    @property
    def cost_usd(self) -> float:
        """Money spent on models with known prices."""
        return sum(spent.cost_usd or 0.0 for spent in self.models.values())

    def reserve(self, model: str, most_usd: float | None) -> float:
        """Reserve the largest possible cost of one request; returns it for `settle`.

        Raises:
            UserError: the limit would be exceeded, or there is a limit and no price.
        """
        if self.max_cost_usd is None or most_usd == 0:
            return 0.0
        if most_usd is None:
            raise UserError(
                f"{model} is unpriced, so --max-cost cannot hold; add its price to a file for "
                "--prices, or omit --max-cost"
            )
        with self._lock:
            if self.cost_usd + self._reserved + most_usd > self.max_cost_usd:
                raise UserError(
                    f"stopped before exceeding --max-cost {self.max_cost_usd:g}: "
                    f"{self.cost_usd:.4f} USD spent, {self._reserved + most_usd:.4f} USD more "
                    "in flight; answers are stored: raise --max-cost and run again"
                )
            self._reserved += most_usd
        return most_usd

    def settle(
        self,
        model: str,
        reserved: float = 0.0,
        *,
        requests: int = 0,
        cached: int = 0,
        tokens_in: int = 0,
        tokens_out: int = 0,
        cost_usd: float | None = 0.0,
    ) -> None:
        """Release a reservation and book the actual cost (None: unpriced)."""
        with self._lock:
            self._reserved = max(0.0, self._reserved - reserved)
            spent = self.models.setdefault(model, Spent())
            spent.requests += requests
            spent.cached += cached
            spent.tokens_in += tokens_in
            spent.tokens_out += tokens_out
            if requests or cost_usd:
                known = spent.cost_usd is not None and cost_usd is not None
                spent.cost_usd = (
                    cast(float, spent.cost_usd) + cast(float, cost_usd) if known else None
                )


class Services:
    """Clients, servers and the account shared by all stages of one run.

    `get` opens a service once; `close` (or the end of a `with` block) closes all in reverse order.
    """

    def __init__(self, settings: CallSettings | None = None) -> None:
        self.settings = settings or CallSettings()
        self.account = Account(self.settings.max_cost_usd)
        self._open: dict[str, Closing] = {}
        self._lock = threading.RLock()

    @cached_property
    def prices(self) -> PriceList:
        """Prices of hosted models."""
        return PriceList.load(self.settings.prices)

    def get(self, key: str, open: Callable[[], C]) -> C:
        """The service registered under `key`, opened by `open` at the first call."""
        with self._lock:
            if key not in self._open:
                self._open[key] = open()
            return cast(C, self._open[key])

    def close(self) -> None:
        """Close all services, the newest first; the first error is raised at the end."""
        problem: BaseException | None = None
        with self._lock:
            while self._open:
                _, thing = self._open.popitem()
                try:
                    thing.close()
                except Exception as error:
                    problem = problem or error
        if problem is not None:
            raise problem

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
