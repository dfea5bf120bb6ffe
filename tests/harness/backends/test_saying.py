"""Answers apart from thoughts, and the rows that `sample` stores of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.backends import sampling
from harness.backends.base import Backend, Completion, Message, Request, Response, Sampling
from harness.backends.conversing import Turn, converse
from harness.backends.saying import UNENDED, Said, begun_in_prompt, said_in
from harness.engine.operations import Artifact, Row
from harness.models.spoken import decode_answers
from harness.suites.base import STORED, Decode, System
from harness.suites.scoring import endings

PROSE = "Here is my thought process: first, one."
Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]


class Speaker(Backend):
    """Gives one completion to everything."""

    def __init__(self, completion: Completion) -> None:
        self.completion = completion

    @property
    def fingerprint(self) -> str:
        return "speaker"

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        for request in requests:
            yield Response(id=request.id, completions=(self.completion,) * request.sampling.n)


def spoke(text: str, finish: Any = "stop", thought: str | None = None) -> Completion:
    return Completion(text=text, finish=finish, thought=thought)


@pytest.mark.parametrize(
    ("completion", "said"),
    [
        (spoke(" 42.\n"), Said(" 42.\n", "", " 42.\n")),
        (spoke("Use <think>.\n"), Said("Use <think>.\n", "", "Use <think>.\n")),
        (spoke("<think>hm</think>\n\n42."), Said("42.", "hm", "<think>hm</think>\n\n42.")),
        (spoke("<think>hm", "length"), Said("", "hm", "<think>hm", UNENDED)),
        (spoke("<think></think>\n\n42."), Said("42.", "", "<think></think>\n\n42.")),
        (spoke("42.", thought="hm"), Said("42.", "hm", "42.")),
        (spoke("", "length", "hm"), Said("", "hm", "", UNENDED)),
        (spoke("", "stop", "hm"), Said("", "hm", "")),
        (spoke(PROSE), Said(PROSE, "", PROSE)),
    ],
)  # fmt: skip
def test_the_answer_is_what_follows_the_thought(completion: Completion, said: Said) -> None:
    assert said_in(completion) == said
    assert said_in(completion, "keep") == Said(completion.text, raw=completion.text)


def test_a_thought_may_begin_in_the_prompt() -> None:
    assert said_in(spoke("hm", "length"), opened=True) == Said("", "hm", "hm", UNENDED)
    assert said_in(spoke("hm</think>42."), opened=True).text == "42."

    class Tokens:
        def decode(self, ids: list[int]) -> str:
            return "<|assistant|>\n<think>\n" if ids[-1] == 1 else "<think>\n\n</think>\n\n"

    assert begun_in_prompt(Tokens(), [0, 1])
    assert not begun_in_prompt(Tokens(), [0, 2])
    assert not begun_in_prompt(None, [0, 1])


def sampled(
    run: Run, make: Make, monkeypatch: pytest.MonkeyPatch, completion: Completion, **params: Any
) -> Row:
    monkeypatch.setattr(sampling, "open_engine", lambda *_: Speaker(completion))
    rows = make([{"id": "p", "messages": [{"role": "user", "content": "2+2?"}]}])
    model = make([])
    return run("sample", params, prompts=rows, model=model).rows()[0]


def test_rows_store_the_answer_with_the_thought_and_the_whole_text_beside(
    run_operation: Run, rows_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(completion: Completion, **params: Any) -> Row:
        return sampled(run_operation, rows_artifact, monkeypatch, completion, **params)

    plain = row(spoke("4"), n=2)
    assert plain["responses"] == ["4", "4"]
    assert not {"thoughts", "raw", "no_answer"} & plain.keys()
    thinking = row(spoke("<think>hm</think> 4"))
    assert (thinking["responses"], thinking["thoughts"]) == (["4"], ["hm"])
    assert thinking["raw"] == ["<think>hm</think> 4"]
    kept = row(spoke("<think>hm</think> 4"), thoughts="keep")
    assert kept["responses"] == ["<think>hm</think> 4"]
    unended = row(spoke("<think>hm", "length"), on_error="record")
    assert (unended["responses"], unended["error"]) == ([], UNENDED)
    assert (unended["no_answer"], unended["raw"]) == ([UNENDED], ["<think>hm"])
    trained = row(spoke("<think>hm", "length"), n=2)
    assert (trained["responses"], trained["no_answer"]) == (["", ""], [UNENDED] * 2)


def test_later_turns_see_the_answer_alone() -> None:
    seen: list[Sequence[Turn]] = []

    class Two:
        id = "d"

        def ask(self, turns: Sequence[Turn]) -> Request | None:
            seen.append(list(turns))
            said = tuple(Message(role="assistant", content=turn.text) for turn in turns)
            messages = (Message(role="user", content="?"), *said)
            return Request(id=f"d{len(turns)}", messages=messages) if len(turns) < 2 else None

    backend = Speaker(spoke("<think>hm</think>4"))
    list(converse(backend, [Two()], thoughts="split"))
    assert [turn.text for turn in seen[-1]] == ["4", "4"]
    assert seen[-1][0].thought == "hm"
    assert seen[-1][0].raw == "<think>hm</think>4"
    list(converse(backend, [Two()]))
    assert seen[-1][0].text == "<think>hm</think>4"


def test_the_rule_is_part_of_the_decode_fingerprint() -> None:
    own = Sampling(temperature=0.0, max_tokens=4096).fingerprint
    assert Decode().fingerprint == own
    assert Decode(thoughts="keep").fingerprint != own
    stored = System("s", None, stored=True)
    assert stored.decode_fingerprint(Decode()) == STORED
    assert stored.decode_fingerprint(Decode(thoughts="keep")) != STORED
    assert "thoughts" not in Decode().model_dump()


def test_answers_are_counted_by_how_they_ended() -> None:
    rows: list[Row] = [
        {"responses": ["fine"], "finish": ["stop"]},
        {"responses": ["cut"], "finish": ["length"]},
        {"responses": ["half"], "finish": ["content_filter"]},
        {"responses": [""], "finish": ["tool_calls"]},
        {"responses": [" \n"], "finish": ["stop"]},
        {"responses": [], "finish": ["length"], "no_answer": [UNENDED], "error": UNENDED},
        {"responses": [], "finish": [], "error": "status 500"},
        {"answers": ["imported"]},
        {"responses": ["second"], "finish": ["stop"], "first_finish": "length"},
        {"responses": ["second"], "finish": ["stop"], "first_error": UNENDED},
    ]
    assert endings(rows) == {
        "n_unended_thoughts": 2,
        "n_filtered_answers": 1,
        "n_tool_call_answers": 1,
        "n_cut_answers": 2,
        "n_empty_answers": 1,
    }


def test_special_tokens_that_mark_a_thought_stay_in_the_text(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    words = ["[UNK]", "[THINK]", "[/THINK]", "<|end|>", "hm", "four"]
    model = tokenizers.models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]")
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.add_special_tokens(["[THINK]", "[/THINK]", "<|end|>"])
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner)
    texts = decode_answers(made, [[1, 4, 2, 5, 3], [5, 3]])
    assert [said_in(spoke(text)).text for text in texts] == ["four", "four"]
    assert said_in(spoke(texts[0])).thought == "hm"
    assert "<|end|>" not in "".join(texts)
