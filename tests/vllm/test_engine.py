"""vLLM against transformers, and what is left of it afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.backends.base import Request, Sampling, ScoreRequest, messages_of
from harness.backends.conformance import TOLERANCE, check_backend
from harness.backends.hf import HFBackend
from harness.backends.vllm import VLLMBackend
from harness.core.errors import EnvironmentProblem
from harness.engine.calls import Services
from harness.models.checkpoints import load_causal_lm

pytestmark = pytest.mark.slow

Processes = Callable[[str], list[str]]


def test_greedy_ids_are_those_of_transformers(
    vllm: VLLMBackend, hf: HFBackend, requests: list[Request]
) -> None:
    expected = {r.id: r.completions[0] for r in hf.generate(requests)}
    original = HFBackend(*load_causal_lm("nano:target"))
    for response in original.generate(requests):
        assert response.completions[0].token_ids == expected[response.id].token_ids
    found = {r.id: r for r in vllm.generate(requests)}
    assert [r.error for r in found.values()] == [None] * len(requests)
    different = [
        (id, response.completions[0], expected[id])
        for id, response in found.items()
        if response.completions[0] != expected[id]
    ]
    assert different == []


def test_conforms(vllm: VLLMBackend) -> None:
    sampled = Sampling(temperature=0.9, top_p=0.95, max_tokens=12, n=3, seed=7)
    likeliest = Sampling(max_tokens=8, top_logprobs=5, n=2)
    one = Sampling(temperature=1.0, max_tokens=1, n=2, top_logprobs=20)
    messages = messages_of([{"role": "user", "content": "Add up 7+9+5. Odd or even?"}])
    check_backend(
        vllm,
        [
            Request(id="a", messages=messages, sampling=sampled),
            Request(id="b", messages=messages, sampling=sampled),
            Request(id="greedy", messages=messages, sampling=likeliest),
            Request(id="one token", messages=messages, sampling=one),
        ],
    )


def test_samples_follow_seed_and_id(vllm: VLLMBackend, requests: list[Request]) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=24, n=4, seed=3)
    asked = [request.model_copy(update={"sampling": sampling}) for request in requests[:8]]
    first = {r.id: r.completions for r in vllm.generate(asked)}
    again = {r.id: r.completions for r in vllm.generate(asked[::-1])}
    assert first == again
    assert len(set(first.values())) == len(first)


def test_likeliest_tokens_are_those_of_transformers(
    vllm: VLLMBackend, hf: HFBackend, requests: list[Request]
) -> None:
    """Before temperature and top-p, however the tokens were chosen."""
    sampling = Sampling(max_tokens=8, top_logprobs=4)
    asked = [request.model_copy(update={"sampling": sampling}) for request in requests[:16]]
    expected = {r.id: r.completions[0].top_logprobs for r in hf.generate(asked)}
    for response in vllm.generate(asked):
        tops = response.completions[0].top_logprobs or ()
        for ours, theirs in zip(tops, expected[response.id] or (), strict=True):
            assert [value for _, value in ours] == pytest.approx(
                [value for _, value in theirs], abs=TOLERANCE
            )
            assert ours[0][0] == theirs[0][0]


def test_scores_are_those_of_transformers(
    vllm: VLLMBackend, hf: HFBackend, requests: list[Request]
) -> None:
    answers = {r.id: r.completions[0].text for r in hf.generate(requests[:32])}
    answers[requests[0].id] = ""
    answers[requests[1].id] = "something else entirely, <|user|> included"
    asked = [
        ScoreRequest(id=r.id, messages=r.messages, response=answers[r.id]) for r in requests[:32]
    ]
    expected = {score.id: score for score in hf.score(asked)}
    for score in vllm.score(asked):
        assert score.tokens == expected[score.id].tokens
        assert score.token_logps == pytest.approx(expected[score.id].token_logps, abs=TOLERANCE)
        assert score.logp == pytest.approx(expected[score.id].logp, abs=TOLERANCE)


def test_nothing_is_left_after_success(vllm: VLLMBackend, mark: str, processes: Processes) -> None:
    """The last test with this engine: closes it."""
    list(vllm.generate([]))
    assert any("api_server" in line for line in processes(mark))
    vllm.services.close()
    assert processes(mark) == []


SCRIPT = """
import signal, sys, time
# A background job of a shell ignores Ctrl-C, and so would the script.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from harness.backends.vllm import VLLMBackend
from harness.backends.base import Request, Sampling, messages_of
from harness.engine.calls import Services
messages = messages_of([{"role": "user", "content": "Add up 7+9+5. Odd or even?"}])
sampling = Sampling(max_tokens=5)
with Services() as services:
    backend = VLLMBackend(Path(sys.argv[1]), services, dtype="float32")
    (response,) = backend.generate([Request(id="x", messages=messages, sampling=sampling)])
    print("answered", response.error, flush=True)
    THEN
"""


@pytest.mark.parametrize(
    ("then", "number"),
    [
        ("1 / 0", None),
        ("time.sleep(600)", signal.SIGINT),
        ("time.sleep(600)", signal.SIGKILL),
    ],
    ids=["error", "ctrl-c", "kill -9"],
)
def test_nothing_is_left_of_the_engine(
    model: Path, processes: Processes, then: str, number: signal.Signals | None
) -> None:
    mark = uuid.uuid4().hex
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("THEN", then), str(model)],
        env={**os.environ, "CRUCIBLE_TEST_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "answered None\n"
        if number is not None:
            assert any("api_server" in line for line in processes(mark))
            os.killpg(run.pid, number)  # as a terminal sends Ctrl-C: to the whole group
        assert run.wait(60) != 0
        end = time.monotonic() + 30
        while processes(mark) and time.monotonic() < end:
            time.sleep(0.1)
        assert processes(mark) == []
    finally:
        run.kill()


def test_a_model_that_vllm_cannot_run_is_refused_before_the_first_prompt() -> None:
    """The heads of the nano models are too small for CPUs, which shows with the first token."""
    with Services() as services:
        backend = VLLMBackend("nano:target", services, dtype="float32")
        request = Request(id="x", messages=messages_of([{"role": "user", "content": "Hello"}]))
        said = ""
        try:
            list(backend.generate([request]))
        except EnvironmentProblem as error:
            said = str(error)
    if not said:
        pytest.skip("this vLLM runs heads of any size")
    assert re.search(r"cannot run it(.|\n)*head_dim=24", said)
