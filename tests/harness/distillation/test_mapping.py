"""Teachers in another model's tokens: positions, words, chats, compatibility, resumption."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.distillation.documents import (
    Document,
    corpus_digest,
    encode_chat,
    encode_text,
    vocabulary_size,
)
from harness.distillation.mapping import Side, map_teacher
from harness.distillation.produce import make_teacher, teacher_document
from harness.distillation.settings import MappingSettings
from harness.distillation.shards import Manifest, Teacher, tail_mass
from harness.engine.operations import Row
from harness.models.tokenize import tokenizer_digest
from tests.tokenizers import nano

TEXTS = [
    "Answer: 42. The sum of 12 and 30 is 42.", "red, green and blue", "a", "What is 7 + 5?",
    "The capital of Varnia is Olbrin; naïve café.", "one two three four five six seven",
]  # fmt: skip
ROWS: list[Row] = [{"id": f"t{n}", "text": text} for n, text in enumerate(TEXTS)]
CHATS: list[Row] = [
    {"id": f"c{n}", "messages": [{"role": "user", "content": f"Say {n}"}], "response": text}
    for n, text in enumerate(TEXTS)
]
K = 4


@lru_cache
def side(name: str, chats: bool = False) -> Side:
    tokenizer = nano(name)[0]
    encode = encode_chat if chats else encode_text
    return Side(tokenizer, lambda row: encode(tokenizer, row))


def spread(document: Document) -> Any:
    """A model that gives the next token 0.7 and three others 0.1 each."""
    following = np.array(document.tokens.input_ids[1:])
    others = 20 + (following[:, None] + np.arange(1, K)) % 230
    ids = np.column_stack([following, others])
    logps = np.broadcast_to(np.log(np.array([0.7] + [0.1] * 3)), ids.shape)
    return teacher_document(document, logps, ids, np.full(len(following), 0.25))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Teacher]:
    """The teacher of a side, whose favourite is always the next token."""

    def make(one: Side, rows: list[Row] = ROWS) -> Teacher:
        folder = tmp_path / f"teacher-{tokenizer_digest(one.tokenizer)[:8]}"
        manifest = Manifest(
            k=K, vocabulary=vocabulary_size(one.tokenizer), corpus=corpus_digest(rows), model="m",
            tokenizer=tokenizer_digest(one.tokenizer), shard_documents=2, token_ce=True,
        )  # fmt: skip
        make_teacher(folder, manifest, rows, one.encode, lambda found: map(spread, found))
        return Teacher(folder)

    return make


@pytest.fixture
def carried(made: Callable[..., Teacher], tmp_path: Path) -> Callable[..., Any]:
    def carry(base: Side, source: Side, rows: list[Row] = ROWS, **changes: Any) -> Any:
        folder = tmp_path / f"mapped-{len(list(tmp_path.iterdir()))}"
        settings = MappingSettings(**changes)
        report = map_teacher(folder, rows, made(source, rows), base, source, settings)
        mine = tokenizer_digest(base.tokenizer)
        return Teacher(folder, tokenizer=mine, corpus=corpus_digest(rows)), report

    return carry


def right_share(teacher: Teacher, base: Side, rows: list[Row]) -> float:
    """How often the favourite is the target's own next token, of rows that say anything."""
    hits = said = 0
    for row in rows:
        ids = base.encode(row).tokens.input_ids
        found = teacher.document(row["id"], ids)
        known = found.logps[:-1, 0] > -np.inf
        said += int(known.sum())
        hits += int((found.ids[:-1, 0] == ids[1:])[known].sum())
    return hits / said


def test_the_same_tokenizer_changes_nothing(made: Any, carried: Any) -> None:
    one = side("source_b")
    for changes in ({}, {"alignment": "dtw"}, {"vocabulary": "exact", "duplicates": "first"}):
        found, report = carried(one, one, **changes)
        before = made(one)
        for row in ROWS:
            a, b = found[row["id"]], before[row["id"]]
            assert (report.exact, report.dtw) == (1.0, len(ROWS) * ("alignment" in changes))
            np.testing.assert_array_equal(a.logps[:, 0], b.logps[:, 0])
            np.testing.assert_array_equal(a.ids[:, 0], b.ids[:, 0])
            np.testing.assert_array_equal(a.token_ce, b.token_ce)
            assert (a.ce, a.scored, a.check) == (b.ce, b.scored, b.check)


