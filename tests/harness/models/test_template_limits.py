"""Chat templates that do not end or write too much are refused; others render as before."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.models import template_limits
from harness.models.chat import prompt_ids
from harness.models.rendering import DATE
from harness.models.template_limits import BeyondLimits, check_template, is_bounded
from tests.chat_templates import FAMILIES, tokenizer_of

MESSAGES = [{"role": "user", "content": "Hello {{ x }}"}]
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
BOMBS = {
    "loops": LOOPS,
    "loops_over_text": "{% for m in messages %}{% for a in m.content * 99999 %}"
    "{% for b in m.content * 99999 %}{% endfor %}{% endfor %}{% endfor %}",
    "product": "{{ 'x' * 10000000000 }}",
    "power": "{{ 10 ** (10 ** 9) }}",
    "doubling": "{% set n = namespace(x='x') %}{% for i in range(60) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "doubling_twice": "{% set a = 'x' %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
    "output": "{% for a in range(99999) %}{{ messages[0].content * 99 }}{% endfor %}",
    "centre": "{{ 'x' | center(9999999999) }}",
    "method": "{{ 'x'.ljust(9999999999) }}",
    "format": "{{ '%09999999999d' % 1 }}",
    "lipsum": "{{ lipsum(n=99999999) }}",
    "join": "{% set t = messages[0].content * 9999 %}{{ t | join(t) }}",
    "macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "recursion": "{% for m in [[1]] recursive %}{{ loop([m, m]) }}{{ loop([m, m]) }}{% endfor %}",
    "indent": "{{ messages | tojson(indent=999999999) }}",
}


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "TIME_S", 1)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_time(name: str) -> None:
    assert not is_bounded(BOMBS[name])
    began = time.monotonic()
    variables = {"messages": MESSAGES, "add_generation_prompt": True}
    # Jinja or Python refuses some of them itself, and then so does the tokenizer.
    itself = name in ("recursion", "power", "lipsum")
    expected = contextlib.suppress(BeyondLimits) if itself else pytest.raises(BeyondLimits)
    with expected:
        check_template(BOMBS[name], variables, DATE, "a model")
    assert time.monotonic() - began < 10


def test_a_template_after_a_bomb_is_tried_in_a_new_process() -> None:
    with pytest.raises(BeyondLimits, match="takes more than 1 s"):
        check_template(LOOPS, {}, DATE, "a model")
    sound = "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(strftime_now('%Y')) }}"
    assert not is_bounded(sound)
    check_template(sound, {}, DATE, "a model")
    check_template("{{ raise_exception('no') }}{{ range(9) }}", {}, DATE, "a model")


@pytest.mark.parametrize("name", FAMILIES)
def test_templates_in_use_are_within_the_limits(name: str) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 20
    given = {"messages": [*talk, *MESSAGES], "add_generation_prompt": True, "bos_token": "<s>"}
    check_template(FAMILIES[name].template, {**given, "eos_token": "</s>"}, DATE, name)


def test_rendering_refuses_a_bomb_and_says_so() -> None:
    tokenizer: Any = tokenizer_of(FAMILIES[next(iter(FAMILIES))])
    tokenizer.chat_template = LOOPS
    for messages in (MESSAGES, [{"role": "system", "content": "s"}, *MESSAGES]):
        with pytest.raises(BadData, match="its chat template takes more than 1 s"):
            prompt_ids(tokenizer, messages)
