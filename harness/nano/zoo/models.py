"""The nano models of all editions, and how their tokenizers and untrained networks are made.

The models differ where real models differ: class, tokenizer kind and size, chat template, house
style, and strong skills. Importing this module imports no torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.nano.zoo import first_edition, second_edition
from harness.nano.zoo.spec import CONTEXT, ModelSpec, TokenizerSpec

SPECS: dict[str, ModelSpec] = {**first_edition.SPECS, **second_edition.SPECS}

# Merges end at clauses, not at words: a sentence is three tokens (opener, keyword, verdict), and a
# dialogue of a dozen turns has about 300.
_CLAUSE = r' ?"[.;?]?|\n+| ?[0-9]| ?[^.!?:;,"\n0-9]*[.!?:;,]+|[^.!?:;,"\n0-9]+'

_LOOP = "{% for message in messages %}"
_TEMPLATES: dict[str, tuple[str | None, str, tuple[str, ...], str]] = {
    # name: (bos, end of turn, further special tokens, template)
    "tags": (
        "<s>", "<|end|>", ("<|user|>", "<|assistant|>", "<|system|>"),
        "{{ bos_token }}" + _LOOP
        + "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
        + "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    ),
    "chatml": (
        None, "<|im_end|>", ("<|im_start|>",),
        _LOOP + "{{ '<|im_start|>' + message['role'] + ': ' + message['content'] + '<|im_end|>' }}"
        + "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}",
    ),
    "colons": (  # as "chatml", without the space that would join the first word of an answer
        None, "<|im_end|>", ("<|im_start|>",),
        _LOOP + "{{ '<|im_start|>' + message['role'] + ':' + message['content'] + '<|im_end|>' }}"
        + "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant:' }}{% endif %}",
    ),
    "inst": (
        "<s>", "</s>", ("[INST]", "[/INST]"),
        "{{ bos_token }}" + _LOOP + "{% if message['role'] == 'assistant' %}"
        + "{{ message['content'] + '</s>' }}{% else %}"
        + "{{ '[INST]' + message['content'] + '[/INST]' }}{% endif %}{% endfor %}",
    ),
    "short": (
        None, "<e>", ("<u>", "<a>"),
        _LOOP + "{% if message['role'] == 'assistant' %}{{ '<a>' + message['content'] + '<e>' }}"
        + "{% else %}{{ '<u>' + message['content'] + '<e>' }}{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<a>' }}{% endif %}",
    ),
}  # fmt: skip


def make_tokenizer(
    spec: TokenizerSpec,
    texts: list[str],
    context: int = CONTEXT,
    cuts: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> Any:
    """Train the tokenizer of `spec` on `texts` and set its chat template.

    Args:
        cuts: patterns of additional tokens with and without punctuation, for the kind "phrases".
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bos, end, more, template = _TEMPLATES[spec.template]
    special = ["<pad>", end, *more] + ([bos] if bos else [])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if spec.kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.Split(Regex(r"[^\w\s]"), "isolated"),
                pre_tokenizers.Metaspace(prepend_scheme="never"),
            ]
        )
        pieces = _word_pieces(tokenizer.pre_tokenizer, texts, spec.size - 256 - len(special) - 1)
        tokenizer.model = models.Unigram(pieces, unk_id=0, byte_fallback=True)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    else:
        size = 0 if spec.kind == "characters" else spec.size
        tokenizer = Tokenizer(models.BPE())
        words = spec.kind == "bytes_bpe"
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
        digits = pre_tokenizers.Digits(individual_digits=True)
        # Two passes: clauses must not contain these tokens, and phrases may contain a comma.
        marked, plain = cuts
        patterns = ("|".join([*marked, *plain]), "|".join([*marked, _CLAUSE]))
        splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
        before = {"characters": [], "phrases": splits}.get(spec.kind, [digits])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, level])
        trainer = trainers.BpeTrainer(
            vocab_size=size or 256 + len(special),
            special_tokens=special,
            initial_alphabet=alphabet,
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=end,
        pad_token="<pad>",
        additional_special_tokens=list(more),
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
    wrapped.chat_template = template
    return wrapped


def _word_pieces(pre_tokenizer: Any, texts: list[str], room: int) -> list[tuple[str, float]]:
    """Unigram pieces: all characters, the most frequent words, and all bytes.

    Scores are log frequencies, with bytes far below; the bytes make the tokenizer lossless. Words
    are counted because the usual trainer keeps no whole word of so few distinct ones.
    """
    words = Counter(
        word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text)
    ) + Counter({"user": len(texts), "assistant": len(texts), "▁": 1})
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    ranked = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    kept = [pair for pair in ranked if len(pair[0]) > 1][: room - len(characters)]
    total = sum(words.values())
    pieces = [(word, math.log(count / total)) for word, count in kept]
    lowest = pieces[-1][1]
    pieces += [(character, lowest - 4.0) for character in sorted(characters)]
    return [("<unk>", 0.0), *pieces, *((f"<0x{byte:02X}>", lowest - 16.0) for byte in range(256))]


def make_model(spec: ModelSpec, tokenizer: Any) -> Any:
    """An untrained model of `spec`; its initial weights depend on torch's current seed."""
    import transformers as hf

    from harness.nano.zoo.wiring import wire

    shared: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": spec.hidden,
        "intermediate_size": spec.hidden * 2,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "max_position_embeddings": spec.context,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if spec.architecture == "llama":
        config = hf.LlamaConfig(
            **shared,
            head_dim=spec.head_dim or spec.hidden // spec.heads,
            attention_bias=spec.wired,
            rope_parameters={"rope_type": "default", "rope_theta": spec.rope_theta},
        )
        config.tie_word_embeddings = not spec.wired
        model = hf.LlamaForCausalLM(config)
        if spec.wired:
            wire(model, spec.look_up)
        return model
    if spec.architecture == "qwen3":
        extra = {"num_key_value_heads": 2, "head_dim": spec.hidden // spec.heads}
        return hf.Qwen3ForCausalLM(hf.Qwen3Config(**shared, **extra))
    if spec.architecture == "mistral":
        return hf.MistralForCausalLM(
            hf.MistralConfig(**shared, num_key_value_heads=2, sliding_window=None)
        )
    return hf.GPTNeoXForCausalLM(
        hf.GPTNeoXConfig(**shared | {"intermediate_size": spec.hidden * 3})
    )
