"""VLLMBackend and its server, with a package `vllm` that stands in for the real one.

The interpreter, the command line, the supervision and the HTTP are those of a real run; only the
module that the child process runs is another, see `fake_vllm`. `tests/vllm` has the real one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.backends import vllm_machine, vllm_server
from harness.backends.base import Backend, Message, Request, Sampling, ScoreRequest, messages_of
from harness.backends.conformance import check_backend
from harness.backends.conversing import Turn, converse
from harness.backends.sampling import SampleParams, sample
from harness.backends.vllm import VLLMBackend, open_judge
from harness.backends.vllm_machine import find_interpreter, gpu_shares, visible_gpus
from harness.backends.vllm_server import EngineSettings, command, environment
from harness.core.errors import BadData, BadRecord, EnvironmentProblem
from harness.engine.calls import CallSettings, Services
from harness.engine.operations import Artifact
from harness.models import chat
from harness.nano import zoo
from tests.harness.backends.vllm_server.stand_in import (
    MODEL,
    SAMPLED,
    Mood,
    ask,
    bodies,
    option,
    starts,
)
from tests.operation_runs import FakeContext

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


# Answers


def test_conforms(services: Services) -> None:
    check_backend(
        VLLMBackend(MODEL, services),
        [
            ask("a", sampling=SAMPLED),
            ask("b", sampling=SAMPLED),
            ask("c", "What is 12 and 30? " * 4),
            ask("greedy", "Hello", Sampling(max_tokens=5, top_logprobs=5, n=2)),
            ask("one", "Hello", Sampling(temperature=1.0, max_tokens=1, n=2, top_logprobs=20)),
        ],
    )


@dataclass(frozen=True)
class Talk:
    """A dialogue of three turns."""

    id: str
    text: str

    def ask(self, turns: Sequence[Turn]) -> Request | None:
        said = [Message(role="user", content=self.text)]
        for turn in turns:
            said.append(Message(role="assistant", content=turn.text))
            said.append(Message(role="user", content="And then?"))
        how = SAMPLED.model_copy(update={"n": 1})
        asked = Request(id=f"{self.id}/{len(turns)}", messages=tuple(said), sampling=how)
        return asked if len(turns) < 3 else None


def test_dialogues_go_on_as_they_do_in_rounds(services: Services, record: Path) -> None:
    backend = VLLMBackend(MODEL, services)
    talks = [Talk(f"t{n}", f"Name {n} colours") for n in range(6)] + [Talk("long", "word " * 5000)]

    class InRounds(Backend):
        fingerprint = backend.fingerprint
        generate = backend.generate

    apart = dict(converse(backend, talks))
    assert len(bodies(record)) == 18
    assert apart == dict(converse(InRounds(), talks))
    assert [len(turns) for turns in apart.values() if not turns[-1].error] == [3] * 6
    assert "the model reads at most" in str(apart["long"][0].error)
    assert all(turn.tokens_in for turns in apart.values() for turn in turns if not turn.error)


def test_ids_go_out_and_ids_come_back(services: Services, record: Path) -> None:
    backend = VLLMBackend(MODEL, services)
    sampling = SAMPLED.model_copy(update={"max_tokens": 10, "n": 8})
    (response,) = backend.generate([ask("x", sampling=sampling)])
    expected = chat.prompt_ids(
        backend.tokenizer, [{"role": "user", "content": ask("x").messages[0].content}]
    )
    assert response.prompt_ids == tuple(expected)
    (body,) = bodies(record)
    assert body["prompt"] == expected
    finishes = [completion.finish for completion in response.completions]
    assert set(finishes) == {"stop", "length"}
    stops = set(chat.stop_ids(backend.tokenizer))
    for completion in response.completions:
        ids = list(completion.token_ids or ())
        assert not stops & set(ids)
        assert completion.text == backend.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    lengths = [len(completion.token_ids or ()) for completion in response.completions]
    assert response.tokens_in == len(expected)
    assert response.tokens_out == sum(lengths) + finishes.count("stop")


def test_likeliest_tokens_are_text(services: Services) -> None:
    backend = VLLMBackend(MODEL, services)
    (response,) = backend.generate([ask("x", sampling=Sampling(max_tokens=4, top_logprobs=3))])
    (completion,) = response.completions
    assert completion.top_logprobs is not None
    for token, pairs in zip(completion.token_ids or (), completion.top_logprobs, strict=True):
        assert pairs[0][0] == backend.tokenizer.decode([token])
        assert len(pairs) == 3


def test_samples_depend_on_seed_and_id(services: Services) -> None:
    backend = VLLMBackend(MODEL, services)
    other = SAMPLED.model_copy(update={"seed": 8})
    requests = [ask("a", sampling=SAMPLED), ask("b", sampling=SAMPLED), ask("c", sampling=other)]
    found = {r.id: r.completions for r in backend.generate(requests)}
    assert len({found["a"], found["b"], found["c"]}) == 3
    (again,) = backend.generate([requests[0]])
    assert again.completions == found["a"]


def test_scores_sum_the_answers_tokens(services: Services) -> None:
    backend = VLLMBackend(MODEL, services)
    message = {"role": "user", "content": "Hello"}
    request = ScoreRequest(id="s", messages=messages_of([message]), response="red and blue")
    (score,) = backend.score([request])
    answer = chat.response_ids(backend.tokenizer, "red and blue")
    assert score.tokens == len(answer) == len(score.token_logps)
    assert score.logp == pytest.approx(sum(score.token_logps))
    (greedy,) = backend.generate([ask("g", "Hello", Sampling(max_tokens=1, top_logprobs=20))])
    likeliest = greedy.completions[0].top_logprobs or ()
    known = dict(likeliest[0])
    text = backend.tokenizer.decode([answer[0]])
    if text in known:
        assert score.token_logps[0] == pytest.approx(known[text])
    assert score.token_logps[0] <= likeliest[0][0][1]


def test_a_prompt_that_is_too_long_fails_alone(services: Services, record: Path) -> None:
    backend = VLLMBackend(MODEL, services)
    found = {r.id: r for r in backend.generate([ask("long", "blue " * 300), ask("short")])}
    assert "at most 256" in (found["long"].error or "")
    assert found["short"].error is None
    assert len(bodies(record)) == 1
    request = ScoreRequest(id="s", messages=ask("s").messages, response="blue " * 300)
    (score,) = backend.score([request])
    assert "at most 256" in (score.error or "")


def test_a_prompt_that_is_too_long_can_be_cut(services: Services, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"ref": MODEL, "engine": "vllm"}))
    context = FakeContext(tmp_path)
    context.services = services
    rows = [{"id": "long", "messages": [{"role": "user", "content": "blue " * 300}]}]
    params = SampleParams(too_long="cut", max_tokens=5)
    model, prompts = Artifact("m", tmp_path), Artifact("p", tmp_path)
    ((row,),) = sample(context, params, iter([rows]), prompts=prompts, model=model)
    assert row["cut_characters"] > 0
    assert len(row["responses"]) == 1


def test_answers_end_at_the_models_context(services: Services, record: Path) -> None:
    backend = VLLMBackend(MODEL, services, max_model_len=64)
    (response,) = backend.generate([ask("x", sampling=Sampling(max_tokens=4000))])
    assert response.error is None
    assert response.tokens_in + bodies(record)[0]["max_tokens"] == 64
    assert option(starts(record)[0], "--max-model-len") == "64"


def test_a_server_that_reads_less_than_expected_is_refused(mood: Mood) -> None:
    with Services() as services:
        backend = VLLMBackend(MODEL, services, engine_args={"max-model-len": 32})
        with pytest.raises(BadRecord, match="max_model_len"):
            list(backend.generate([ask("x")]))


def test_repeated_ids_are_refused(services: Services) -> None:
    with pytest.raises(BadData, match='the id "a"'):
        list(VLLMBackend(MODEL, services).generate([ask("a"), ask("a")]))


# What the server is started with


def test_the_command_line_and_the_environment(services: Services, record: Path) -> None:
    backend = VLLMBackend(MODEL, services, engine_args={"block_size": 32, "quiet": False})
    list(backend.generate([ask("x")]))
    (start,) = starts(record)
    assert option(start, "--model") == str(zoo.path("target"))
    assert option(start, "--served-model-name") == "nano:target"
    assert option(start, "--host") == "127.0.0.1"
    assert option(start, "--dtype") == "float32"
    assert option(start, "--seed") == "0"
    assert option(start, "--block-size") == "32"
    assert {"--enforce-eager", "--no-quiet"} <= set(start["argv"])
    assert "--trust-remote-code" not in start["argv"]
    key = start["environment"]["VLLM_API_KEY"]
    assert len(key) > 30
    assert not any(key in part for part in start["argv"])
    assert start["environment"]["OPENAI_API_KEY"] is None
    assert start["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert key not in os.environ.values()


def test_stop_ids_are_told_to_the_server(
    mood: Mood, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    starting = vllm_server._Launch.start

    def start(launch: vllm_server._Launch) -> None:
        path = launch.folder / "generation_config.json"
        told.append(json.loads(path.read_text()))
        starting(launch)

    monkeypatch.setattr(vllm_server._Launch, "start", start)
    with Services() as services:
        backend = VLLMBackend(MODEL, services)
        list(backend.generate([ask("x")]))
        assert told == [{"eos_token_id": chat.stop_ids(backend.tokenizer)}]
    assert "--generation-config" in starts(record)[0]["argv"]


def test_remote_code_only_where_the_artifact_says_so(tmp_path: Path, mood: Mood) -> None:
    for trust in (False, True):
        pointer = {"ref": MODEL, "engine": "vllm", "dtype": "float16", "trust_remote_code": trust}
        (tmp_path / "model.json").write_text(json.dumps(pointer))
        settings = VLLMBackend(tmp_path)._base
        assert settings.dtype == "float16"
        line = command("python", settings, 1, tmp_path, on_cpu=True)
        assert ("--trust-remote-code" in line) == trust


def test_arguments_with_settings_of_their_own_are_refused(tmp_path: Path) -> None:
    settings = EngineSettings(model="m", engine_args={"port": 3})
    with pytest.raises(BadRecord, match="port"):
        command("python", settings, 1, tmp_path, on_cpu=True)


def test_a_judges_template_arguments_are_part_of_its_model(services: Services) -> None:
    plain = open_judge({"model": "nano:target"}, services)
    quiet = open_judge({"model": "nano:target", "template": '{"enable_thinking":false}'}, services)
    assert plain.fingerprint != quiet.fingerprint
    spelt = VLLMBackend('nano:target?template={"enable_thinking": false}', services)
    assert spelt.fingerprint == quiet.fingerprint


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_shares([], 2, {}) == [None, None]
    assert gpu_shares(["0", "1"], 2, {}) == [["0"], ["1"]]
    with pytest.raises(EnvironmentProblem, match="need 4 GPUs; 3 are visible"):
        gpu_shares(["0", "1", "2"], 2, {"tensor_parallel_size": 2})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []
    assert environment("k", ["2", "5"], on_cpu=False)["CUDA_VISIBLE_DEVICES"] == "2,5"


def test_on_a_gpu_weights_are_bfloat16_and_nothing_is_eager(
    mood: Mood, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    found = find_interpreter(CallSettings())
    as_gpu = vllm_machine.Interpreter(found.path, found.version, cpu_only=False)
    monkeypatch.setattr(vllm_server, "find_interpreter", lambda settings: as_gpu)
    with Services(CallSettings(replicas=2)) as services:
        list(VLLMBackend(MODEL, services).generate([ask("x")]))
    first, second = starts(record)
    assert option(first, "--dtype") == "bfloat16"
    assert "--enforce-eager" not in first["argv"]
    seen = {entry["environment"]["CUDA_VISIBLE_DEVICES"] for entry in (first, second)}
    assert seen == {"1", "3"}


# Where vLLM is


def test_without_vllm_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(vllm_machine.VARIABLE, raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"crucible-bench\[vllm\].*CRUCIBLE_VLLM_PYTHON"):
        find_interpreter(CallSettings())


def test_an_interpreter_without_vllm_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(EnvironmentProblem, match=f"{bare} has no vLLM"):
        find_interpreter(CallSettings(vllm_python=str(bare)))
    with pytest.raises(EnvironmentProblem, match="/nonexistent/python is not a Python that runs"):
        find_interpreter(CallSettings(vllm_python="/nonexistent/python"))


def test_the_setting_goes_before_the_variable(mood: Mood) -> None:
    assert find_interpreter(CallSettings()).path == sys.executable
    with pytest.raises(EnvironmentProblem, match="/nonexistent/python"):
        find_interpreter(CallSettings(vllm_python="/nonexistent/python"))


# Identity


def test_the_fingerprint_names_weights_dtype_and_what_shapes_answers(mood: Mood) -> None:
    first = VLLMBackend(MODEL).fingerprint
    assert first == VLLMBackend(f"vllm:{MODEL}").fingerprint
    assert first == VLLMBackend(MODEL, engine_args={"tensor-parallel-size": 2}).fingerprint
    others = [
        VLLMBackend("nano:source_c"),
        VLLMBackend(MODEL, dtype="bfloat16"),
        VLLMBackend(MODEL, engine_args={"quantization": "fp8"}),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 4


def test_an_artifact_is_known_by_what_it_points_to(tmp_path: Path, mood: Mood) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"ref": MODEL, "engine": "vllm"}))
    pointing, named = VLLMBackend(tmp_path), VLLMBackend(MODEL)
    assert pointing.identity == named.identity
    assert pointing._base.name == named._base.name == MODEL


def test_a_judge_reference_carries_options(mood: Mood) -> None:
    judge = open_judge(
        {
            "model": MODEL,
            "max_model_len": "128",
            "tensor_parallel_size": "2",
            "quantization": "fp8",
        },
        Services(),
    )
    assert judge._base.max_model_len == 128
    assert judge._base.engine_args == {"tensor_parallel_size": 2, "quantization": "fp8"}
    with pytest.raises(BadRecord, match="names no model"):
        open_judge({"model": ""}, Services())
