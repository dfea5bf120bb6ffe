"""The judge's prompt computed again is the one the judging operation sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.backends.base import Backend, Completion, Request, Response
from harness.engine.calls import Services
from harness.engine.operations import Artifact, Row
from harness.engine.registry import load_operation
from harness.judging import operations
from harness.judging.judge import Judge, protocol
from leaderboards.samples import prompts, samples_of_artifact
from leaderboards.samples.prompts import prompt_writer
from tests.hand_made import JUDGE, HandMade

PROMPTS = [
    {"id": "a", "messages": [{"role": "user", "content": "First?"}], "category": "math"},
    {
        "id": "b",
        "messages": [{"role": "user", "content": "Second?"}],
        "category": "creative_writing",
    },
]


class Recording(Backend):
    """A judge that answers anything and remembers what it was asked."""

    fingerprint = "recording"

    def __init__(self) -> None:
        self.asked: dict[str, list[dict[str, str]]] = {}

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        for request in requests:
            said = [{"role": m.role, "content": m.content} for m in request.messages]
            self.asked[request.id.partition("#")[0]] = said
            text = "[[A>B]] Rating: [[7]] [[A]]"
            logprobs = ((("m", -0.1), ("M", -2.3)),)
            completion = Completion(text=text, finish="stop", top_logprobs=logprobs)
            yield Response(id=request.id, completions=(completion,), tokens_in=1, tokens_out=1)


class Context:
    device = "cpu"

    def __init__(self, folder: Path) -> None:
        self.directory = self.scratch = folder
        self.services = Services()

    def progress(self, *arguments: Any, **more: Any) -> None: ...

    def count(self, **more: Any) -> None: ...


def judged(
    made: HandMade,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    name: str,
    kind: str,
    **inputs: list[Row],
) -> tuple[str, Recording]:
    """Run a judging operation on rows; its artifact's id, and what the judge was asked."""
    recording = Recording()
    for module in (operations, prompts):
        monkeypatch.setattr(module, "open_judge", lambda ref, rules, *_: Judge(recording, rules))
    ids = {role: made.put("rows", rows, params={"role": role}) for role, rows in inputs.items()}
    artifacts: dict[str, Artifact] = {role: made.store.artifact(id) for role, id in ids.items()}
    operation = load_operation(name)
    params = {"judge": "recording", "fingerprint": Judge(recording, protocol(kind)).fingerprint}
    resolved = operation.params.model_validate(params)
    batches = iter([artifacts[operation.rows or ""].rows()])
    stream = operation.function(Context(folder), resolved, batches, **artifacts)
    rows = [row for batch in stream for row in batch]
    return made.put(name, rows, params=params, inputs=ids), recording


def answered(text: str, *, turns: bool = False) -> list[Row]:
    rows: list[Row] = []
    for prompt in PROMPTS:
        said = f"{text} to {prompt['id']}"
        if turns:
            talk = [
                *prompt["messages"],
                {"role": "assistant", "content": f"first {said}"},
                {"role": "user", "content": "And then?"},
            ]
            answers = [f"first {said}", said]
            rows.append({**prompt, "messages": talk, "responses": [said], "answers": answers})
        else:
            rows.append({**prompt, "responses": [said]})
    return rows


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("judge_alpaca", "alpaca"),
        ("judge_arena", "arena"),
        ("judge_mt_bench", "rating"),
        ("judge_mt_bench_pairwise", "pairwise"),
    ],
)
def test_the_prompt_is_the_one_that_was_sent(
    hand_made: HandMade,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    kind: str,
) -> None:
    turns = kind in ("rating", "pairwise")
    driving = load_operation(name).rows or ""
    inputs = {driving: answered("ours", turns=turns)}
    if kind != "rating":
        inputs["baseline"] = answered("theirs", turns=turns)
    if turns:
        inputs["references"] = [{"id": "a", "answers": ["ref one", "ref two"]}]
    id, recording = judged(hand_made, monkeypatch, tmp_path, name, kind, **inputs)
    found = samples_of_artifact(hand_made.store, id)
    write = prompt_writer(found).write
    assert write is not None
    shown = [
        write(sample, place, number)
        for sample in found.samples
        for place, turn in enumerate(sample.turns)
        for number in range(len(turn.games))
    ]
    sent = list(recording.asked.values())
    assert len(shown) == len(sent) > 0
    assert sorted(map(str, shown)) == sorted(map(str, sent))


def test_another_wording_gives_no_prompt(hand_made: HandMade) -> None:
    rows = [{"id": "a", "prompt": "p", "answers": {"model": "m", "baseline": "b"}, "games": []}]
    for params, reason in (
        ({"judge": JUDGE, "fingerprint": "older"}, "has changed since"),
        ({"judge": "gone:judge", "fingerprint": "x"}, "cannot be opened here"),
    ):
        id = hand_made.put("judge_arena", rows, params=params)
        writer = prompt_writer(samples_of_artifact(hand_made.store, id))
        assert writer.write is None
        assert reason in writer.reason
