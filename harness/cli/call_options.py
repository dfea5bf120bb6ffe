"""Options shared by all commands that call hosted models or start servers.

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
        int, _option("--concurrency", "Largest number of requests in flight per endpoint.", min=1)
    ],
    "max_cost_usd": Annotated[
        float | None,
        _option("--max-cost", "Stop before spending more than this many USD.", metavar="USD"),
    ],
    "prices": Annotated[
        Path | None, _option("--prices", "Price file (TOML) that overrides the built-in prices.")
    ],
    "batch": Annotated[
        bool, _option("--batch", "Use the provider's batch interface: cheaper, within a day.")
    ],
    "timeout_s": Annotated[float, _option("--timeout", "Seconds per attempt.", min=0.001)],
    "retries": Annotated[
        int, _option("--retries", "Transport retries: rate limits, 5xx, time-outs.", min=0)
    ],
    "max_reply_bytes": Annotated[
        int,
        _option("--max-reply-bytes", "A larger reply, decompressed, is a failed row.", min=1024),
    ],
    "requests_per_minute": Annotated[
        int | None,
        _option("--requests-per-minute", "Limit (default: the server's headers).", min=1),
    ],
    "tokens_per_minute": Annotated[
        int | None, _option("--tokens-per-minute", "Limit (default: the server's headers).", min=1)
    ],
    "replicas": Annotated[
        int,
        _option(
            "--replicas",
            "Number of vLLM servers, one per GPU; with --executor ray, of workers per stage.",
            min=1,
        ),
    ],
    "executor": Annotated[
        str,
        _option(
            "--executor",
            "Where stages run: inline, ray (a cluster of or on this machine), ray:HOST:PORT.",
            metavar="NAME",
        ),
    ],
    "allow_code_execution": Annotated[
        bool,
        _option(
            "--allow-code-execution", "Run code written by models, in confinement, to test it."
        ),
    ],
    "allow_weak_isolation": Annotated[
        bool,
        _option(
            "--allow-weak-isolation",
            "Run it also where it could read and write your files (no namespaces, no Landlock).",
        ),
    ],
    "vllm_python": Annotated[
        str | None,
        _option("--vllm-python", "Interpreter with vLLM (default: $CRUCIBLE_VLLM_PYTHON)."),
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
