"""Scores of plain texts: equal to one forward pass each, whatever is shared and batched."""

from __future__ import annotations

import pytest
import torch

from harness.backends import continuations
from harness.backends.base import Message, Score, ScoreRequest
from harness.backends.hf import HFBackend
from harness.models.checkpoints import load_causal_lm
from harness.models.passages import PlainText

SHOTS = [f"What is {n}+{n}?\nA. {n}\nB. {2 * n}\nAnswer: B\n\n" for n in range(1, 4)]
TEXTS = [" A", " B", " two words", ""]


def messages(question: str) -> tuple[Message, ...]:
    head = Message(role="system", content="Sums.\n\n")
    said = [*SHOTS, f"{question}\nAnswer:"]
    return (head, *(Message(role="user", content=text) for text in said))


def requests(questions: list[str], texts: list[str]) -> list[ScoreRequest]:
    return [
        ScoreRequest(id=f"{q}/{t}", messages=messages(question), response=text, form="text")
        for q, question in enumerate(questions)
        for t, text in enumerate(texts)
    ]


@pytest.mark.parametrize("name", ["nano:target", "nano:source_b"])
def test_scores_equal_those_of_single_passes(name: str) -> None:
    model, tokenizer = load_causal_lm(name)
    backend = HFBackend(model, tokenizer)
    questions = ["What is 2+3?", "And " * 9 + "4+4?", "5+1?"]
    asked = requests(questions, TEXTS[:3])
    found: dict[str, Score] = {}
    for part in (asked[:3], asked[3:]):  # the second call finds the beginning read
        found |= {score.id: score for score in backend.score(part)}
    for request in asked:
        said = [{"role": m.role, "content": m.content} for m in request.messages]
        (ids,) = PlainText(tokenizer).continuations(said, [request.response], backend.context)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*ids.prompt, *ids.answer]])).logits[0]
        logps = logits.log_softmax(-1)[len(ids.prompt) - 1 : -1]
        wanted = [float(logps[n, token]) for n, token in enumerate(ids.answer)]
        assert found[request.id].token_logps == pytest.approx(wanted, abs=1e-4)
        assert found[request.id].logp == pytest.approx(sum(wanted), abs=1e-4)


def test_letters_of_a_question_take_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []
    columns = continuations.read_columns

    def counted(model, prompts, readings, *, keep, spare):  # type: ignore[no-untyped-def]
        read.append([len(ids) - reading.known for ids, reading in zip(prompts, readings)])
        return columns(model, prompts, readings, keep=keep, spare=spare)

    monkeypatch.setattr(continuations, "read_columns", counted)
    backend = HFBackend(*load_causal_lm("nano:target"))
    questions = [f"{n}+{n}?" for n in range(8)]
    assert len(list(backend.score(requests(questions, [" A", " B", " D"])))) == 24
    beginning, *rest = read
    assert len(beginning) == 1
    assert sum(map(len, rest)) == 8
    assert beginning[0] > 3 * max(max(row) for row in rest)


def test_a_text_that_cannot_be_scored_is_an_error_of_its_own() -> None:
    backend = HFBackend(*load_causal_lm("nano:target"))
    asked = requests(["What is 1+1?"], TEXTS[3:])
    long = ScoreRequest(
        id="long", messages=(Message(role="user", content="x " * 999),), response=" A", form="text"
    )
    empty = ScoreRequest(id="empty", messages=(), response=" A", form="text")
    found = {score.id: score.error for score in backend.score([*asked, long, empty])}
    assert "no tokens to score" in str(found["0/0"])
    assert "reads at most 256" in str(found["long"])
    assert "no messages" in str(found["empty"])
