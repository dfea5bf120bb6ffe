"""Chat templates of the families in use, in short, each with the tokens that it needs.

They keep what matters for the place of an answer: what stands before and behind it, earlier and
last answers, thoughts, system messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """A template with its special tokens.

    Attributes:
        end: token that ends the last answer; None is EOS, which the template does not write.
        spaces: the tokenizer marks words by "▁", as SentencePiece does.
        exact: earlier answers end in the same token as the last.
    """

    template: str
    bos: str = ""
    eos: str = "</s>"
    more: tuple[str, ...] = ()
    end: str | None = ""
    spaces: bool = False
    exact: bool = True
    system: bool = True


_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ OPEN + m.content + CLOSE }}"
    "{% elif m.role == 'assistant' %}{{ ANSWER }}{% else %}{{ raise_exception('no system') }}"
    "{% endif %}{% endfor %}"
)


def _inst(open: str, close: str, answer: str) -> str:
    found = _INST.replace("OPEN", open).replace("CLOSE", close)
    return found.replace("ANSWER", answer)


def _roles(user: str, assistant: str, before: str = "", generation: str | None = None) -> str:
    """A template of two expressions; system messages are written as the user's."""
    opening = generation if generation is not None else ""
    return (
        before + "{% for m in messages %}{% if m.role == 'assistant' %}" + assistant
        + "{% else %}" + user + "{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}" + opening + "{% endif %}"
    )  # fmt: skip


_THOUGHTS = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
    "{% if m.role == 'assistant' %}{% set text = m.content %}{% set thought = '' %}"
    "{% if '</think>' in text %}"
    "{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.last EXTRA %}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}{{ text + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\nOPENED' }}{% endif %}"
)
_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + eos_token }}{% else %}"
    "{{ '<｜User｜>' + m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
