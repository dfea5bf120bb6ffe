"""Attacks on the jail of both kinds: none passes, reads, writes or takes too much."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.verification import code as checking
from harness.verification.code import Limits
from harness.verification.memory import memory_of
from harness.verification.scripts import joined
from tests.harness.verification.attacks import BOMBS, CHEATS, LEAKS, SQUARE, WRITES

NOBODY = 65534
LIMITS = Limits(wall_s=8.0, memory_mb=256, cpu_s=6)
KINDS = ("namespaces", "Landlock")


class Ordinary:
    """The jail as an ordinary user starts it; root becomes one, with readable files."""

    def __init__(self, folder: Path) -> None:
        self.root = os.geteuid() == 0
        self.python = "/usr/bin/python3" if self.root else sys.executable
        if self.root:
            shutil.copytree(checking.JAIL.parent, folder / "harness" / "verification")
        self.problems: dict[str, str] = {}  # kinds that do not work on this machine
        self.script = folder / "harness/verification/jail.py" if self.root else checking.JAIL

    def needs(self, how: str) -> None:
        if how in self.problems:
            pytest.skip(f"no {how} on this machine: {self.problems[how]}")

    def popen(self, command: list[str], **more: Any) -> subprocess.Popen[bytes]:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.root else {}
        return subprocess.Popen(command, start_new_session=True, **user, **more)

    def start(self, how: str, limits: Limits) -> subprocess.Popen[bytes]:
        request = {
            "caller": os.getpid(),
            "isolation": how,
            "temporary": tempfile.gettempdir(),
            "paths": ["/usr" if self.root else sys.base_prefix],
            "limits": limits.model_dump(),
        }
        command = [self.python, "-S", "-s", "-P", str(self.script), json.dumps(request)]
        return self.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})

    def run(
        self, code: str, tests: tuple[str, ...], how: str, limits: Limits = LIMITS
    ) -> dict[str, Any]:
        return self.finish(self.start(how, limits), code, tests)

    def finish(
        self, process: subprocess.Popen[bytes], code: str, tests: tuple[str, ...]
    ) -> dict[str, Any]:
        scripts = joined(tests)
        given = {"code": code, "tests": [s.text for s in scripts], "entry_point": ""}
        weights = [script.tests for script in scripts]
        output, _ = process.communicate(json.dumps({**given, "weights": weights}).encode())
        found: dict[str, Any] = json.loads(output)
        return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A folder that every user can read."""
    with tempfile.TemporaryDirectory(prefix="attacked-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def ordinary(shared: Path) -> Ordinary:
    folder = shared / "package"
    folder.mkdir(exist_ok=True)
    made = Ordinary(folder)
    made.problems = {
        how: str(found)
        for how in KINDS
        if (found := made.run("def f(x): return x * x", SQUARE, how)) != {"passed": 2}
    }
    return made


@pytest.fixture(scope="module")
def victim(shared: Path, ordinary: Ordinary) -> Iterator[dict[str, Any]]:
    """A file, a process and servers of the user who starts the jail, all with a secret."""
    folder, mark = shared / "home", f"s3cret-{os.urandom(6).hex()}"
    folder.mkdir()
    (folder / "key").write_text(mark)
    if ordinary.root:
        os.chown(folder, NOBODY, NOBODY)
        os.chown(folder / "key", NOBODY, NOBODY)
    process = ordinary.popen(["/bin/sleep", "300"], env={"API_KEY": mark})
    tcp, local = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    local.bind(str(folder / "s"))
    (folder / "s").chmod(0o777)
    local.listen()

    def serve(server: socket.socket) -> None:
        while True:
            try:
                with server.accept()[0] as connection:
                    connection.sendall(mark.encode())
            except OSError:
                return

    for server in (tcp, local):
        threading.Thread(target=serve, args=(server,), daemon=True).start()
    yield {
        "secret": folder / "key",
        "folder": folder,
        "pid": process.pid,
        "port": tcp.getsockname()[1],
        "mark": mark,
    }
    process.kill()
    process.wait()
    tcp.close()
    local.close()


@pytest.mark.parametrize("how", KINDS)
def test_no_cheat_passes(ordinary: Ordinary, how: str) -> None:
    ordinary.needs(how)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda a: ordinary.run(a.code, a.tests or SQUARE, how), CHEATS)
    passed = {a.name: result for a, result in zip(CHEATS, found) if result["passed"]}
    assert len(CHEATS) > 40
    assert passed == {}


def state_of(folder: Path) -> Any:
    entries = [folder, *sorted(folder.iterdir())]
    return [
        (path.name, path.stat().st_mode, path.stat().st_mtime_ns, path.stat().st_size)
        for path in entries
    ]


@pytest.mark.parametrize("how", KINDS)
def test_nothing_is_read_or_changed(ordinary: Ordinary, victim: dict[str, Any], how: str) -> None:
    ordinary.needs(how)
    before = state_of(victim["folder"])

    def attempt(attack: Any) -> dict[str, Any]:
        lines = attack.code.format(**victim).split("\n")
        code = "\n".join(["found = ''", "try:", *(f"    {line}" for line in lines)])
        code += "\nexcept Exception as error: found = repr(error)\ndef f(): return found"
        return ordinary.run(code, (f"assert {victim['mark']!r} in f(), f()",), how)

    attacks = (*LEAKS, *WRITES)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip((a.name for a in attacks), pool.map(attempt, attacks)))
    leaks = {n: r for n, r in found.items() if r["passed"] or victim["mark"] in json.dumps(r)}
    assert leaks == {}
    assert state_of(victim["folder"]) == before
    assert (victim["secret"]).read_text() == victim["mark"]


@pytest.mark.parametrize("attack", BOMBS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("privileged", [False, True])
def test_memory_stays_within_its_limit(
    ordinary: Ordinary, attack: Any, privileged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordinary.needs("namespaces")
    if privileged and not ordinary.root:
        pytest.skip("a control group needs a privileged user")
    if privileged:
        monkeypatch.setattr(ordinary, "popen", lambda command, **more: subprocess.Popen(
            command, start_new_session=True, **more))  # fmt: skip
    limit = 256
    process = ordinary.start("namespaces", Limits(wall_s=15.0, cpu_s=10, memory_mb=limit))
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(0.002)

    watching = threading.Thread(target=watch)
    watching.start()
    code = attack.code.replace("400 <<", "200 <<").replace("300 <<", "150 <<")
    found = ordinary.finish(process, code, ("assert f(3) == 9",))
    watching.join()
    assert found["passed"] == 0
    assert peak < 1.2 * (limit << 20), f"{peak >> 20} MB, {found}"