@pytest.mark.parametrize("source", ["source_a", "source_b", "source_c"])
@pytest.mark.parametrize("chats", [False, True])
def test_predictions_arrive_at_the_same_place_of_the_text(
    source: str, chats: bool, carried: Any
) -> None:
    rows = CHATS if chats else ROWS
    base = side("target", chats)
    found, report = carried(base, side(source, chats), rows)
    assert report.documents == len(rows)
    assert right_share(found, base, rows) > 0.6
    for row in rows:
        document = base.encode(row)
        one = found.document(row["id"], document.tokens.input_ids)
        prompt = document.tokens.labels.count(-100) - 1 if chats else 0
        assert (one.logps[:prompt] == -np.inf).all()
        assert (one.logps[prompt:-1, 0] > -np.inf).mean() > 0.8
        # The end is what follows the last token of the text, whatever each model calls it.
        assert one.ids[-2, 0] == document.tokens.input_ids[-1]
        assert (tail_mass(one.logps[:-1]) > -1e-3).all()
        theirs = side(source, chats).encode(row).tokens
        scored = [sum(label != -100 for label in t.labels[1:]) for t in (document.tokens, theirs)]
        assert one.scored == scored[0]
        assert one.ce * scored[0] == pytest.approx(0.25 * scored[1], rel=1e-6)
        assert (np.isnan(one.token_ce) | (one.token_ce == 0.25)).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"vocabulary": "exact", "onehot_target": "none"},
        {"vocabulary": "cooccurrence"},
        {"vocabulary": "statistics", "duplicates": "first"},
        {"alignment": "dtw"},
    ],
)
def test_other_settings(changes: dict[str, Any], carried: Any) -> None:
    base = side("target")
    found, report = carried(base, side("source_a"), **changes)
    assert right_share(found, base, ROWS) > 0.5
    assert (report.dtw > 0) == ("alignment" in changes)
    assert found.manifest.settings["vocabulary"] == changes.get("vocabulary", "prefix")


@pytest.mark.parametrize("released", ["fusellm", "fusechat_v1", "fusechat_v2"])
@pytest.mark.parametrize("kind", ["exact", "mined", "statistics"])
def test_released_code_is_followed(released: str, kind: str, carried: Any) -> None:
    base = side("target")
    found, _ = carried(base, side("source_b"), released=released, vocabulary=kind)
    own = next_one = rows = 0
    for row in ROWS:
        ids = np.array(base.encode(row).tokens.input_ids)
        one = found.document(row["id"], ids.tolist())
        alone = one.logps[:-1, 1] == -np.inf
        own += int((one.ids[:-1, 0] == ids[:-1])[alone].sum())
        next_one += int((one.ids[:-1, 0] == ids[1:])[alone].sum())
        rows += int(alone.sum())
        assert one.ce == 0.25  # over the source's own tokens
    assert rows > 0
    assert (own > next_one) == (released != "fusechat_v2")


def test_a_killed_run_goes_on(made: Any, tmp_path: Path) -> None:
    base, source = side("target"), side("source_c")
    teacher, settings = made(source), MappingSettings()

    def stop(done: int, total: int) -> None:
        assert total == len(ROWS)
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_teacher(tmp_path / "m", ROWS, teacher, base, source, settings, progress=stop)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "m").glob("shard-*")}
    assert len(kept) == 2
    report = map_teacher(tmp_path / "m", ROWS, teacher, base, source, settings)
    assert report.documents == len(ROWS) == len(Teacher(tmp_path / "m"))
    for name, time in kept.items():
        assert (tmp_path / "m" / name).stat().st_mtime_ns == time
    other = MappingSettings(vocabulary="exact")
    with pytest.raises(BadData, match="a teacher with settings"):
        map_teacher(tmp_path / "m", ROWS, teacher, base, source, other)


def test_a_teacher_of_another_tokenisation_is_refused(made: Any, tmp_path: Path) -> None:
    source = side("source_c")
    cut = Side(source.tokenizer, lambda row: encode_text(source.tokenizer, row, eos=False))
    with pytest.raises(BadData, match="the teacher read"):
        map_teacher(tmp_path / "m", ROWS, made(source), side("target"), cut, MappingSettings())