_HARMONY = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if '<|channel|>' in m.content %}{{ raise_exception('channels in content') }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
_IM = ("<|im_start|>", "<|im_end|>")
_TAGS = ("<think>", "</think>")

FAMILIES: dict[str, Family] = {
    "chatml": Family(_CHATML, eos="<|im_end|>", more=_IM),
    "chatml, end unmarked": Family(_CHATML, more=("<|im_start|>", "+<|im_end|>"), end="<|im_end|>"),
    "llama2": Family(
        _inst("'[INST] '", "' [/INST]'", "' ' + m.content.strip() + ' ' + eos_token"),
        bos="<s>", spaces=True, system=False,
    ),
    "llama2, space behind the prompt": Family(
        _inst("'[INST] '", "' [/INST] '", "m.content + eos_token"),
        bos="<s>", spaces=True, system=False,
    ),
    "llama3": Family(
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
        "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
        "{% endif %}",
        bos="<|begin_of_text|>", eos="<|end_of_text|>",
        more=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), end="<|eot_id|>",
    ),
    "mistral": Family(
        _inst("'[INST] '", "' [/INST]'", "m.content + eos_token"),
        bos="<s>", spaces=True, system=False,
    ),
    "mistral v3": Family(
        _inst("'[INST] '", "'[/INST]'", "' ' + m.content + eos_token"),
        bos="<s>", more=("[INST]", "[/INST]"), spaces=True, system=False,
    ),
    "gemma": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{{ '<start_of_turn>' + "
        "('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + "
        "'<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        bos="<bos>", eos="<eos>", more=("<start_of_turn>", "<end_of_turn>"), end="<end_of_turn>",
        system=False,
    ),
    "phi3": Family(
        _roles(
            "{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}",
            "{{ '<|assistant|>\n' + m.content + '<|end|>\n' }}",
            generation="{{ '<|assistant|>\n' }}",
        ),
        eos="<|endoftext|>", more=("<|user|>", "<|system|>", "<|assistant|>", "<|end|>"),
        end="<|end|>",
    ),
    "qwen3": Family(
        _THOUGHTS.replace("EXTRA", "and (loop.last or thought)").replace("OPENED", ""),
        eos="<|im_end|>", more=(*_IM, *_TAGS),
    ),
    "qwen3, thoughts off": Family(
        _THOUGHTS.replace("EXTRA", "and loop.last").replace("OPENED", "<think>\n\n</think>\n\n"),
        eos="<|im_end|>", more=(*_IM, *_TAGS),
    ),
    "qwen3, thought opened": Family(
        _THOUGHTS.replace("EXTRA", "and loop.last").replace("OPENED", "<think>\n"),
        eos="<|im_end|>", more=(*_IM, *_TAGS),
    ),
    "tulu": Family(
        _roles(
            "{{ '<|' + m.role + '|>\n' + m.content + '\n' }}",
            "{{ '<|assistant|>\n' + m.content + eos_token + ('' if loop.last else '\n') }}",
            generation="{{ '<|assistant|>\n' }}",
        ),
        eos="<|endoftext|>",
    ),
    "vicuna": Family(
        _roles(
            "{{ ('' if m.role == 'system' else 'USER: ') + m.content + ' ' }}",
            "{{ 'ASSISTANT: ' + m.content + eos_token }}",
            before="{{ bos_token }}",
            generation="{{ 'ASSISTANT:' }}",
        ),
        bos="<s>", spaces=True,
    ),
    "alpaca, no end": Family(
        _roles(
            "{{ '### Instruction:\n' + m.content + '\n\n' }}",
            "{{ '### Response:\n' + m.content + '\n\n' }}",
            generation="{{ '### Response:\n' }}",
        ),
        end=None, exact=False,
    ),
    "zephyr": Family(
        _roles(
            "{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}",
            "{{ '<|assistant|>\n' + m.content + eos_token + '\n' }}",
            generation="{{ '<|assistant|>\n' }}",
        ),
        bos="<s>",
    ),
    "openchat": Family(
        _roles(
            "{{ 'GPT4 Correct User: ' + m.content + '<|end_of_turn|>' }}",
            "{{ 'GPT4 Correct Assistant: ' + m.content + '<|end_of_turn|>' }}",
            before="{{ bos_token }}",
            generation="{{ 'GPT4 Correct Assistant:' }}",
        ),
        bos="<s>", more=("<|end_of_turn|>",), end="<|end_of_turn|>", spaces=True,
    ),
    "r1": Family(
        _R1, bos="<｜begin｜>", eos="<｜end｜>", more=("<｜User｜>", "<｜Assistant｜>", *_TAGS)
    ),
    "r1, unmarked tags": Family(
        _R1, bos="<｜begin｜>", eos="<｜end｜>",
        more=("<｜User｜>", "<｜Assistant｜>", "+<think>", "+</think>"),
    ),
    "glm4": Family(
        _roles(
            "{{ '<|' + m.role + '|>\n' + m.content }}",
            "{{ '<|assistant|>\n' + m.content }}",
            before="[gMASK]<sop>",
            generation="{{ '<|assistant|>' }}",
        ),
        eos="<|endoftext|>",
        more=("[gMASK]", "<sop>", "<|user|>", "<|system|>", "<|assistant|>"), end="<|user|>",
    ),
    "olmo": Family(
        _roles(
            "{{ '<|' + m.role + '|>\n' + m.content + '\n' }}",
            "{{ '<|assistant|>\n' + m.content + (eos_token if loop.last else eos_token + '\n') }}",
            before="{{ bos_token }}",
            generation="{{ '<|assistant|>\n' }}",
        ),
        bos="<|endoftext|>", eos="<|endoftext|>",
    ),
    "end before the next user": Family(
        _roles(
            "{{ ('' if loop.first else eos_token) + '<|user|>\n' + m.content + '\n' }}",
            "{{ '<|assistant|>\n' + m.content }}",
            generation="{{ '<|assistant|>\n' }}",
        ),
        eos="<|endoftext|>", end="<|endoftext|>", system=False,
    ),
    "falcon3": Family(
        _roles(
            "{{ '<|' + m.role + '|>\n' + m.content + '\n' }}",
            "{{ '<|assistant|>\n' + m.content + (eos_token if loop.last else '\n') }}",
            generation="{{ '<|assistant|>\n' }}",
        ),
        eos="<|endoftext|>", more=("<|user|>", "<|system|>", "<|assistant|>"), exact=False,
    ),
    "harmony": Family(
        _HARMONY, eos="<|return|>",
        more=("<|start|>", "<|channel|>", "<|message|>", "<|end|>"), exact=False,
    ),
    "command r": Family(
        _roles(
            "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>' }}",
            (
                "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + m.content + "
                "'<|END_OF_TURN_TOKEN|>' }}"
            ),
            before="{{ bos_token }}",
            generation="{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}",
        ),
        bos="<BOS_TOKEN>", eos="<|END_OF_TURN_TOKEN|>",
        more=("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    ),
}  # fmt: skip


def tokenizer_of(family: Family) -> Any:
    """A tokenizer with the family's template and tokens, whose other tokens are single bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if family.spaces:
        letters = [chr(code) for code in range(32, 127)] + ["\n", "▁", "▁F", "▁Fo", "▁Fou", "▁Four"]
        pieces = ["<unk>", *(f"<0x{code:02X}>" for code in range(256)), *dict.fromkeys(letters)]
        merges = [("▁", "F"), ("▁F", "o"), ("▁Fo", "u"), ("▁Fou", "r")]
        table = {piece: number for number, piece in enumerate(pieces)}
        core = Tokenizer(models.BPE(table, merges, unk_token="<unk>", byte_fallback=True))
        core.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        core.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    else:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        table = {piece: number for number, piece in enumerate([*alphabet, "ĊĊ"])}
        core = Tokenizer(models.BPE(table, [("Ċ", "Ċ")]))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.decoder = decoders.ByteLevel()
    for token in dict.fromkeys((family.bos, family.eos, *family.more)):
        plain = token.startswith("+")
        if token:
            added = AddedToken(token.lstrip("+"), special=not plain, normalized=False)
            (core.add_tokens if plain else core.add_special_tokens)([added])
    options = {"bos_token": family.bos} if family.bos else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=family.eos, clean_up_tokenization_spaces=False, **options
    )
    tokenizer.chat_template = family.template
    return tokenizer
