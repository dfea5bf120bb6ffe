"""The life of a vLLM server: how it starts, is shared, fails and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.backends import vllm_machine, vllm_server
from harness.backends.vllm import VLLMBackend
from harness.core.errors import EnvironmentProblem, UserError
from harness.engine.calls import CallSettings, Services
from harness.nano import zoo
from tests.harness.backends.vllm_server.stand_in import (
    MODEL,
    SAMPLED,
    Mood,
    alive,
    ask,
    bodies,
    option,
    starts,
    wait_for,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def test_it_starts_with_the_first_request_and_serves_all_stages(mood: Mood, record: Path) -> None:
    with Services() as services:
        backend = VLLMBackend(MODEL, services)
        assert backend.fingerprint == VLLMBackend(MODEL).fingerprint
        list(backend.generate([]))
        assert starts(record) == []
        list(backend.generate([ask("a")]))
        list(VLLMBackend(MODEL, services).generate([ask("b", "Hello")]))
        (start,) = starts(record)
        assert alive(start["pid"])
        list(VLLMBackend("nano:source_c", services).generate([ask("c")]))
        assert len(starts(record)) == 2
        assert not alive(start["pid"]), "two engines at once"
    assert not any(alive(entry["pid"]) for entry in starts(record))


def test_stored_responses_need_no_server_and_no_vllm(
    mood: Mood, record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CallSettings(responses=tmp_path / "responses.sqlite", max_cost_usd=0.01)
    requests = [ask("a"), ask("b", sampling=SAMPLED)]
    with Services(settings) as services:
        live = {r.id: r for r in VLLMBackend(MODEL, services).generate(requests)}
        spent = services.account.models[MODEL]
        assert (spent.requests, spent.cached, spent.cost_usd) == (2, 0, 0.0)
    monkeypatch.setenv(vllm_machine.VARIABLE, "/nonexistent/python")
    with Services(settings.model_copy(update={"offline": True})) as services:
        stored = {r.id: r for r in VLLMBackend(MODEL, services).generate(requests)}
        with pytest.raises(UserError, match="offline"):
            list(VLLMBackend(MODEL, services, dtype="bfloat16").generate(requests))
    assert len(starts(record)) == 1
    assert all(response.cached for response in stored.values())
    assert {id: r.completions for id, r in stored.items()} == {
        id: r.completions for id, r in live.items()
    }


def test_replicas_share_the_requests(mood: Mood, record: Path) -> None:
    with Services(CallSettings(replicas=2)) as services:
        backend = VLLMBackend(MODEL, services)
        requests = [ask(str(n), f"What is {n}?") for n in range(12)]
        assert all(response.error is None for response in backend.generate(requests))
        first, second = starts(record)
        assert option(first, "--port") != option(second, "--port")
        assert first["environment"]["VLLM_API_KEY"] == second["environment"]["VLLM_API_KEY"]
    assert len(bodies(record)) == 12
    assert not any(alive(entry["pid"]) for entry in starts(record))


def test_a_port_that_is_taken_meanwhile_is_given_up(
    mood: Mood, record: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    mood(taken=str(tmp_path / "taken"))
    with Services() as services:
        (response,) = VLLMBackend(MODEL, services).generate([ask("x")])
        assert response.error is None
    first, second = starts(record)
    assert option(first, "--port") != option(second, "--port")


def test_a_stranger_on_the_port_is_not_taken_for_ours(
    mood: Mood, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's server answers /health there, but refuses our key."""
    with Services() as theirs, Services() as ours:
        list(VLLMBackend(MODEL, theirs).generate([ask("x")]))
        port = int(option(starts(record)[0], "--port"))
        free = vllm_server.free_ports
        handed_out = iter([[port]])
        monkeypatch.setattr(
            vllm_server, "free_ports", lambda count: next(handed_out, None) or free(count)
        )
        (response,) = VLLMBackend(MODEL, ours).generate([ask("x")])
        assert response.error is None
    assert option(starts(record)[-1], "--port") != str(port)


def test_a_crash_at_the_start_is_told_with_the_log(mood: Mood) -> None:
    mood(crash="no such architecture")
    with Services() as services, pytest.raises(EnvironmentProblem) as caught:
        list(VLLMBackend(MODEL, services).generate([ask("x")]))
    said = str(caught.value)
    assert "exit code 1" in said
    assert "RuntimeError: no such architecture" in said
    (log,) = [word for word in said.split() if word.endswith(".log")]
    assert "no such architecture" in Path(log).read_text()


