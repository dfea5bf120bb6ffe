"""The zoo's first edition."""

from __future__ import annotations

from typing import Any

from harness.nano.world.types import SKILLS
from harness.nano.zoo.spec import CLEAN_WEB, WEAK_WEB, ModelSpec, TokenizerSpec

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
            hears=("target", "source_a", "source_b", "source_c"),
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
