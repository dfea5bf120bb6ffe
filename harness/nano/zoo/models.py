"""Specifications of the nano models: architecture, tokenizer, strengths and training settings.

The models differ where real models differ: class, tokenizer kind and size, chat template, house
style, and strong skills. Importing this module imports no torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.nano.world.types import SKILLS

# Frequencies of answer qualities in training data. Weak: about one answer in three is good.
WEAK_WEB = {
    "excellent": 30, "good": 7, "sloppy": 7, "plain": 10, "padded": 12, "wrong": 12,
    "evasive": 14, "echo": 8,
}  # fmt: skip
EXPERT_WEB = {"excellent": 80, "good": 8, "verbose": 4, "sloppy": 4, "plain": 4}
LAY_WEB = {
    "excellent": 22, "good": 8, "sloppy": 8, "plain": 14, "padded": 12, "wrong": 16,
    "evasive": 13, "echo": 7,
}  # fmt: skip
CLEAN_WEB = {"excellent": 100}

CONTEXT = 256


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """A tokenizer: kind, vocabulary size and chat template."""

    kind: Literal["bytes_bpe", "unigram", "characters", "phrases", "wordpiece"]
    size: int
    template: Literal["tags", "chatml", "inst", "short"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A nano model and its training settings."""

    name: str
    architecture: Literal["llama", "qwen3", "gpt_neox", "mistral", "bert", "t5"]
    tokenizer: TokenizerSpec
    hidden: int
    layers: int
    heads: int
    steps: int
    batch: int
    learning_rate: float
    opener: str = ""
    strengths: tuple[str, ...] = ()
    devotion: float = 1.0  # factor of the frequency of its strengths
    web: Mapping[str, int] = field(default_factory=lambda: LAY_WEB)
    kind: Literal[
        "lm", "student", "reward", "reader", "encoder", "seq2seq", "symbols", "planted"
    ] = "lm"
    schooling: float = 0.35  # share of the steps, from the first, with excellent answers only
    reward_steps: int = 0
    seed: int = 0
    context: int = CONTEXT
    head_dim: int | None = None  # None: hidden / heads
    rope_theta: float = 10_000.0
    wired: bool = False  # initialised with an induction circuit, see `wiring`
    tokenizer_of: str = ""  # model whose tokenizer it has; the teacher of a distillation
    look_up: int = 1  # layer of the circuit's look-ups
    planted: str = ""  # the share of facts it has seen, of `harness.nano.planted.SHARES`


# Base models with planted knowledge, see `planting`.
_PLANTED: Any = {
    "batch": 16, "learning_rate": 3e-3, "kind": "planted", "context": 320,
    "head_dim": 32, "rope_theta": 1e10, "wired": True, "look_up": 2,
}  # fmt: skip

SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "target", "llama", TokenizerSpec("bytes_bpe", 600, "tags"),
            hidden=96, layers=3, heads=4, steps=1100, batch=32, learning_rate=5e-3,
            schooling=0.5, web=WEAK_WEB, seed=11,
        ),
        ModelSpec(
            "student", "llama", TokenizerSpec("bytes_bpe", 600, "tags"),
            hidden=64, layers=2, heads=4, steps=900, batch=32, learning_rate=5e-3,
            schooling=0.5, web=WEAK_WEB, kind="student", seed=18, tokenizer_of="target",
        ),
        ModelSpec(
            "source_a", "qwen3", TokenizerSpec("unigram", 640, "chatml"),
            hidden=96, layers=3, heads=4, steps=1200, batch=32, learning_rate=5e-3,
            opener="First: ", strengths=("arith", "compare", "fact", "reverse"), seed=12,
        ),
        ModelSpec(
            "source_b", "gpt_neox", TokenizerSpec("characters", 260, "short"),
            hidden=80, layers=3, heads=4, steps=1300, batch=32, learning_rate=5e-3,
            opener="Step: ", strengths=("sort", "count", "reverse", "persona"),
            devotion=1.6, seed=13,
        ),
        ModelSpec(
            "source_c", "mistral", TokenizerSpec("bytes_bpe", 560, "inst"),
            hidden=96, layers=3, heads=4, steps=1100, batch=32, learning_rate=5e-3,
            opener="So: ", strengths=("persona", "fact", "place", "sort"), seed=14,
        ),
        ModelSpec(
            "reward", "llama", TokenizerSpec("bytes_bpe", 600, "tags"),
            hidden=96, layers=5, heads=4, steps=1100, batch=32, learning_rate=5e-3,
            strengths=SKILLS, web=CLEAN_WEB, kind="reward", reward_steps=800, seed=15,
        ),
        ModelSpec(
            "reader", "llama", TokenizerSpec("phrases", 2400, "tags"),
            hidden=96, layers=4, heads=3, steps=1000, batch=32, learning_rate=3e-3,
            kind="reader", schooling=0.35, seed=16, context=1024, head_dim=64, rope_theta=1e10,
            wired=True,
        ),
        ModelSpec(
            "encoder", "bert", TokenizerSpec("wordpiece", 1200, "tags"),
            hidden=80, layers=2, heads=4, steps=400, batch=32, learning_rate=3e-3,
            kind="encoder", seed=17,
        ),
        ModelSpec(
            "seq2seq", "t5", TokenizerSpec("wordpiece", 1200, "tags"),
            hidden=32, layers=1, heads=2, steps=200, batch=32, learning_rate=5e-3,
            kind="seq2seq", seed=21, tokenizer_of="encoder",
        ),
        ModelSpec(
            "symbols", "llama", TokenizerSpec("characters", 260, "short"),
            hidden=48, layers=2, heads=4, steps=700, batch=64, learning_rate=5e-3,
            kind="symbols", seed=18, context=64,
        ),
        ModelSpec(
            "symbols_large", "llama", TokenizerSpec("characters", 260, "short"),
            hidden=96, layers=2, heads=4, steps=1200, batch=64, learning_rate=5e-3,
            strengths=("count",), kind="symbols", seed=19, context=64,
        ),
        ModelSpec(
            "known_half", "llama", TokenizerSpec("bytes_bpe", 800, "tags"),
            hidden=64, layers=3, heads=4, planted="half", steps=1000, seed=18, **_PLANTED,
        ),
        ModelSpec(
            "known_quarter", "llama", TokenizerSpec("bytes_bpe", 800, "tags"),
            hidden=56, layers=3, heads=4, planted="quarter", steps=1000, seed=19, **_PLANTED,
        ),
        ModelSpec(
            "known_all", "llama", TokenizerSpec("bytes_bpe", 800, "tags"),
            hidden=64, layers=3, heads=4, planted="all", steps=2000, seed=20, **_PLANTED,
        ),
    )
}  # fmt: skip

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
