"""Workers that are actors of Ray, each on the node that was chosen for it."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.core.errors import EnvironmentProblem, MissingExtra, UserError
from harness.core.machine import cores
from harness.engine.calls import CallSettings
from harness.engine.cluster.actors import Actor, Helper, first_line, own_address, report_of_node
from harness.engine.cluster.messages import Message
from harness.engine.cluster.needs import Need, Node, memory_gib
from harness.engine.cluster.nodes import Probe, check_reports, probing
from harness.engine.cluster.pools import Handle
from harness.engine.cluster.worker import Event, described
from harness.engine.costs import GIB
from harness.engine.stages import Batch
from harness.engine.store import Store

CONNECT_S = 5.0
REPORT_S = 120.0  # a node has to start a process and import Crucible
OBJECTS = 512 * 2**20  # bytes for results under way, of a cluster that is started here
# Variables that workers get from this process; a key would be readable by all users of the cluster.
_PASSED = re.compile(r"(?:CRUCIBLE|HF|TRANSFORMERS|TOKENIZERS|OMP|MKL|OPENBLAS|NCCL|GLOO)_\w+")
_SECRET = re.compile(r"KEY|TOKEN(?!IZERS)|SECRET|PASSWORD")


class RayPool:
    """Workers on the nodes of a Ray cluster.

    Args:
        address: "" is the cluster that this machine belongs to, or else one that is started on
            this machine and ends with the pool.
        calls: settings of workers; they ask no hosted model.
        paths: files and folders that the nodes must have.

    Raises:
        MissingExtra: Ray is not installed.
        EnvironmentProblem: no cluster answers, or a node lacks something.
    """

    def __init__(
        self, store: Store, calls: CallSettings, address: str = "", paths: Sequence[str] = ()
    ) -> None:
        self._ray = connect(address)
        self._root = str(store.root)
        self._calls = calls.model_copy(update={"responses": None, "replicas": 1})
        self._running: list[tuple[Any, Handle]] = []  # streams of events, and their actors
        self._helpers: dict[Handle, list[Any]] = {}
        self._gpu_gib: dict[str, float] = {}
        try:
            self._check(store.root, paths)
        except BaseException:
            self.close()
            raise

    def _check(self, root: Path, paths: Sequence[str]) -> None:
        with probing(root, paths) as probe:
            asked = {node: self._ask(node, probe) for node in self.nodes()}
            try:
                found = self._ray.get(list(asked.values()), timeout=REPORT_S)
            except self._ray.exceptions.GetTimeoutError:
                raise EnvironmentProblem(
                    f"not all nodes of the cluster answered within {REPORT_S:.0f} s: "
                    f"{', '.join(node.name for node in asked)}; see ray status"
                ) from None
            except self._ray.exceptions.RayError as error:
                raise EnvironmentProblem(
                    f"a node of the cluster could not start Crucible: {first_line(error)}; "
                    "install crucible-bench[ray] in the same environment on all nodes"
                ) from None
        check_reports({node.name: one for node, one in zip(asked, found, strict=True)})
        for node, one in zip(asked, found, strict=True):
            if one["gpu_gib"]:
                self._gpu_gib[node.id] = one["gpu_gib"]

    def _ask(self, node: Node, probe: Probe) -> Any:
        share = 0.01 if node.gpus else 0
        task = self._ray.remote(report_of_node)
        return task.options(num_cpus=0, num_gpus=share, **self._on(node)).remote(probe)

    def _on(self, node: Node) -> dict[str, Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
            "runtime_env": {"env_vars": passed_variables()},
        }

    def nodes(self) -> list[Node]:
        found = []
        for one in self._ray.nodes():
            if one["Alive"]:
                has, id = one["Resources"], one["NodeID"]
                cpus, gpus = has.get("CPU", 0.0), has.get("GPU", 0.0)
                memory = memory_gib(has.get("memory", 0.0))
                more = {"gpu_gib": self._gpu_gib[id]} if id in self._gpu_gib else {}
                name = f"{one['NodeManagerHostname']} ({id[:6]})"
                found.append(Node(id, name, cpus, gpus, memory, **more))
        return found

    def start(self, nodes: Sequence[Node], need: Need) -> Handle:
        others = [self._placed(Helper, node, need).remote() for node in nodes[1:]]
        actor = self._placed(Actor, nodes[0], need)
        made = actor.remote(self._root, self._calls.model_dump(mode="json"), others)
        self._helpers[made] = others
        return made

    def _placed(self, kind: type, node: Node, need: Need) -> Any:
        return self._ray.remote(kind).options(
            num_cpus=need.cpus,
            num_gpus=need.gpus,
            memory=int(need.memory_gib * GIB),
            max_restarts=0,
            **self._on(node),
        )

    def submit(self, worker: Handle, message: Message, batches: Sequence[Batch] | None) -> None:
        stream = worker.run.options(num_returns="streaming").remote(message, batches)
        self._running.append((stream, worker))

    def wait(self, seconds: float) -> list[tuple[Handle, Event]]:
        if not self._running:
            return []
        streams = [stream for stream, _ in self._running]
        ready, _ = self._ray.wait(streams, num_returns=1, timeout=seconds)
        if ready and len(streams) > 1:
            ready, _ = self._ray.wait(streams, num_returns=len(streams), timeout=0)
        found = []
        for stream, worker in [pair for pair in self._running if pair[0] in ready]:
            event = self._next(stream)
            if event[0] in ("ended", "error", "lost"):
                self._running.remove((stream, worker))
            found.append((worker, event))
        return found

    def _next(self, stream: Any) -> Event:
        errors = self._ray.exceptions
        try:
            event: Event = self._ray.get(next(stream))
        except errors.RayTaskError as error:
            return "error", {**described(error.cause), "traceback": str(error)}
        except (errors.RayError, StopIteration) as error:
            return "lost", first_line(error) or type(error).__name__
        return event

    def stop(self, worker: Handle) -> None:
        self._running = [pair for pair in self._running if pair[1] is not worker]
        for actor in (worker, *self._helpers.pop(worker, ())):
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def close(self) -> None:
        with signals_kept():
            self._ray.shutdown()


def connect(address: str) -> Any:
    """The module `ray`, connected.

    Raises:
        MissingExtra: it is not installed.
        UserError, EnvironmentProblem: no cluster is at this address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    if address:
        _check_address(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "logging_level": "ERROR",
    }
    try:
        with signals_kept():
            try:
                ray.init(address=address or "auto", **quiet)
            except ConnectionError:
                if address:
                    raise
                more: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECTS}
                ray.init(address="local", num_cpus=cores(), **more, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"Ray at {address}" if address else "Ray"
        if "InvalidAuthToken" in str(error):
            raise EnvironmentProblem(
                f"{where} wants another authentication token: set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN as where the cluster was started"
            ) from None
        raise EnvironmentProblem(
            f"{where} cannot be used: {first_line(error)}; run the command on a node of the "
            "cluster, with the versions of Python and Ray that the cluster has"
        ) from None
    # Ray prints what happens to workers on stdout, where results of commands are; the run says it.
    private: Any = ray._private.worker
    private._worker_logs_enabled = False
    return ray


def _check_address(address: str) -> None:
    """Ray itself waits for minutes at an address where nothing answers."""
    host, colon, port = address.rpartition(":")
    if "//" in address or not colon or not port.isdigit():
        raise UserError(
            f'--executor is "ray:{address}"; expected ray:HOST:PORT with the address that ray '
            "start --head printed (port 6379), on a node of that cluster"
        )
    hosts = [host]
    if host in ("localhost", "127.0.0.1"):
        hosts.append(own_address())  # by which Ray replaces it
    for one in hosts:
        try:
            socket.create_connection((one, int(port)), timeout=CONNECT_S).close()
        except OSError as error:
            raise EnvironmentProblem(
                f"no Ray cluster answers at {one}:{port} ({error}); ray start --head starts one "
                "and prints its address, and --executor ray alone uses this machine"
            ) from None


def passed_variables() -> dict[str, str]:
    """Environment variables of workers: the places of modules, and settings without secrets."""
    places = os.pathsep.join(str(Path(place).absolute()) for place in sys.path if place)
    chosen = {
        name: value
        for name, value in os.environ.items()
        if _PASSED.fullmatch(name) and not _SECRET.search(name)
    }
    # Workers that asked for no GPU must see none, or tiny models would run there.
    return {**chosen, "PYTHONPATH": places, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}


@contextmanager
def signals_kept() -> Iterator[None]:
    """Handlers of signals afterwards are those of before; Ray sets its own."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            with suppress(ValueError):  # not in the main thread
                signal.signal(number, handler)
