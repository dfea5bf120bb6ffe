"""Options of every command that may call hosted models or start servers, added in one place.

    @with_call_options
    def evaluate(model: str, ..., calls: CallSettings) -> None: ...

The decorated function receives the validated settings as `calls`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.core.records import parse
from harness.engine.calls import CallSettings

PANEL = "Hosted models and servers"


def _option(flag: str, help: str, **more: Any) -> Any:
    return typer.Option(flag, help=help, rich_help_panel=PANEL, **more)


OPTIONS: dict[str, Any] = {
    "offline": Annotated[
        bool, _option("--offline", "Answer from stored responses only; a miss stops the run.")
    ],
    "concurrency": Annotated[
        int, _option("--concurrency", "Most requests in flight at one endpoint.", min=1)
    ],
    "max_cost_usd": Annotated[
        float | None,
        _option("--max-cost", "Stop before spending more than this many USD.", metavar="USD"),
    ],
    "prices": Annotated[
        Path | None, _option("--prices", "A price file of yours (TOML), over the built-in one.")
    ],
    "batch": Annotated[
        bool, _option("--batch", "Use the provider's batch interface: cheaper, within a day.")
    ],
    "timeout_s": Annotated[float, _option("--timeout", "Seconds for one attempt.", min=0.001)],
    "retries": Annotated[
        int, _option("--retries", "Transport retries: rate limits, 5xx, time-outs.", min=0)
    ],
    "max_reply_bytes": Annotated[
        int,
        _option("--max-reply-bytes", "A larger reply, decompressed, is a failed row.", min=1024),
    ],
    "requests_per_minute": Annotated[
        int | None, _option("--requests-per-minute", "Default: the server's headers.", min=1)
    ],
    "tokens_per_minute": Annotated[
        int | None, _option("--tokens-per-minute", "Default: the server's headers.", min=1)
    ],
    "replicas": Annotated[
        int, _option("--replicas", "vLLM servers side by side, one per GPU.", min=1)
    ],
    "allow_code_execution": Annotated[
        bool,
        _option("--allow-code-execution", "Run code of models, confined, to check it by tests."),
    ],
    "vllm_python": Annotated[
        str | None,
        _option("--vllm-python", "Interpreter that has vLLM (default: $CRUCIBLE_VLLM_PYTHON)."),
    ],
}


def with_call_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command that takes `calls: CallSettings`."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        chosen = {key: arguments.pop(key) for key in OPTIONS}
        return command(**arguments, calls=parse(CallSettings, chosen, "options"))

    signature = inspect.signature(command, eval_str=True)
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "calls"
    ]
    added = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=CallSettings.model_fields[key].default,
            annotation=annotation,
        )
        for key, annotation in OPTIONS.items()
    ]
    wrapped.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    del wrapped.__wrapped__
    wrapped.__annotations__ = {p.name: p.annotation for p in [*kept, *added]}
    return wrapped


def for_store(calls: CallSettings, root: Path) -> CallSettings:
    """The settings with the store's file of responses."""
    return calls.model_copy(update={"responses": root / "responses.sqlite"})
