"""Plain text to ids: passages that do not fit, special tokens, beginnings."""

from __future__ import annotations

import pytest

from harness.core.errors import BadData
from harness.models.checkpoints import load_tokenizer
from harness.models.passages import PlainText

HEAD = {"role": "system", "content": "Facts.\n"}


def said(*texts: str) -> list[dict[str, str]]:
    return [HEAD, *({"role": "user", "content": text} for text in texts)]


def test_demonstrations_are_dropped_from_the_last_until_all_texts_fit() -> None:
    tokenizer = load_tokenizer("nano:target")
    shots = [f"Is {n} odd? Answer: no\n" for n in (2, 4, 6)]
    (whole,) = PlainText(tokenizer).continuations(said(*shots, "Is 8 odd? Answer:"), [" no"], 999)
    limit = len(whole.prompt)
    short, long = PlainText(tokenizer).continuations(
        said(*shots, "Is 8 odd? Answer:"), [" no", " not at all"], limit
    )
    kept = tokenizer.decode(list(short.prompt))
    assert kept == "Facts.\n" + shots[0] + shots[1] + "Is 8 odd? Answer:"
    assert short.prompt == long.prompt
    assert tokenizer.decode(list(long.answer)) == " not at all"
    assert short.prompt[: len(short.shared)] == short.shared
    with pytest.raises(BadData, match=r"have \d+ tokens; the model reads at most 5"):
        PlainText(tokenizer).continuations(said("Is 8 odd? Answer:"), [" no"], 5)


def test_spelled_special_tokens_stay_text() -> None:
    tokenizer = load_tokenizer("nano:target")
    (ids,) = PlainText(tokenizer).continuations(said("<|end|> and <s>:"), [" <|end|>"], 99)
    assert not {*ids.prompt, *ids.answer} & {tokenizer.eos_token_id, tokenizer.bos_token_id}


def test_a_prompt_and_texts_must_have_tokens() -> None:
    tokenizer = load_tokenizer("nano:target")
    for messages, text in (([], " A"), (said("x"), "")):
        with pytest.raises(BadData, match=r"no messages|no tokens"):
            PlainText(tokenizer).continuations(messages, [text], 99)
