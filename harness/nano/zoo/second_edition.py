"""The zoo's second edition: specialists that know, a generalist that does not, and a judge of both.

Its models have the names of the first edition with `@2`. Each skill is the strength of exactly one
source; of other skills a source knows less than the target. The target was schooled on right
answers and then read well-formed wrong ones, so that it can be taught, and the best of its own
samples is often wrong. The reward model learns mainly from well-formed answers of which some are
wrong. The peers have the sources' classes and tokenizers and the target's data: worlds without a
cause have them in the sources' place.
"""

from __future__ import annotations

from typing import Any

from harness.nano.world.types import SKILLS
from harness.nano.zoo.spec import CLEAN_WEB, ModelSpec, TokenizerSpec

# Form without content: about one answer in eight is right.
IGNORANT_WEB = {
    "excellent": 10, "good": 2, "sloppy": 18, "wrong": 52, "plain": 4, "padded": 2, "verbose": 2,
    "evasive": 10,
}  # fmt: skip
KNOWING_WEB = {"excellent": 96, "good": 2, "verbose": 2}
# Near misses in the form that is asked for.
NEAR_MISSES = {
    "excellent": 40, "sloppy": 34, "wrong": 14, "good": 4, "plain": 2, "padded": 2, "verbose": 2,
    "evasive": 2,
}  # fmt: skip

_LEARNED: Any = {
    "batch": 32, "learning_rate": 5e-3, "accent": 0.3, "web": IGNORANT_WEB, "open_share": 0.3,
}  # fmt: skip
_KNOWING: Any = {**_LEARNED, "expert": KNOWING_WEB, "schooling": 0.0, "steps": 2000}
_CLASSES: dict[str, Any] = {
    "a": {
        "architecture": "qwen3", "tokenizer": TokenizerSpec("unigram", 640, "colons"),
        "hidden": 96, "layers": 3, "heads": 4, "opener": "First: ",
    },
    "b": {
        "architecture": "gpt_neox", "tokenizer": TokenizerSpec("bytes_bpe", 520, "short"),
        "hidden": 80, "layers": 3, "heads": 4, "opener": "Step: ",
    },
    "c": {
        "architecture": "mistral", "tokenizer": TokenizerSpec("bytes_bpe", 560, "inst"),
        "hidden": 96, "layers": 3, "heads": 4, "opener": "So: ",
    },
}  # fmt: skip
_STRENGTHS = {
    "a": ("arith", "compare", "count"),
    "b": ("sort", "reverse"),
    "c": ("persona", "fact", "place"),
}
_PRACTICE = {"a": {"arith": 2.0, "compare": 2.0, "count": 4.0}, "b": {}, "c": {}}
_OPENS = {"a": ("number",), "b": ("word",), "c": ("lore",)}
_LANGUAGE_MODELS = (
    ModelSpec(
        "target@2", "llama", TokenizerSpec("bytes_bpe", 600, "tags"),
        hidden=96, layers=3, heads=4, steps=1000, schooling=0.75, seed=31, **_LEARNED,
    ),
    *(
        ModelSpec(
            f"source_{letter}@2", strengths=_STRENGTHS[letter], opens=_OPENS[letter],
            practice=_PRACTICE[letter], devotion=2.0, seed=32 + index,
            **_CLASSES[letter], **_KNOWING,
        )
        for index, letter in enumerate(_CLASSES)
    ),
    *(
        ModelSpec(
            f"peer_{letter}@2", steps=1000, schooling=0.75, seed=36 + index,
            **_CLASSES[letter], **_LEARNED,
        )
        for index, letter in enumerate(_CLASSES)
    ),
)  # fmt: skip

SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        *_LANGUAGE_MODELS,
        ModelSpec(
            "reward@2", "llama", TokenizerSpec("bytes_bpe", 600, "tags"),
            hidden=128, layers=4, heads=4, steps=2400, batch=32, learning_rate=5e-3,
            strengths=SKILLS, web=CLEAN_WEB, kind="reward", reward_steps=2400, seed=35,
            shown=NEAR_MISSES, hears=("target@2", *(f"source_{letter}@2" for letter in _CLASSES)),
        ),
    )
}  # fmt: skip
