"""Stand-ins for the models of WRPO: answers, rewards and reference log-probabilities of any number.

Texts are cut from one long text of random words of four letters; a word with its space is a token.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from harness.core.hashing import seed_from
from harness.core.records import Record
from harness.engine.operations import Row, operation
from harness.models.checkpoints import load_tokenizer
from harness.models.tokenize import known_digest

PROMPT, ANSWER = 150, 450  # mean tokens of a prompt and of an answer
WORDS, LONG = 4_000, 200_000
SPECIAL = ("<pad>", "<s>", "</s>", "<u>", "<a>", "<unk>")
TEMPLATE = (
    "<s>{% for m in messages %}{{ '<u>' if m['role'] == 'user' else '<a>' }}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


@cache
def words() -> list[str]:
    draws = random.Random(0)
    found: dict[str, None] = {}
    while len(found) < WORDS:
        found["".join(draws.choices("abcdefghijklmnopqrstuvwxyz", k=4))] = None
    return list(found)


@cache
def long_text() -> tuple[str, list[int]]:
    """A text of `LONG` words, each after a space, and the ids of its tokens."""
    chosen = random.Random(1).choices(range(WORDS), k=LONG)
    return "".join(f" {words()[n]}" for n in chosen), [len(SPECIAL) + WORDS + n for n in chosen]


def piece(key: object, mean: int) -> tuple[str, list[int]]:
    """A text of half to one and a half times `mean` tokens, and its ids."""
    text, ids = long_text()
    number = seed_from(key)
    size = mean // 2 + number % mean
    start = (number >> 20) % (LONG - size)
    first = ids[start] - WORDS  # without the space
    return text[5 * start + 1 : 5 * (start + size)], [first, *ids[start + 1 : start + size]]


def save_model(folder: Path) -> None:
    """A random Llama of 0.3 million parameters with the tokenizer of the words."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    known = [*SPECIAL, *words(), *(f" {word}" for word in words())]
    inner = Tokenizer(
        models.WordLevel({token: n for n, token in enumerate(known)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(" ?[a-z]+"), "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<u>", "<a>"],
        chat_template=TEMPLATE,
    )
    config = LlamaConfig(
        vocab_size=len(known),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Sampled(Record):
    """Rows of `sample`: n answers per prompt.

    Attributes:
        tokenizer: folder of the model, for rows with the ids of its own answers.
        rewarded: rows have rewards as well, so that they need no second stage.
    """

    system: str
    n: int
    batch_size: int = 64
    tokenizer: str = ""
    rewarded: bool = False


@operation(
    "growth_sample",
    version=1,
    params=Sampled,
    rows="prompts",
    batch_size=lambda params: params.batch_size,
)
def sample(
    context: Any, params: Sampled, batches: Iterable[list[Row]], *, prompts: Any
) -> Iterator[list[Row]]:
    digest = known_digest(load_tokenizer(Path(params.tokenizer))) if params.tokenizer else ""
    for batch in batches:
        rows = []
        for row in batch:
            found = [piece((row["id"], params.system, n), ANSWER) for n in range(params.n)]
            more = {"response_ids": [ids for _, ids in found], "tokenizer": digest}
            rows.append(
                {
                    **row,
                    "system": params.system,
                    "responses": [text for text, _ in found],
                    "finish": ["stop"] * params.n,
                    "tokens_in": PROMPT,
                    "tokens_out": [len(ids) + 1 for _, ids in found],
                    "rendered": f"<s><u>{row['messages'][0]['content']}<a>",
                    "prompt_digest": "0" * 32,
                    **(more if digest else {}),
                    **(
                        {"rewards": rewards_of(row["id"], params.system, params.n)}
                        if params.rewarded
                        else {}
                    ),
                }
            )
        yield rows


class Rewarded(Record):
    """Rows of `score_rewards`; the batch size is that of the paper profile."""

    batch_size: int = 1


@operation(
    "growth_rewards",
    version=1,
    params=Rewarded,
    rows="responses",
    batch_size=lambda params: params.batch_size,
)
def rewards(
    context: Any, params: Rewarded, batches: Iterable[list[Row]], *, responses: Any
) -> Iterator[list[Row]]:
    for batch in batches:
        for row in batch:
            row["rewards"] = rewards_of(row["id"], row["system"], len(row["responses"]))
        yield batch


def rewards_of(id: str, system: str, count: int) -> list[float]:
    draws = random.Random(seed_from(id, system))
    return [draws.gauss(0.1, 0.05) for _ in range(count)]


class Referred(Record):
    """Rows of `reference_logps`; the batch size is that operation's."""

    batch_size: int = 8


@operation(
    "growth_reference",
    version=1,
    params=Referred,
    rows="rows",
    batch_size=lambda params: params.batch_size,
)
def reference(
    context: Any, params: Referred, batches: Iterable[list[Row]], *, rows: Any
) -> Iterator[list[Row]]:
    for batch in batches:
        made = []
        for row in batch:
            # Words, and the end of the turn: no row is so long that it is cut.
            lengths = {name: (len(text) + 1) // 5 + 1 for name, text in row["responses"].items()}
            logps = {name: -2.0 * length for name, length in lengths.items()}
            made.append({"id": row["id"], "logps": logps, "lengths": lengths})
        yield made
