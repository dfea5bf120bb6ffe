"""The client of a vLLM engine that starts when the first call goes out.

All backends of a run share one engine: that of the model asked last. It is in the run's services,
which close it.
"""

from __future__ import annotations

from typing import Any

from harness.backends.api.client import Client
from harness.backends.api.endpoint import Endpoint
from harness.backends.api.responses import ResponseStore
from harness.backends.openai import OpenAIBackend
from harness.backends.vllm_server import Engine, EngineSettings, start_engine
from harness.engine.calls import CallSettings, Services
from harness.engine.prices import Price

CONCURRENCY = 256  # minimum of requests in flight per server, which batches them itself
TIMEOUT_S = 3600.0  # minimum: a long answer does not wait for a network
RETRIES = 2  # maximum: a loopback connection that fails has a dead server behind it
FREE = Price(usd_per_million_in=0, usd_per_million_out=0)


def engine_client(
    settings: EngineSettings, identity: str, services: Services, **renderers: Any
) -> OpenAIBackend:
    """The client of an engine with these settings; renderers as for `OpenAIBackend`."""
    endpoint = Endpoint(model=settings.name, base_urls=(), identity=identity)

    def connect(store: ResponseStore | None) -> Client:
        return engines(services).client(settings, endpoint, services, store)

    return OpenAIBackend(endpoint, services, connect=connect, **renderers)


def engines(services: Services) -> Engines:
    """The engines of a run; opened after the response store, and so closed before it."""
    return services.get("vllm engines", Engines)


def local_settings(settings: CallSettings) -> CallSettings:
    """A run's settings for its own server: no limits of rate or money, long waits."""
    return settings.model_copy(
        update={
            "concurrency": max(settings.concurrency, CONCURRENCY),
            "timeout_s": max(settings.timeout_s, TIMEOUT_S),
            "retries": min(settings.retries, RETRIES),
            "requests_per_minute": None,
            "tokens_per_minute": None,
        }
    )


class Engines:
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
        """The client of an engine with these settings; another engine is closed first."""
        # Imported here: a missing package is reported before a server takes minutes to start.
        from harness.backends.api import transport  # noqa: F401

        if self._client is None or self._settings != settings:
            self.close()
            calls = local_settings(services.settings)
            self._engine = engine = start_engine(settings, calls)
            self._settings = settings
            # The variable is the server's own; its key is generated and never stored.
            own = {"base_urls": engine.base_urls, "key_variable": "VLLM_API_KEY"}
            local = endpoint.model_copy(update=own)
            account = services.account
            self._client = Client(local, calls, account, store, key=engine.key, price=FREE)
        return self._client

    def check(self, patience_s: float = 0.0) -> None:
        """Raise the engine's own error if it has ended, or ends within some seconds."""
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
