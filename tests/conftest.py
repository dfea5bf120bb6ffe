"""Shared fixtures: no network, golden vectors, public data."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

# Several test processes side by side: more threads each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Background jobs of scripts ignore Ctrl-C, and so would this process and those that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start hundreds of programs: without stored bytecode each compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def pytest_collection_finish() -> None:
    """Collected tests and imported libraries stay: no later collection of garbage visits them."""
    gc.collect()
    gc.freeze()


def is_here(host: str) -> bool:
    """Whether an address is one of this machine."""
    if host in LOOPBACK:
        return True
    try:
        ipaddress.ip_address(host)  # a name would be looked up in the network
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
    except (ValueError, OSError):
        return False
    return True


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection that leaves this machine fails the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and isinstance(address, tuple):
            assert is_here(address[0]), f"a test tried to reach {address}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUCIBLE_HOME", str(tmp_path / "crucible-home"))


@pytest.fixture
def golden() -> Callable[[str], Path]:
    """`golden("wrpo/wrpo_loss.json")`: a vector file, or a skip that names it."""
    root = Path(os.environ.get("CRUCIBLE_GOLDEN") or ROOT / "tests" / "golden" / "data")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"golden vectors {name} are absent below {root}")
        return path

    return find


@pytest.fixture
def realdata() -> Callable[[str], Path]:
    """`realdata("alpaca_eval2")`: a folder of public data, or a skip that names it."""
    root = Path(os.environ.get("CRUCIBLE_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"public data {name} is absent below {root} (set CRUCIBLE_DATA)")
        return path

    return find


@pytest.fixture
def numbers() -> Callable[[str], Path]:
    """`numbers("alpaca_eval2")`: a folder of numbers derived from public data, always there."""
    return lambda name: ROOT / "tests" / "numbers" / name
