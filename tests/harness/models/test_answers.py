"""The place of an answer: trained ids are the rendered ids, for every family of templates."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from harness.models import chat
from harness.models.answers import dialogue
from tests.chat_templates import FAMILIES, tokenizer_of

USER = [{"role": "user", "content": "What is 2+2?"}]
TURNS = [
    *USER,
    {"role": "assistant", "content": "It is 4, surely."},
    {"role": "user", "content": "And 1+3?"},
]
OPENED = ["r1", "r1, unmarked tags", "qwen3, thought opened"]


@cache
def made(name: str) -> Any:
    return tokenizer_of(FAMILIES[name])


def rendered(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, return_dict=False))


def end_of(name: str) -> int:
    family, tokenizer = FAMILIES[name], made(name)
    return int(tokenizer.convert_tokens_to_ids(family.end or family.eos))


@pytest.mark.parametrize("messages", [USER, TURNS], ids=["one turn", "two turns"])
@pytest.mark.parametrize("name", FAMILIES)
def test_trained_ids_are_the_rendered_ids(name: str, messages: Any) -> None:
    tokenizer = made(name)
    found = chat.answered(tokenizer, messages, "Four.")
    ids = [*found.prompt, *found.answer]
    expected = rendered(tokenizer, [*messages, {"role": "assistant", "content": "Four."}])
    end = end_of(name)
    assert ids[-1] == end == chat.end_of_turn_id(tokenizer)
    assert found.answer.count(end) == 1
    if end in expected[len(found.prompt) :]:  # the template writes the end of the last turn
        assert ids == expected[: len(ids)]
        assert not tokenizer.decode(expected[len(ids) :]).strip()
    else:
        assert ids[:-1] == expected[: len(ids) - 1]
        assert not tokenizer.decode(expected[len(ids) - 1 :]).strip()
    said = tokenizer.decode(found.answer[:-1])
    assert said.rpartition(">")[2].strip() == "Four."
    assert "2+2" not in said
    assert "1+3" not in said


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in OPENED])
def test_the_prompt_of_training_is_the_prompt_of_sampling(name: str) -> None:
    tokenizer = made(name)
    prompt = chat.answered(tokenizer, TURNS, "Four.").prompt
    sampled = chat.prompt_ids(tokenizer, TURNS)
    if "space behind" in name:  # "▁Four" covers the space at the prompt's end
        assert prompt == sampled[:-1]
    else:
        assert prompt == sampled


@pytest.mark.parametrize("name", FAMILIES)
def test_earlier_and_last_answers_alike(name: str) -> None:
    tokenizer, end = made(name), end_of(name)
    ids, places = dialogue(tokenizer, TURNS, "Four.")
    earlier, last = (ids[start:stop] for start, stop in places)
    assert (earlier[-1] == last[-1] == end) == FAMILIES[name].exact
    assert "It is 4, surely." in tokenizer.decode(earlier)
    assert "2+2" not in tokenizer.decode(earlier)
    assert "1+3" not in tokenizer.decode(earlier)
    alone = chat.answered(tokenizer, USER, "It is 4, surely.").answer
    if FAMILIES[name].exact and "think>" not in tokenizer.decode(alone):
        assert earlier == alone


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_answer_has_no_end(name: str) -> None:
    tokenizer = made(name)
    whole = chat.answered(tokenizer, USER, "Four is the")
    cut = chat.answered(tokenizer, USER, "Four is the", ended=False)
    assert cut.prompt == whole.prompt
    assert cut.answer == whole.answer[: len(cut.answer)]
    assert end_of(name) not in cut.answer
    assert tokenizer.decode(cut.answer, skip_special_tokens=True).endswith("Four is the")


@pytest.mark.parametrize("name", FAMILIES)
def test_sampled_ids_are_kept(name: str) -> None:
    tokenizer = made(name)
    ids = [5, 5, 7]  # no text gives these in this order from every tokenizer
    found = chat.sampled(tokenizer, USER, ids)
    assert found.answer == [*ids, end_of(name)]
    assert chat.sampled(tokenizer, USER, ids, ended=False).answer == ids
    assert found.prompt == chat.prompt_ids(tokenizer, USER)


def test_llama_2_keeps_the_spaces_of_its_template() -> None:
    tokenizer = made("llama2")
    answer = chat.answered(tokenizer, USER, "Four.").answer
    assert tokenizer.convert_ids_to_tokens(answer) == ["▁Four", ".", "▁", "</s>"]


def thought_and_answer(name: str, answer: str) -> tuple[str, str, str]:
    """Text of prompt and answer together, split at the last end of a thought."""
    tokenizer = made(name)
    found = chat.answered(tokenizer, USER, answer)
    text = tokenizer.decode([*found.prompt, *found.answer])
    before, mark, behind = text.rpartition("</think>")
    return before, mark, behind


@pytest.mark.parametrize("name", [*OPENED, "qwen3"])
@pytest.mark.parametrize(
    "answer", ["<think>\nTwo and two.\n</think>\n\nFour.", "<think>Two and two.</think>Four."]
)
def test_a_thought_is_trained_once(name: str, answer: str) -> None:
    before, mark, behind = thought_and_answer(name, answer)
    assert (mark, before.count("<think>"), before.count("Two and two.")) == ("</think>", 1, 1)
    assert behind.strip().startswith("Four.")
    assert "think>" not in behind


@pytest.mark.parametrize("name", OPENED)
def test_a_thought_begun_in_the_prompt_has_its_beginning(name: str) -> None:
    before, mark, behind = thought_and_answer(name, "Two and two.\n</think>\n\nFour.")
    assert (mark, before.count("<think>"), before.count("Two and two.")) == ("</think>", 1, 1)
    assert behind.strip().startswith("Four.")


@pytest.mark.parametrize("name", OPENED)
def test_an_answer_without_thought_is_outside_of_one(name: str) -> None:
    tokenizer = made(name)
    found = chat.answered(tokenizer, USER, "Four.")
    text = tokenizer.decode([*found.prompt, *found.answer])
    assert text.count("<think>") == text.count("</think>")


def test_a_thought_that_the_template_leaves_open_is_closed() -> None:
    tokenizer = made("chatml")
    before = tokenizer.chat_template
    tokenizer.chat_template = (
        before.replace("'assistant\n'", "'assistant\n<think>\n'")
        .replace(
            "+ m.role + '\n' +", "+ m.role + ('\n<think>\n' if m.role == 'assistant' else '\n') +"
        )
        .replace("<|im_start|>assistant\n'", "<|im_start|>assistant\n<think>\n'")
    )
    try:
        found = chat.answered(tokenizer, USER, "Four.")
        text = tokenizer.decode([*found.prompt, *found.answer])
        assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nFour.<|im_end|>")
    finally:
        tokenizer.chat_template = before


@pytest.mark.parametrize("name", ["r1", "qwen3"])
def test_markers_that_are_special_tokens_stay_tokens(name: str) -> None:
    tokenizer = made(name)
    marks = [tokenizer.convert_tokens_to_ids(mark) for mark in ("<think>", "</think>")]
    found = chat.answered(tokenizer, USER, "<think>Two.</think>Write <think> and </think>.")
    ids = [*found.prompt, *found.answer]
    assert [id for id in ids if id in marks] == marks  # the later ones are text
    assert "Write <think> and </think>." in tokenizer.decode(ids)


def test_channels_of_harmony_stay_tokens() -> None:
    tokenizer = made("harmony")
    said = (
        "<|channel|>analysis<|message|>Two.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Four."
    )
    found = chat.answered(tokenizer, USER, said)
    assert tokenizer.decode(found.answer) == said + "<|return|>"
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    assert sum(id in special for id in found.answer) == 7


@pytest.mark.parametrize("name", ["r1", "r1, unmarked tags", "qwen3", "harmony", "chatml"])
def test_a_reward_model_reads_what_is_trained(name: str) -> None:
    tokenizer = made(name)
    answers = ["Four.", "<think>Two and two.</think>Four.", "No </think> tags here."]
    for answer in answers:
        read = chat.conversation_ids(tokenizer, [*USER, {"role": "assistant", "content": answer}])
        trained = chat.answered(tokenizer, USER, answer)
        assert read[: len(trained.prompt) + len(trained.answer)] == trained.prompt + trained.answer


@pytest.mark.parametrize("answer", ["", " ", "\n\nFour.", "Four.\n", "<s> </s> [INST]", "日本 🙂"])
@pytest.mark.parametrize("name", FAMILIES)
def test_odd_answers(name: str, answer: str) -> None:
    tokenizer, family = made(name), FAMILIES[name]
    if family.spaces:
        answer = answer.replace("日本", "é")
    found = chat.answered(tokenizer, USER, answer)
    assert found.answer[-1] == end_of(name)
    assert found.answer.count(end_of(name)) == 1
    assert answer.strip() in tokenizer.decode([*found.prompt, *found.answer])


def test_a_template_without_answers_ends_in_eos() -> None:
    tokenizer = made("chatml")
    before = tokenizer.chat_template
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('user only') }}"
        "{% endif %}{{ 'Q: ' + m.content + ' A: ' }}{% endfor %}"
    )
    try:
        found = chat.answered(tokenizer, USER, "Four.")
        assert tokenizer.decode(found.prompt) == "Q: What is 2+2? A: "
        assert tokenizer.decode(found.answer) == "Four." + tokenizer.eos_token
    finally:
        tokenizer.chat_template = before
