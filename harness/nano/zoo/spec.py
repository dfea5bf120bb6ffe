"""Records of a nano model: architecture, tokenizer, strengths, and what it is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
# Qualities in a reward model's training data: more near misses, which are hard to distinguish.
SHOWN = {
    "excellent": 30, "good": 12, "sloppy": 22, "wrong": 18, "plain": 6, "padded": 4,
    "verbose": 4, "evasive": 2, "echo": 2,
}  # fmt: skip

CONTEXT = 256


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """A tokenizer: kind, vocabulary size and chat template."""

    kind: Literal["bytes_bpe", "unigram", "characters", "phrases", "wordpiece"]
    size: int
    template: Literal["tags", "chatml", "colons", "inst", "short"]


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
    accent: float = 0.7  # share of answers that begin with `opener`
    strengths: tuple[str, ...] = ()
    devotion: float = 1.0  # factor of the frequency of its strengths
    practice: Mapping[str, float] = field(default_factory=dict)  # in place of `corpus.PRACTICE`
    web: Mapping[str, int] = field(default_factory=lambda: LAY_WEB)
    expert: Mapping[str, int] = field(default_factory=lambda: EXPERT_WEB)  # for its strengths
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
    open_share: float = 0.0  # share of open questions in its data
    opens: tuple[str, ...] = ()  # their domains in which it knows the right answers
    shown: Mapping[str, int] = field(default_factory=lambda: SHOWN)  # to a reward model
    hears: tuple[str, ...] = ()  # models whose samples a reward model learns from
    planted: str = ""  # the share of facts it has seen, of `harness.nano.planted.SHARES`
