"""`crucible nano build | serve`: the embedded offline universe."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import screen

if TYPE_CHECKING:
    from harness.nano.server import NanoServer

app = typer.Typer(help="The embedded nano universe: tiny models and their world.")

Host = Annotated[
    str, typer.Option("--host", help="Address to listen on; the default accepts this machine only.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 chooses a free one.")]
Served = Annotated[
    str, typer.Option("--model", help="Name of the served model; '*' accepts any name.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A setting of the oracle: position_bias=0, seed=1."
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="REF",
        help="Serve this judge instead of the oracle: 'nano:helper?errors=0.1' (crucible judges).",
    ),
]
Faults = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="SPEC",
        help=(
            "Fault to inject: KIND=SHARE as in 429=0.05, or KIND@NUMBER,... as in hang@7, either "
            "with :SECONDS as in slow=0.1:0.5. Kinds: 429, 429-retry-after, 500, 503, hang, slow, "
            "drop, cut, malformed, no_logprobs, empty, wrong_label."
        ),
    ),
]
FaultSeed = Annotated[
    int, typer.Option("--fault-seed", help="Seed that selects the requests with faults.")
]
Sticky = Annotated[bool, typer.Option("--sticky", help="Equal requests get equal faults.")]
RequestsPerMinute = Annotated[
    int | None, typer.Option("--requests-per-minute", min=1, help="Limit, announced and enforced.")
]
TokensPerMinute = Annotated[
    int | None, typer.Option("--tokens-per-minute", min=1, help="Limit, announced and enforced.")
]
KeyVariable = Annotated[
    str | None,
    typer.Option(
        "--key-variable", metavar="NAME", help="Environment variable with the required key."
    ),
]
Log = Annotated[
    Path | None,
    typer.Option("--log", help="File for one JSON line per request (digests, no texts)."),
]


@app.callback()
def _group() -> None:
    """The embedded nano universe: tiny models and their world."""


@app.command()
def build(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to rebuild (default: all).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write them to.")] = Path(
        "nano-weights"
    ),
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Models trained at once (default: one per core)."),
    ] = None,
) -> None:
    """Train the nano models from their seeds and compare them with the shipped ones.

    Example: crucible nano build target@2 source_c@2

    With the same kind of processor and the same torch version, the bytes are equal; otherwise the
    weights differ in the last digits and the accuracy bands of the manifest apply.
    """
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from harness.core.errors import UserError
    from harness.core.hashing import folder_digest
    from harness.nano import zoo

    wanted = names or zoo.names()
    for name in wanted:
        zoo.path(name)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; choose a new folder with --out")
    console, status = screen.results(), screen.status()
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    if not status.is_terminal:
        screen.say(f"training {', '.join(wanted)}; minutes for each")
    with Progress(*columns, console=status) as bars:
        tasks = {name: bars.add_task(name, total=None) for name in wanted}

        def report(name: str, done: int, total: int) -> None:
            bars.update(tasks[name], completed=done, total=total)

        zoo.build(wanted, out, report, jobs or min(len(wanted), os.cpu_count() or 1))
    equal = {name: folder_digest(out / name) == zoo.digest(name) for name in wanted}
    screen.data({"folder": str(out), "same_bytes": equal})
    for name, same in equal.items():
        console.print(f"nano:{name}: {'same bytes as' if same else 'differs from'} the shipped one")
    console.print(f"written to {out}", highlight=False)


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8008,
    model: Served = "nano-oracle",
    settings: Settings = None,
    judge: Judge = None,
    faults: Faults = None,
    fault_seed: FaultSeed = 0,
    sticky: Sticky = False,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    key_variable: KeyVariable = None,
    log: Log = None,
) -> None:
    """Serve the nano judge over HTTP, with OpenAI's chat completions interface.

    For testing programs that call hosted models: no account, no key, no costs, faults on demand.
    Questions outside the nano world are graded by length, which is meaningless; `--set
    unknown=fail` refuses them instead. Stop with Ctrl-C.
    """
    from harness.backends.hosted import open_backend
    from harness.core.errors import UserError
    from harness.core.records import parse
    from harness.engine.calls import Services
    from harness.nano.faults import FaultScript, fault
    from harness.nano.oracle import OracleSettings
    from harness.nano.server import NanoServer

    script = {
        "faults": tuple(fault(text) for text in faults or ()),
        "seed": fault_seed,
        "sticky": sticky,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    if judge is not None and settings:
        raise UserError(f"--set is for the oracle; write options into --judge '{judge}?key=value'")
    server = NanoServer(
        parse(OracleSettings, {"unknown": "generic", **_options(settings or [])}, "--set"),
        parse(FaultScript, script, "--fault"),
        host=host,
        port=port,
        key=_key(key_variable),
        model=model,
        log=log,
        backend=None if judge is None else open_backend(judge, Services()),
    )
    if not _is_loopback(host):
        typer.echo(
            f"warning: {host} can be reached by other machines"
            + ("" if key_variable else "; require a key with --key-variable"),
            err=True,
        )
    _serve(server, key_variable, model)


def _serve(server: NanoServer, key_variable: str | None, model: str) -> None:
    """Run until a signal; stopping a server is no error, so the exit code is 0."""
    try:
        server.start()
        judge = f"openai:{'nano-oracle' if model == '*' else model}@{server.url}"
        judge += f"?key={key_variable}" if key_variable else ""
        screen.data({"model": model, "url": server.url, "judge": judge})
        console = screen.results()
        console.out(f"serving {model} at {server.url} (Ctrl-C stops)", highlight=False)
        console.out(
            f'try: crucible eval nano:target --suite alpaca_eval2 --judge "{judge}"',
            highlight=False,
        )
        sys.stdout.flush()
        server.wait()
    except KeyboardInterrupt:
        server.stop()
        counts = server.counts()
        said = f"stopped after {counts['requests']} requests, {counts['ok']} of them answered"
        screen.results().out(said, highlight=False)


def _options(pairs: list[str]) -> dict[str, str]:
    from harness.core.errors import BadRecord

    found = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark:
            raise BadRecord(f'--set expects "key=value", as in position_bias=0; got "{pair}"')
        found[name] = value
    return found


def _key(variable: str | None) -> str | None:
    from harness.core.errors import UserError

    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise UserError(
            f"the environment variable {variable} is not set; set it to the key that clients must "
            "send; --key-variable expects the name of the variable, never the key"
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