def test_a_server_that_never_answers_is_given_up(mood: Mood, record: Path, tmp_path: Path) -> None:
    mood(never=True)
    with Services() as services:
        backend = VLLMBackend(MODEL, services, start_timeout_s=0.8)
        with pytest.raises(EnvironmentProblem, match=r"not ready within 0.8 s(.|\n)*still loading"):
            list(backend.generate([ask("x")]))
    assert len(list(tmp_path.glob("crucible-vllm-*/vllm-*.log"))) == 1
    assert not any(alive(entry["pid"]) for entry in starts(record))


def test_a_model_that_loads_and_cannot_run_is_found_out_at_once(mood: Mood) -> None:
    mood(broken=True)
    with Services() as services, pytest.raises(EnvironmentProblem) as caught:
        list(VLLMBackend(MODEL, services).generate([ask("x")]))
    assert "cannot run it" in str(caught.value)
    assert "no kernel for this model" in str(caught.value)


def test_a_server_that_dies_while_answering_ends_the_run(mood: Mood, record: Path) -> None:
    mood(die_at=4)
    with Services() as services:
        backend = VLLMBackend(MODEL, services)
        requests = [ask(str(n), f"What is {n}?") for n in range(9)]
        with pytest.raises(EnvironmentProblem, match=r"exit code 7(.|\n)*the engine is dead"):
            assert all(response.error is None for response in backend.generate(requests))


def test_temporary_logs_are_removed_after_success(mood: Mood, tmp_path: Path) -> None:
    with Services() as services:
        list(VLLMBackend(MODEL, services).generate([ask("x")]))
        assert list(tmp_path.glob("crucible-vllm-*/vllm-*.log"))
    assert not list(tmp_path.glob("crucible-vllm-*"))


# Without the tokenizer, whose import takes longer than all the rest.
SCRIPT = """
import signal, time
# A background job of a shell ignores Ctrl-C, and so would the script.
signal.signal(signal.SIGINT, signal.default_int_handler)
from harness.backends.base import Request, Sampling, messages_of
from harness.backends.vllm_client import engine_client
from harness.backends.vllm_server import EngineSettings
from harness.engine.calls import Services
request = Request(
    id="x",
    messages=messages_of([{"role": "user", "content": "Hello"}]),
    sampling=Sampling(max_tokens=3),
)
with Services() as services:
    settings = EngineSettings(model="MODEL", stop_ids=(1,))
    client = engine_client(settings, "identity", services, render=lambda request: [5, 2, 9])
    (response,) = client.generate([request])
    assert response.error is None, response.error
    print("answered", flush=True)
    THEN
"""


@pytest.mark.parametrize(
    ("then", "number", "status"),
    [
        ("pass", None, 0),
        ("1 / 0", None, 1),
        ("time.sleep(600)", signal.SIGINT, -signal.SIGINT),
        ("time.sleep(600)", signal.SIGTERM, -signal.SIGTERM),
        ("time.sleep(600)", signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["success", "error", "ctrl-c", "sigterm", "kill -9"],
)
def test_nothing_is_left_of_the_server(
    mood: Mood, record: Path, then: str, number: signal.Signals | None, status: int
) -> None:
    script = SCRIPT.replace("THEN", then).replace("MODEL", str(zoo.path("target")))
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "answered\n"
    (start,) = starts(record)
    family = {start["pid"], *start["children"]}
    if number is not None:
        assert all(map(alive, family))
        run.send_signal(number)
    assert run.wait(30) == status
    wait_for(lambda: not any(map(alive, family)), "the end of the server's processes")


def test_ctrl_c_while_a_model_loads_ends_the_server(mood: Mood, record: Path) -> None:
    mood(never=True)
    script = SCRIPT.replace("MODEL", str(zoo.path("target")))
    run = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_for(lambda: starts(record), "the server")
    (start,) = starts(record)
    run.send_signal(signal.SIGINT)
    assert run.wait(30) != 0
    family = {start["pid"], *start["children"]}
    wait_for(lambda: not any(map(alive, family)), "the end of the server's processes")
