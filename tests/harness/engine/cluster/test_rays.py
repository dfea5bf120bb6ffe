"""Workers in the processes of Ray: three nodes on this machine."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import CrucibleError, EnvironmentProblem, MissingExtra, UserError
from harness.engine.calls import CallSettings
from harness.engine.cluster.executor import ClusterExecutor
from harness.engine.cluster.rays import RayPool, connect, passed_variables
from harness.engine.plan import Handle as Planned
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store

SOURCE = """
import json, os, time
from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine.operations import operation
from harness.training.launch import over_processes
from harness.training.settings import RunSettings

@operation("ray_ranks", version=1, params=RunSettings)
@over_processes
def ranks(context, params):
    (context.scratch / f"rank-{os.environ['RANK']}.parent").write_text(str(os.getppid()))
    while len(list(context.scratch.glob("rank-?.parent"))) < 2:
        time.sleep(0.05)
    if os.environ["RANK"] == "0":
        parents = sorted(p.read_text() for p in context.scratch.glob("rank-?.parent"))
        made = {"world": os.environ["WORLD_SIZE"], "parents": parents}
        (context.directory / "ranks.json").write_text(json.dumps(made))

class P(Record):
    n: int = 0
    log: str = ""
    seconds: float = 0.0
    fails: bool = False

@operation("ray_rows", version=1, params=P)
def rows(context, params):
    lines = [json.dumps({"id": f"r{i}", "value": i}) + "\\n" for i in range(params.n)]
    (context.directory / "rows.jsonl").write_text("".join(lines))

@operation("ray_squares", version=1, params=P, rows="rows", batch_size=lambda p: 2)
def squares(context, params, batches, *, rows):
    if params.fails:
        raise BadData("no squares today")
    for batch in batches:
        time.sleep(params.seconds)
        if params.log:
            with open(params.log, "a") as log:
                log.write(f"{os.getpid()} {batch[0]['id']}\\n")
        yield [{"id": row["id"], "square": row["value"] ** 2} for row in batch]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Three nodes with one core each, and a module with operations that they know."""
    pytest.importorskip("ray", reason="ray is not installed (crucible-bench[ray])")
    from ray.cluster_utils import Cluster

    site = tmp_path_factory.mktemp("site")
    (site / "ray_squares_plugin.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("RAY_worker_niceness", "0")  # as that of the tests
        patch.setenv("RAY_AUTH_MODE", "disabled")
        importlib.import_module("ray_squares_plugin")
        made = Cluster()
        try:
            for _ in range(3):
                made.add_node(num_cpus=1, include_dashboard=False)
            yield made
        finally:
            made.shutdown()


def planned(log: Path | None = None, n: int = 40, **more: Any) -> tuple[Plan, list[Planned]]:
    plan = Plan()
    rows = plan.stage("ray_rows", n=n)
    target = plan.stage("ray_squares", rows=rows, log=str(log or ""), label="squares", **more)
    return plan, [target]


def on_ray(cluster: Any, replicas: int = 1, calls: CallSettings | None = None) -> ClusterExecutor:
    settings = calls or CallSettings()
    pool = partial(RayPool, calls=settings, address=cluster.address)
    return ClusterExecutor(pool, replicas=replicas)


def squares(store: Store, targets: list[Planned]) -> bytes:
    return (store.folder(targets[0].id) / "rows.jsonl").read_bytes()


def expected(tmp_path: Path, n: int = 40) -> bytes:
    store, (plan, targets) = Store(tmp_path / "inline"), planned(n=n)
    InlineExecutor().execute(plan, targets, store)
    return squares(store, targets)


def test_replicas_share_the_batches_of_a_stage(cluster: Any, tmp_path: Path) -> None:
    store, log = Store(tmp_path), tmp_path / "log"
    plan, targets = planned(log, seconds=0.1)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    summary = on_ray(cluster, replicas=3).execute(plan, targets, store)
    assert squares(store, targets) == expected(tmp_path)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(id for _, id in lines) == sorted(f"r{i}" for i in range(0, 40, 2))
    assert len({process for process, _ in lines}) > 1
    assert len(summary.executed) == 2
    assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_a_killed_worker_costs_the_batch_under_way(
    cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, log = Store(tmp_path), tmp_path / "log"
    plan, targets = planned(log, seconds=0.1)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            time.sleep(0.02)
            if log.exists() and len(log.read_text().splitlines()) > 5:
                killed.append(int(log.read_text().split()[0]))
                os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    on_ray(cluster).execute(plan, targets, store)
    thread.join(20)
    assert squares(store, targets) == expected(tmp_path)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert 20 <= len(lines) <= 22  # a result may be under way to the run as well
    assert {process for process, _ in lines} - {str(killed[0])}
    assert capfd.readouterr() == ("", "")  # results of commands are there


def test_a_launch_over_two_machines_has_a_launcher_on_each(cluster: Any, tmp_path: Path) -> None:
    plan, store = Plan(), Store(tmp_path)
    launch = {"processes": 2, "machines": 2}
    target = plan.stage("ray_ranks", learning_rate=1.0, launch=launch)
    assert target.id == Plan().stage("ray_ranks", learning_rate=1.0).id
    with pytest.raises(EnvironmentProblem, match="2 machines needs a cluster: run with --exec"):
        InlineExecutor().execute(plan, [target], store)
    on_ray(cluster).execute(plan, [target], store)
    found = store.artifact(target.id).read_json("ranks.json")
    assert (found["world"], len(set(found["parents"]))) == ("2", 2)


def test_a_stage_that_fails_elsewhere_says_why(cluster: Any, tmp_path: Path) -> None:
    plan, targets = planned(fails=True)
    with pytest.raises(CrucibleError, match=r"^no squares today$") as caught:
        on_ray(cluster).execute(plan, targets, Store(tmp_path))
    assert "ray_squares_plugin.py" in str(caught.value.__cause__)


def test_a_node_without_the_files_of_the_run_is_refused(cluster: Any, tmp_path: Path) -> None:
    store, there = Store(tmp_path), str(tmp_path / "model")
    with pytest.raises(EnvironmentProblem, match=f"lacks {there}, which the run reads"):
        RayPool(store, CallSettings(), cluster.address, [there])
    assert not list(store.root.glob("partial/*"))


def test_an_address_at_which_nothing_answers_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed (crucible-bench[ray])")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentProblem, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
        connect(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["10.0.0.1", "ray://head:10001", "head:port"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed (crucible-bench[ray])")
    with pytest.raises(UserError, match="expected ray:HOST:PORT"):
        connect(address)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'crucible-bench\[ray\]'"):
        connect("")


def test_workers_get_settings_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "CRUCIBLE_API_KEY", "OPENAI_API_KEY", "MY_SETTING"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    found = passed_variables()
    assert "secret" not in found.values()
    assert (found["HF_HUB_OFFLINE"], found["TOKENIZERS_PARALLELISM"]) == ("1", "false")
    assert found["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"  # no GPU asked for, none seen
