"""ChildProcess: nothing of a child process is left, however its parent goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.backends.server import wait_until_ready
from harness.core.errors import EnvironmentProblem
from harness.engine.children import ChildProcess, first_error, free_ports, tail

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

# A server with a worker in its group and one in a session of its own; writes their ids.
FAMILY = """
import os, subprocess, sys, time
own = subprocess.Popen(["sleep", "600"])
away = subprocess.Popen(["sleep", "600"], start_new_session=True)
with open(sys.argv[1] + ".part", "w") as stream:
    stream.write(f"{os.getpid()} {own.pid} {away.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
PARENT = """
import os, signal, sys, time
from pathlib import Path
# A background job of a shell ignores Ctrl-C, and so would the script.
signal.signal(signal.SIGINT, signal.default_int_handler)
from harness.engine.children import ChildProcess
server = ChildProcess({command!r}, os.environ, Path({log!r}), grace_s=0.2)
{then}
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_for(fact: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """The process ids that FAMILY wrote, once it is up."""

    def pids() -> list[int]:
        wait_for((tmp_path / "pids").exists, "the server's processes")
        return [int(pid) for pid in (tmp_path / "pids").read_text().split()]

    yield pids
    if (tmp_path / "pids").exists():
        for pid in pids():
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def server_command(tmp_path: Path, ending: str = "time.sleep(600)") -> list[str]:
    return [sys.executable, "-c", FAMILY + ending, str(tmp_path / "pids")]


def parent_script(tmp_path: Path, then: str, command: list[str] | None = None) -> list[str]:
    code = PARENT.format(
        command=command or server_command(tmp_path), log=str(tmp_path / "log"), then=then
    )
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_closing_ends_the_server_and_all_it_started(
    tmp_path: Path, family: Callable[[], list[int]]
) -> None:
    with ChildProcess(server_command(tmp_path), os.environ, tmp_path / "log") as server:
        pids = family()
        assert all(map(alive, pids))
        assert server.exit_code is None
    assert server.exit_code == 0
    assert not any(map(alive, pids))


def test_a_server_that_ignores_the_request_is_killed(
    tmp_path: Path, family: Callable[[], list[int]]
) -> None:
    command = server_command(tmp_path)
    command[2] = STUBBORN + command[2]
    server = ChildProcess(command, os.environ, tmp_path / "log", grace_s=0.3)
    pids = family()
    server.close()
    server.close()  # twice does no harm
    assert not any(map(alive, pids))


def test_a_server_that_ends_leaves_nothing_and_gives_its_exit_code(
    tmp_path: Path, family: Callable[[], list[int]]
) -> None:
    command = server_command(tmp_path, "sys.exit('ValueError: no such model')")
    with ChildProcess(command, os.environ, tmp_path / "log") as server:
        with pytest.raises(EnvironmentProblem) as caught:
            wait_until_ready(server, lambda: False, 30)
        assert server.exit_code == 1
        assert not any(map(alive, family()))
    assert "exit code 1" in str(caught.value)
    assert "no such model" in str(caught.value)
    assert str(tmp_path / "log") in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_goes_with_its_parent(
    tmp_path: Path, family: Callable[[], list[int]], number: signal.Signals
) -> None:
    parent = subprocess.Popen(parent_script(tmp_path, "time.sleep(600)"), stderr=subprocess.DEVNULL)
    pids = family()
    assert all(map(alive, pids))
    parent.send_signal(number)
    parent.wait(10)
    wait_for(lambda: not any(map(alive, pids)), "the end of the server's processes")


def test_a_fork_of_the_parent_does_not_keep_the_server(
    tmp_path: Path, family: Callable[[], list[int]]
) -> None:
    """A forked sibling holds the pipe open, but the warden's parent is another one."""
    then = "pid = os.fork() or time.sleep(600)\nprint(pid, flush=True)\ntime.sleep(600)"
    parent = subprocess.Popen(
        parent_script(tmp_path, then), stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        pids = family()
        parent.kill()
        parent.wait(10)
        wait_for(lambda: not any(map(alive, pids)), "the end of the server's processes")
    finally:
        os.killpg(parent.pid, signal.SIGKILL)


def test_an_error_in_the_parent_ends_the_server(
    tmp_path: Path, family: Callable[[], list[int]]
) -> None:
    then = f"while not Path({str(tmp_path / 'pids')!r}).exists(): time.sleep(0.01)\n1 / 0"
    done = subprocess.run(parent_script(tmp_path, then), capture_output=True, text=True)
    assert "ZeroDivisionError" in done.stderr
    pids = family()
    wait_for(lambda: not any(map(alive, pids)), "the end of the server's processes")


def test_ctrl_c_in_a_terminal_does_not_reach_the_server(
    tmp_path: Path, family: Callable[[], list[int]]
) -> None:
    """Ctrl-C goes to the whole foreground group; the parent alone decides what it means."""
    then = """
    import signal
    caught = []
    signal.signal(signal.SIGINT, lambda *_: caught.append(1))
    print("ready", flush=True)
    while not caught:
        time.sleep(0.01)
    time.sleep(0.5)
    print(server.exit_code, flush=True)
    server.close()
    """
    parent = subprocess.Popen(
        parent_script(tmp_path, textwrap.dedent(then)),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = family()
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.stdout.read() == "None\n"
    assert parent.wait(60) == 0
    assert not any(map(alive, pids))


def test_the_server_ends_when_its_warden_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with ChildProcess(command, os.environ, tmp_path / "log") as server:
        warden = server._warden.pid
        children = Path(f"/proc/{warden}/task/{warden}/children")
        wait_for(lambda: bool(children.read_text().split()), "the server")
        (pid,) = map(int, children.read_text().split())
        os.kill(warden, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the end of the server")


def test_a_server_that_never_gets_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    code = "import time; print('\\x1b[32mloading 3 %\\x1b[0m', flush=True); time.sleep(600)"
    with ChildProcess([sys.executable, "-c", code], os.environ, tmp_path / "log") as server:
        wait_for(lambda: "loading" in tail(server.log), "the first line")
        with pytest.raises(EnvironmentProblem, match=r"not ready within 0.2 s(.|\n)*\nloading 3 %"):
            wait_until_ready(server, lambda: False, 0.2)


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with (
        ChildProcess(["/nonexistent/python"], os.environ, tmp_path / "log") as server,
        pytest.raises(EnvironmentProblem, match="/nonexistent/python"),
    ):
        wait_until_ready(server, lambda: False, 30)


def test_the_environment_is_what_was_given(tmp_path: Path) -> None:
    code = "import os; print(sorted(os.environ))"
    environment = {"SECRET": "x", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    server = ChildProcess([sys.executable, "-c", code], environment, tmp_path / "log")
    wait_for(lambda: server.exit_code is not None, "the end")
    server.close()
    assert tail(server.log) == "['LC_ALL', 'PATH', 'SECRET']"


def test_the_first_error_of_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "INFO all is well\n"
        "(Worker pid=3) ERROR 11-22 18:18:18 [executor.py:1063] Traceback:\n"
        "(Worker pid=3) ERROR 11-22 18:18:18 [executor.py:1063] RuntimeError: head_dim=24\n"
        "RuntimeError: Worker failed, see above\n"
    )
    assert first_error(log) == "RuntimeError: head_dim=24"
    assert first_error(tmp_path / "none") == ""
    assert tail(log, 1) == "RuntimeError: Worker failed, see above"


def test_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
