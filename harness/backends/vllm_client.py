"""The client of a vLLM engine that starts when the first call goes out.

All backends of a run share one engine: the one for the model that was asked last. It is found under
one name in the run's services and closed with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import Field

from harness.backends.api.client import Client
from harness.backends.api.endpoint import Endpoint
from harness.backends.api.responses import ResponseStore
from harness.backends.openai import OpenAIBackend
from harness.backends.vllm_server import Engine, EngineSettings, start_engine
from harness.engine.calls import Account, Services

T = TypeVar("T")

CONCURRENCY = 256  # at least so many requests at each server, which batches them itself
TIMEOUT_S = 3600.0  # at least: a long answer waits for no network
RETRIES = 2  # a loopback connection that fails has a dead server behind it


class _LocalEndpoint(Endpoint):
    """A server of ours: its key is made for it and stands in no record."""

    secret: str = Field(default="", exclude=True, repr=False)

    def api_key(self) -> str | None:
        return self.secret or None


class _LocalAccount(Account):
    """Books requests and tokens on the run's account; nobody charges for them."""

    def __init__(self, account: Account) -> None:
        super().__init__(None)
        self._account = account

    def settle(self, model: str, reserved: float = 0.0, **booked: Any) -> None:
        self._account.settle(model, **{**booked, "cost_usd": 0.0})


class _LocalServices(Services):
    """The run's services as a local server wants them: no limits of rate or money, long waits."""

    def __init__(self, services: Services) -> None:
        super().__init__(
            services.settings.model_copy(
                update={
                    "concurrency": max(services.settings.concurrency, CONCURRENCY),
                    "timeout_s": max(services.settings.timeout_s, TIMEOUT_S),
                    "retries": min(services.settings.retries, RETRIES),
                    "requests_per_minute": None,
                    "tokens_per_minute": None,
                    "batch": False,
                }
            )
        )
        self.account = _LocalAccount(services.account)
        self.shared = services

    def get(self, key: str, open: Callable[[], T]) -> T:
        return self.shared.get(key, open)


class EngineClient(OpenAIBackend):
    """The client of an engine that starts when the first call goes out."""

    def __init__(
        self, settings: EngineSettings, identity: str, services: Services, **renderers: Any
    ) -> None:
        endpoint = Endpoint(model=settings.name, base_urls=(), identity=identity)
        super().__init__(endpoint, _LocalServices(services), **renderers)
        self._settings = settings
        self._shared = services

    @property
    def _engines(self) -> _Engines:
        """Opened after the response store, and so closed before it."""
        return self._shared.get("vllm engines", _Engines)

    def check(self, patience_s: float = 0.0) -> None:
        """Raise the engine's own error where it has ended, or ends within some seconds."""
        self._engines.check(patience_s)

    def _client(self, store: ResponseStore | None) -> Client:
        # Named here, so that what is missing is said before a server takes minutes to start.
        from harness.backends.api import transport  # noqa: F401

        return self._engines.client(self._settings, self.endpoint, self.services, store)


class _Engines:
    """The engine that serves now, and the client that talks to it."""

    def __init__(self) -> None:
        self._settings: EngineSettings | None = None
        self._engine: Engine | None = None
        self._client: Client | None = None

    def client(
        self,
        settings: EngineSettings,
        endpoint: Endpoint,
        services: Services,
        store: ResponseStore | None,
    ) -> Client:
        """The client of an engine with these settings; another engine makes room for it first."""
        if self._client is None or self._settings != settings:
            self.close()
            self._engine = start_engine(settings, services.settings)
            self._settings = settings
            local = _LocalEndpoint(
                model=endpoint.model,
                identity=endpoint.identity,
                base_urls=self._engine.base_urls,
                key_variable="VLLM_API_KEY",  # the server's name for it; read from `secret` here
                secret=self._engine.key,
            )
            self._client = Client(local, services, store)
        return self._client

    def check(self, patience_s: float) -> None:
        if self._engine is not None:
            self._engine.check(patience_s)

    def close(self) -> None:
        client, engine = self._client, self._engine
        self._client = self._engine = self._settings = None
        try:
            if client is not None:
                client.close()
        finally:
            if engine is not None:
                engine.close()
