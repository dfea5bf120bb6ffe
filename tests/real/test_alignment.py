"""SmolLM2 with real tokenizers: what is carried over, how fast, and whole vocabularies."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from transformers import AutoTokenizer

from harness.distillation.align.offsets import align, read
from harness.distillation.align.tokens import Vocabulary, vocabulary
from harness.distillation.align.vocab import map_vocabulary
from harness.engine.operations import Artifact, Row

Operate = Callable[..., Artifact]
Figure = Callable[[str], None]
TARGETS = ("tok_llama2", "tok_mistral", "tok_llama3")
ROOT = Path(__file__).resolve().parents[2]


def texts() -> Iterator[str]:
    """Paragraphs of the documentation: prose, tables, code and some Unicode."""
    for path in [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield from (part for part in path.read_text(encoding="utf-8").split("\n\n") if part.strip())


@pytest.fixture(scope="module")
def source(real_folder: Path) -> Vocabulary:
    return vocabulary(AutoTokenizer.from_pretrained(real_folder / "smollm2"))


@pytest.fixture(scope="module")
def corpus(rows_of: Callable[[list[Row]], Artifact]) -> Artifact:
    kept = [text for text in texts() if 200 < len(text) < 500][:6]
    return rows_of([{"id": str(number), "text": text} for number, text in enumerate(kept)])


@pytest.fixture(scope="module")
def teacher(real_folder: Path, corpus: Artifact, operate: Operate) -> Artifact:
    model = Artifact("m", real_folder / "smollm2")
    return operate("make_teacher", {"k": 10}, corpus=corpus, model=model)


@pytest.mark.parametrize("name", TARGETS)
def test_a_teacher_is_carried_to_a_real_tokenizer(
    name: str,
    real_folder: Path,
    corpus: Artifact,
    teacher: Artifact,
    operate: Operate,
    figure: Figure,
    tmp_path: Path,
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real_folder / name)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')  # only the tokenizer is read
    mapped = operate(
        "map_teacher",
        {},
        corpus=corpus,
        teacher=teacher,
        target=Artifact("t", tmp_path),
        source=Artifact("m", real_folder / "smollm2"),
    )
    report = mapped.read_json("alignment.json")
    shares = {key: report[key] for key in ("exact", "split", "merged", "crossed", "unmatched")}
    assert sum(shares.values()) == pytest.approx(1)
    assert report["transferable"] > 0.7
    said = ", ".join(f"{key} {share:.1%}" for key, share in shares.items())
    figure(
        f"SmolLM2 -> {name}: {report['transferable']:.1%} of {report['positions']} positions "
        f"carried over ({said})"
    )


@pytest.mark.parametrize("name", TARGETS)
def test_alignment_speed(name: str, real_folder: Path, source: Vocabulary, figure: Figure) -> None:
    tokenizers = [AutoTokenizer.from_pretrained(real_folder / n) for n in (name, "smollm2")]
    sides = (vocabulary(tokenizers[0]), source)
    documents = list(texts())
    started, positions, carried = time.process_time(), 0, 0
    for text in documents:
        ours, theirs = (read(t, v, text) for t, v in zip(tokenizers, sides))
        found = align(ours, theirs, "offset")
        positions += len(ours.ids)
        carried += int((found.step >= 0).sum())
        assert len(found.step) == len(ours.ids)
    spent = time.process_time() - started
    assert carried / positions > 0.7
    figure(
        f"alignment with {name}: {positions:,} tokens in {len(documents)} texts, "
        f"{positions / spent:,.0f} tokens/s (tokenising included), {carried / positions:.1%} "
        "have a prediction"
    )


def memory_peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("mode", ["exact", "prefix", "nearest"])
def test_the_whole_vocabulary_is_mapped(
    mode: Any, real_folder: Path, source: Vocabulary, figure: Figure
) -> None:
    """49,152 source tokens to 32,000 of Llama-2; a sample against a search of all of them."""
    base = vocabulary(AutoTokenizer.from_pretrained(real_folder / "tok_llama2"))
    before, started = memory_peak(), time.process_time()
    found = map_vocabulary(base, source, mode)
    spent, grown = time.process_time() - started, memory_peak() - before
    mapped = np.flatnonzero(found >= 0)
    plain = [i for i in mapped.tolist() if not source.is_special[i]]
    if mode == "exact":
        assert all(base.texts[found[i]] == source.texts[i] for i in plain)
    if mode == "prefix":
        assert all(source.pieces[i].startswith(base.pieces[found[i]]) for i in plain)
    if mode == "nearest":
        exact = map_vocabulary(base, source, "exact")
        others = [i for i in plain if exact[i] < 0][::997]
        spelled = [text for i, text in enumerate(base.texts) if text and not base.is_special[i]]
        for i in others:
            least = min(Levenshtein.distance(source.texts[i], text) for text in spelled)
            assert Levenshtein.distance(source.texts[i], base.texts[found[i]]) <= least + 0
    figure(
        f"vocabulary {len(source):,} x {len(base):,}, {mode}: {len(mapped) / len(source):.1%} "
        f"mapped in {spent:.1f} s of processor time, peak memory +{grown:.0f} MiB"
    )
