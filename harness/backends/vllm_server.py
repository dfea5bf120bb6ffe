"""Starting vLLM's own OpenAI-compatible server with an interpreter that has vLLM.

On most machines vLLM is in another environment, because it pins its own version of torch: this
process never imports vLLM. A server counts as started when it has answered with one token, so that
a model which loads but cannot run is reported before the first prompt is sent.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.backends.server import ended, wait_until_ready
from harness.backends.vllm_machine import find_interpreter, gpu_shares, visible_gpus
from harness.core.errors import BadRecord, EnvironmentProblem, UserError
from harness.core.records import Record
from harness.engine.calls import CallSettings
from harness.engine.children import LOOPBACK, ChildProcess, free_ports, tail

PORT_ATTEMPTS = 3  # a free port may be taken before the server binds it
CPU_CACHE_GIB = "1"

_TAKEN = re.compile(r"address already in use|\[Errno (98|48)\]", re.IGNORECASE)


class EngineSettings(Record):
    """Settings of a vLLM server.

    Attributes:
        model: a folder, or a hub id with its `revision`.
        name: model name in requests.
        max_model_len: maximum number of tokens per prompt and answer; None takes the model's.
        context: maximum number of tokens per request; a server with a lower maximum is an error.
        stop_ids: token ids that end an answer, in addition to the tokenizer's EOS.
        device: "auto" takes a GPU if one is visible and the interpreter's vLLM can use it.
        engine_args: other arguments of vLLM, by name: {"tensor_parallel_size": 2}.
        start_timeout_s: time until the server answers; loading a large model takes minutes.
    """

    model: str
    name: str = "model"
    revision: str | None = None
    dtype: str = "auto"
    max_model_len: int | None = Field(default=None, ge=1)
    context: int = 0
    stop_ids: tuple[int, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: bool = False
    engine_args: dict[str, Any] = Field(default_factory=dict)
    start_timeout_s: float = Field(default=600.0, gt=0)


@dataclass
class Engine:
    """Servers of one model, side by side; `close` ends them."""

    launches: list[_Launch]
    key: str = field(repr=False)
    folder: Path  # temporary; kept where an error message names a log in it
    keep_folder: bool = False

    @property
    def base_urls(self) -> tuple[str, ...]:
        return tuple(f"http://{LOOPBACK}:{launch.port}/v1" for launch in self.launches)

    @property
    def servers(self) -> list[ChildProcess]:
        return [launch.server for launch in self.launches if launch.server is not None]

    def check(self, patience_s: float = 0.0) -> None:
        """Raise if a server has ended, or ends within some seconds.

        Raises:
            EnvironmentProblem: with the end of its log.
        """
        last = time.monotonic() + patience_s
        while True:
            for server in self.servers:
                if server.exit_code is not None:
                    self.keep_folder = True
                    raise ended(server, "the vLLM server")
            if time.monotonic() >= last:
                return
            time.sleep(0.05)

    def close(self) -> None:
        """End all servers and every process they started."""
        for server in self.servers:
            server.request_end()
        for server in self.servers:
            server.close()
        if not self.keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def start_engine(settings: EngineSettings, calls: CallSettings) -> Engine:
    """Start `calls.replicas` servers side by side and wait until each answers.

    Raises:
        EnvironmentProblem: no vLLM, too few GPUs, or a server that does not start: with the end of
            its log.
        BadRecord: `engine_args` sets an argument that has its own setting.
    """
    python = find_interpreter(calls)
    gpus = visible_gpus() if settings.device != "cpu" and not python.cpu_only else []
    if settings.device == "cuda" and python.cpu_only:
        raise EnvironmentProblem(
            f"{python.path} has a vLLM for CPUs only; device = cuda needs a build for CUDA"
        )
    shares = gpu_shares(gpus, calls.replicas, settings.engine_args)
    on_cpu = not gpus and settings.device != "cuda"
    eager = bool(settings.engine_args.get("enforce_eager", True))
    folder = Path(tempfile.mkdtemp(prefix="crucible-vllm-"))
    engine = Engine([], secrets.token_urlsafe(32), folder)
    try:
        # Replaces the model's generation_config.json: stop ids only, no other decoding defaults.
        ends = json.dumps({"eos_token_id": list(settings.stop_ids)})
        (folder / "generation_config.json").write_text(ends, encoding="utf-8")
        for share, port in zip(shares, free_ports(calls.replicas), strict=True):
            variables = environment(engine.key, share, on_cpu, calls.replicas, eager)
            launch = _Launch(python.path, settings, folder, on_cpu, variables, port)
            engine.launches.append(launch)
            launch.start()
        for launch in engine.launches:
            launch.wait()
    except BaseException as error:
        engine.keep_folder = isinstance(error, EnvironmentProblem)
        engine.close()
        raise
    return engine


def environment(
    key: str, gpus: list[str] | None, on_cpu: bool, replicas: int = 1, eager: bool = True
) -> dict[str, str]:
    """Environment variables of a server: those of this process without API keys of other services.

    The server's own key is passed here because every user can see command lines. On a CPU nothing
    is compiled, see `command`: the few functions that vLLM compiles in any case would take a minute
    and need a C++ compiler.
    """
    made = {name: text for name, text in os.environ.items() if not name.endswith("_API_KEY")}
    made |= {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    if gpus is not None:
        made["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if on_cpu:
        made.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE_GIB)
        if eager:
            made.setdefault("TORCHDYNAMO_DISABLE", "1")
        if replicas > 1:  # otherwise all servers bind their threads to the same cores
            made.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    return made


def command(
    python: str, settings: EngineSettings, port: int, generation_config: Path, on_cpu: bool
) -> list[str]:
    """The command line of a server.

    The module is started by name: vLLM's own script needs metadata that CPU builds lack.

    Raises:
        BadRecord: `engine_args` sets an argument that has its own setting.
    """
    values: dict[str, Any] = {
        "model": settings.model,
        "served_model_name": settings.name,
        "host": LOOPBACK,
        "port": port,
        "dtype": settings.dtype,
        "seed": 0,  # requests carry seeds of their own
        "generation_config": generation_config,
        "return_tokens_as_token_ids": True,
        "uvicorn_log_level": "warning",
    }
    if settings.revision is not None:
        values |= {"revision": settings.revision, "tokenizer_revision": settings.revision}
    if settings.max_model_len is not None:
        values["max_model_len"] = settings.max_model_len
    if settings.trust_remote_code:
        values["trust_remote_code"] = True
    extra = {name.replace("-", "_"): value for name, value in settings.engine_args.items()}
    owned = {*values, "revision", "max_model_len", "trust_remote_code", "api_key"}
    if taken := sorted(owned & extra.keys()):
        raise BadRecord(f"engine_args sets {', '.join(taken)}, which Crucible sets; remove it")
    if on_cpu:
        values["enforce_eager"] = True  # compiling takes longer than most evaluations on a CPU
    values |= extra
    made = [python, "-m", "vllm.entrypoints.openai.api_server"]
    for name, value in values.items():
        made += _option(name, value)
    return made


def _option(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    text = json.dumps(value) if isinstance(value, dict | list | tuple) else str(value)
    return [f"--{flag}", text]


class _PortTaken(Exception):
    """Another process took the port after it was found free."""


@dataclass
class _Launch:
    """A server that is starting; it starts again on another port if its port was taken."""

    python: str
    settings: EngineSettings
    folder: Path
    on_cpu: bool
    environment: dict[str, str] = field(repr=False)
    port: int
    server: ChildProcess | None = None

    def start(self) -> None:
        line = command(self.python, self.settings, self.port, self.folder, self.on_cpu)
        log = self.folder / f"vllm-{os.getpid()}-{secrets.token_hex(3)}.log"
        self.server = ChildProcess(line, self.environment, log)

    def wait(self) -> None:
        """Wait until the server answers; a taken port is replaced a few times."""
        for _ in range(PORT_ATTEMPTS - 1):
            try:
                return self._up()
            except _PortTaken:
                assert self.server is not None
                self.server.close()
                (self.port,) = free_ports(1)
                self.start()
        try:
            self._up()
        except _PortTaken:
            raise EnvironmentProblem(
                f"other processes took the server's port {PORT_ATTEMPTS} times in a row; run the "
                "command again"
            ) from None

    def _up(self) -> None:
        assert self.server is not None
        start = time.monotonic()
        limit_s = self.settings.start_timeout_s
        try:
            wait_until_ready(self.server, self._healthy, limit_s, "the vLLM server")
        except EnvironmentProblem:
            if self.server.exit_code is not None and _TAKEN.search(tail(self.server.log, 100)):
                raise _PortTaken from None
            raise
        served = self._served()
        limit = served.get("max_model_len")
        if limit is not None and limit < self.settings.context:
            raise UserError(
                f"vLLM reads at most {limit} tokens per request of {self.settings.name}; its "
                f"configuration says {self.settings.context}: set max_model_len = {limit} or less"
            )
        body = {"model": self.settings.name, "prompt": [0], "max_tokens": 1, "temperature": 0}
        left_s = max(5.0, limit_s - (time.monotonic() - start))
        status, _ = self._ask("POST", "/v1/completions", json.dumps(body), left_s)
        if status != 200:
            raise EnvironmentProblem(
                f"vLLM loaded {self.settings.model} but cannot run it (status {status}): "
                f"{self.server.log_note()}"
            )

    def _healthy(self) -> bool:
        return self._ask("GET", "/health")[0] == 200

    def _served(self) -> dict[str, Any]:
        """The server's description of its model, which only the holder of its key gets."""
        status, body = self._ask("GET", "/v1/models")
        try:
            served: dict[str, Any] = body["data"][0]
            if status == 200 and served["id"] == self.settings.name:
                return served
        except (TypeError, KeyError, IndexError):
            pass
        raise _PortTaken

    def _ask(
        self, verb: str, path: str, body: str | None = None, timeout_s: float = 5.0
    ) -> tuple[int, Any]:
        """Status and JSON of an answer; status 0 without an answer. Never uses a proxy."""
        key = self.environment["VLLM_API_KEY"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)
        try:
            connection.request(verb, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.strip() else None
        except ValueError:
            return answer.status, None
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
