"""What workers report and use, and what Ray is asked for, without Ray."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from harness.engine.calls import CallSettings
from harness.engine.cluster import rays
from harness.engine.cluster.jobs import _Used
from harness.engine.cluster.needs import Need, Node
from harness.engine.cluster.rays import RayPool
from harness.engine.cluster.worker import _Sending
from harness.engine.costs import GIB


def test_memory_of_workers_is_the_largest_and_their_gpu_time_the_sum() -> None:
    used = _Used()
    used.add({"peak_memory_mib": None, "gpu_seconds": None})
    assert (used.peak_memory_mib, used.gpu_seconds) == (None, None)
    for memory, seconds in ((300.0, 1.5), (500.0, 2.5), (400.0, None)):
        used.add({"peak_memory_mib": memory, "gpu_seconds": seconds})
    assert (used.peak_memory_mib, used.gpu_seconds) == (500.0, 4.0)


def test_progress_is_sent_now_and_then_and_at_the_end() -> None:
    sent: list[tuple[str, Any]] = []
    reporter = _Sending(lambda kind, value: sent.append((kind, value)))
    for done in range(1001):
        reporter.progress(None, done, 1000, "rows")  # type: ignore[arg-type]
    assert sent[0] == ("progress", (0, 1000, "rows"))
    assert sent[-1] == ("progress", (1000, 1000, "rows"))
    assert len(sent) < 100
    silent = _Sending(lambda kind, value: sent.append((kind, value)), shows_progress=False)
    silent.progress(None, 1, 1, "rows")  # type: ignore[arg-type]
    silent.note(None, "heard")  # type: ignore[arg-type]
    assert sent[-1] == ("note", "heard")
    assert ("progress", (1, 1, "rows")) not in sent


@dataclass(eq=False)
class Made:
    """An actor: its class and the words that it was made with."""

    kind: str
    words: tuple[Any, ...]


class FakeRay:
    """What `RayPool` asks of Ray, written down."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def nodes(self) -> list[dict[str, Any]]:
        has = {"CPU": 16.0, "GPU": 8.0, "memory": 64.0 * GIB}
        rest = {"NodeManagerHostname": "gpu-1"}
        return [
            {"NodeID": "abcdef0123", "Alive": True, "Resources": has, **rest},
            {"NodeID": "0123456789", "Alive": True, "Resources": {"CPU": 2.0}, **rest},
            {"NodeID": "dead", "Alive": False, "Resources": has, **rest},
        ]

    def remote(self, kind: type) -> Any:
        def options(**asked: Any) -> Any:
            self.asked.append((kind.__name__, asked))
            return SimpleNamespace(remote=lambda *words: Made(kind.__name__, words))

        return SimpleNamespace(options=options)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> RayPool:
    made = RayPool.__new__(RayPool)
    made._ray, made._root, made._calls = FakeRay(), "/store", CallSettings()
    made._helpers, made._gpu_gib = {}, {"abcdef0123": 141.0}
    monkeypatch.setattr(made, "_on", lambda node: {"node": node.id})
    return made


def test_nodes_that_live_are_offered_with_what_they_have(pool: RayPool) -> None:
    assert pool.nodes() == [
        Node("abcdef0123", "gpu-1 (abcdef)", 16.0, 8.0, 64.0, 141.0),
        Node("0123456789", "gpu-1 (012345)", 2.0, 0.0, 0.0, 80.0),
    ]


def test_a_worker_is_asked_for_with_all_that_it_needs(pool: RayPool) -> None:
    first, second = pool.nodes()
    made = pool.start([first, second], Need("m", 2, 4, 10.0, machines=2))
    wanted = {"num_cpus": 2, "num_gpus": 4, "memory": 10 * GIB, "max_restarts": 0}
    asked = pool._ray.asked
    assert sorted(name for name, _ in asked) == ["Actor", "Helper"]
    for name, found in asked:
        assert found == {**wanted, "node": first.id if name == "Actor" else second.id}
    assert (made.kind, made.words[0]) == ("Actor", "/store")
    assert [one.kind for one in made.words[2]] == ["Helper"]


def test_the_first_line_of_an_error_is_told() -> None:
    assert rays.first_line(RuntimeError("\n  no such node.\nTraceback")) == "no such node"
    assert rays.first_line(RuntimeError("")) == ""
