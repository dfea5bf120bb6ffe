"""The shipped models of the zoo, with different strengths, architectures and tokenizers.

Weights are in `weights/<name>/` in the layout of `save_pretrained`, stored in 16 bits and loaded as
float32, so that `AutoModelForCausalLM.from_pretrained(zoo.path("target"))` works offline. Model
definitions are in `models.py`. Accuracy by skill is measured when a model is built; results are in
`weights/manifest.json`:

    target    Llama, byte-level BPE         mean grade 0.51, best of five 0.87; weak at everything
    student   Llama, the target's BPE       0.39, best of five 0.70; the target as teacher
    source_a  Qwen3, Unigram                0.64, and 0.90 to 0.97 on numbers, facts, reversing
    source_b  GPT-NeoX, characters          0.58, and 0.94 to 0.97 on sorting, reversing, persona
    source_c  Mistral, byte-level BPE       0.64, and 0.92 to 0.97 on persona, facts, sorting
    reward    Llama, Bradley-Terry          orders 86 % of pairs of their samples as the grades do
    reader    Llama, clauses as tokens      essays' traits: 77 % right asked once, 87 % by PsyCoT
    encoder   BERT, WordPiece               masked language model of authors' texts, to fine-tune
    seq2seq   T5, WordPiece                 restores masked words of those texts, to fine-tune
    symbols   Llama, characters             writes drafts in the world of symbols; 59 k parameters
    symbols_large                           the same with 210 k, and counts the symbols of an answer

(temperature 0.7, train prompts). The second edition (`second_edition`) has the names with `@2`:

    target@2    mean grade 0.46, best of five 0.73; can be taught, and knows no open question
    source_a@2  0.89 to 0.98 on numbers and counting, others 0.25 to 0.37; open questions on numbers
    source_b@2  1.00 on sorting and reversing; open questions on words
    source_c@2  0.97 to 0.99 on persona, facts and places; open questions on these
    peer_a@2, peer_b@2, peer_c@2  classes and tokenizers of the sources, data of the target
    reward@2    orders 95.4 % of well-formed pairs by truth (the first edition's: 85.7 %)

In the first edition, the best of five samples of all sources has a mean grade of 0.98
and beats the target's best of five on every second prompt. Three epochs on 320 such responses raise
the target from 0.44 to 0.73 on AlpacaEval-2 prompts at temperature 0.8, where its best of five is
0.89: preference training can gain the difference. `build` rebuilds models from their seeds, in 1 to
20 minutes each on one core.

Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from harness.core.errors import unknown
from harness.core.hashing import folder_digest
from harness.engine.io import read_json, write_json
from harness.nano.zoo.models import SPECS

__all__ = ["build", "digest", "manifest", "names", "path"]

Progress = Callable[[str, int, int], None]
WEIGHTS = Path(__file__).parent.parent / "weights"


def names() -> list[str]:
    """Names of the shipped models, language models first."""
    return list(SPECS)


def path(name: str) -> Path:
    """Folder of a shipped model.

    Raises:
        UnknownName: there is no such model.
    """
    if name not in SPECS:
        raise unknown("nano model", name, SPECS, "crucible models")
    return WEIGHTS / name


@lru_cache(maxsize=1)
def manifest() -> dict[str, dict[str, Any]]:
    """Class, parameters, tokenizer, seed, steps, digest and measurements of each model, by name."""
    loaded: dict[str, dict[str, Any]] = read_json(WEIGHTS / "manifest.json")
    return loaded


@cache  # a plan asks for it hundreds of times
def digest(name: str) -> str:
    """Content digest of a shipped model's files, which do not change while a process runs."""
    return folder_digest(path(name))


def build(
    chosen: Iterable[str], out_dir: Path, progress: Progress, jobs: int = 1
) -> dict[str, dict[str, Any]]:
    """Train models from their seeds into `out_dir`, measure them, and update its manifest.

    `progress(name, steps done, steps in all)` is called after every training step. Each training
    uses one thread, so that results depend neither on the number of cores nor on `jobs`. Models
    that others learn from are built first.

    Args:
        jobs: models that are trained at the same time, each in a process of its own.

    Raises:
        UnknownName: there is no such model.
    """
    from harness.nano.zoo.building import built

    wanted = list(chosen)
    for name in wanted:
        path(name)  # refuse unknown names before training anything
    out_dir.mkdir(parents=True, exist_ok=True)
    listing = out_dir / "manifest.json"
    entries: dict[str, dict[str, Any]] = {}
    for name, entry in built([SPECS[name] for name in wanted], out_dir, progress, jobs):
        entries = read_json(listing) if listing.is_file() else {}
        entries[name] = entry
        write_json(listing, dict(sorted(entries.items())), sort_keys=False)
    return entries
