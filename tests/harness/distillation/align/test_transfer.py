"""Transfer of predictions: golden lists of the released code, laws of the default, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import coo_array

from harness.core.errors import BadData
from harness.distillation.align.dtw import dtw
from harness.distillation.align.legacy import Stored, fusechat_steps, fusellm_steps
from harness.distillation.align.tokens import Vocabulary, decoded, swap_marker
from harness.distillation.align.transfer import transfer
from harness.distillation.align.vocab import nearest_tokens
from tests.golden_vectors import vectors
from tests.tokenizers import nano

Finder = Callable[[str], Path]

N, K, VOCABULARY = 6, 3, 5


def stored(case: dict, base: list[str], source: list[str], markers: tuple, variant: Any) -> Stored:
    path = dtw(base, source, *markers, variant)
    return Stored(
        case["base_ids"],
        case["blending_ids"],
        case["logits"],
        case["indices"],
        path.base_to_source(),
    )


def fusellm_case(case: dict, base: Vocabulary, source: Vocabulary) -> Stored:
    strings = base.strings(case["base_ids"]), source.strings(case["blending_ids"])
    return stored(case, *strings, (base.marker, source.marker), "fusellm")


def test_golden_fusellm(golden: Finder, tokenizers: Any) -> None:
    for case in vectors(golden("fusellm/mapped_distributions.json"))["cases"]:
        base, source = (tokenizers(case[side])[1] for side in ("base", "blending"))
        keys = swap_marker(source.tokens, source.marker, base.marker)
        ties, _ = nearest_tokens(keys, base.tokens)
        nearest = {key: base.tokens[tied[0]] for key, tied in zip(keys, ties)}
        document = fusellm_case(case, base, source)
        for name, mapping in (("hard", None), ("soft", nearest)):
            logits, ids = fusellm_steps(document, base, source, mapping)
            assert logits == case[f"fusellm_{name}"]["logits"]
            assert ids == case[f"fusellm_{name}"]["indices"]


def test_golden_arrays_agree_with_the_lists(golden: Finder, tokenizers: Any) -> None:
    """Given the released code's choices, the default path gives its values."""
    for case in vectors(golden("fusellm/mapped_distributions.json"))["cases"]:
        base, source = (tokenizers(case[side])[1] for side in ("base", "blending"))
        keys = swap_marker(source.tokens, source.marker, base.marker)
        known = {token: i for i, token in enumerate(base.tokens)}
        document = fusellm_case(case, base, source)
        logits, ids = fusellm_steps(document, base, source)
        taken = [
            lists[0] if len(lists) == 1 and keys[case["blending_ids"][lists[0]]] == own else -1
            for lists, own in zip(document.base_to_source, base.strings(case["base_ids"]))
        ]
        if taken[0] < 0 and source.kind == "byte_level":
            continue  # the released rule for first tokens
        found = transfer(
            np.array(case["logits"]),
            np.array(case["indices"]),
            np.array(taken),
            np.array([known.get(key, -1) for key in keys]),
            np.array(case["base_ids"]),
            duplicates="first",
            onehot_target="current",
        )
        for j, step in enumerate(taken):
            count = (found.ids[j] >= 0).sum()
            order = np.argsort([-x for x in logits[j]], kind="stable")
            assert found.ids[j, :count].tolist() == [ids[j][i] for i in order]
            if step >= 0:
                assert found.logps[j, :count].tolist() == [logits[j][i] for i in order]
            else:
                assert found.logps[j, 0] == 0


def test_golden_fusechat(golden: Finder, tokenizers: Any) -> None:
    inputs = vectors(golden("fusellm/mapped_distributions.json"))["cases"]
    by_text = {(case["base"], case["blending"], case["text"]): case for case in inputs}
    statistics = vectors(golden("fusechat/statistics_mapping.json"))["pairs"]
    pairs = {(pair["version"], pair["base"], pair["blending"]): pair for pair in statistics}
    checked = 0
    for case in vectors(golden("fusechat/mapped_distributions.json"))["cases"]:
        if case.get("align_type") == "soft" or "raises" in case:
            continue  # cannot run as released (it reads the mapping by position, not by id)
        version, key = case["version"], (case["base"], case["blending"])
        loaded = [tokenizers(name) for name in key]
        base, source = (vocabulary for _, vocabulary in loaded)
        strings = None
        if version == "v2":
            strings = tuple(decoded(tokenizer, range(len(v))) for tokenizer, v in loaded)
        given_ = by_text[(*key, case["text"])]
        ours, theirs = strings or (base.tokens, source.tokens)
        document = stored(
            given_,
            [ours[i] for i in given_["base_ids"]],
            [theirs[i] for i in given_["blending_ids"]],
            (base.marker, source.marker),
            f"fusechat_{version}",
        )
        pair = pairs[(version, *key)]
        b, s, n = np.array(pair["counts_base_blending_n"]).T
        counts = coo_array((n, (b, s)), shape=(len(base), len(source))).tocsr()
        mapping = None if case.get("align_type") == "hard" else pair["blending_to_base"]
        counts = counts if case.get("use_token_alignment_matrix") else None
        how = {"version": version, "strings": strings, "counts": counts}
        logits, ids = fusechat_steps(document, base, source, mapping, **how)
        assert ids == case["indices"]
        for found, wanted in zip(logits, case["logits"]):
            assert found == pytest.approx(wanted, rel=1e-12)
        checked += 1
    assert checked


def predictions() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Log-probabilities (N, K) that sum to less than 1, and distinct ids of a vocabulary."""

    def normalised(values: np.ndarray) -> np.ndarray:
        return np.sort(values - np.log(np.exp(values).sum(1, keepdims=True)) - 0.1)[:, ::-1]

    rows = st.permutations(range(VOCABULARY)).map(lambda order: order[:K])
    return st.tuples(
        arrays(np.float64, (N, K), elements=st.floats(-20, 0)).map(normalised),
        st.lists(rows, min_size=N, max_size=N).map(np.array),
    )


STEPS = arrays(np.int64, N, elements=st.integers(-1, N - 1))
MAPPINGS = arrays(np.int64, VOCABULARY, elements=st.integers(-1, 3))
BASE = np.array([3, 1, 2, 0, 3, 1])


@given(predictions())
def test_the_same_vocabulary_and_text_change_nothing(stored_: tuple) -> None:
    logps, ids = stored_[0].astype(np.float32), stored_[1]
    found = transfer(logps, ids, np.arange(N), np.arange(VOCABULARY), BASE)
    assert np.array_equal(found.logps, logps)
    assert np.array_equal(found.ids, ids)
    assert found.transferred.all()
    assert found.lost.max() < 1e-6


@given(predictions(), STEPS, MAPPINGS)
def test_mass_arrives_or_is_lost(stored_: tuple, step: np.ndarray, mapping: np.ndarray) -> None:
    logps, ids = stored_
    found = transfer(logps, ids, step, mapping, BASE)
    first = transfer(logps, ids, step, mapping, BASE, duplicates="first")
    for j in range(N):
        kept = found.ids[j][found.ids[j] >= 0]
        assert len(set(kept)) == len(kept)
        assert (found.ids[j] >= 0).tolist() == sorted(found.ids[j] >= 0, reverse=True)
        assert np.array_equal(found.ids[j] < 0, np.isneginf(found.logps[j]))
        assert found.transferred[j] == (step[j] >= 0)
        if step[j] < 0:
            assert found.ids[j, 0] == (BASE[j + 1] if j < N - 1 else -1)
            assert found.lost[j] == 0
            continue
        wanted: dict[int, list[float]] = {}
        for logp, i in zip(logps[step[j]], ids[step[j]]):
            wanted.setdefault(int(mapping[i]), []).append(float(np.exp(logp)))
        lost = sum(wanted.pop(-1, []))
        arrived = dict(zip(found.ids[j].tolist(), np.exp(found.logps[j]).tolist()))
        arrived.pop(-1, None)
        assert arrived == pytest.approx({i: sum(parts) for i, parts in wanted.items()}, rel=1e-5)
        assert found.lost[j] == pytest.approx(lost, abs=1e-6)
        firsts = dict(zip(first.ids[j].tolist(), np.exp(first.logps[j]).tolist()))
        firsts.pop(-1, None)
        assert firsts == pytest.approx({i: parts[0] for i, parts in wanted.items()}, rel=1e-5)
        assert first.lost[j] >= found.lost[j] - 1e-6


def test_one_token_targets() -> None:
    logps, ids, step = np.zeros((1, 2)), np.array([[0, -1]]), np.array([-1, 0, -1])
    mapping, base = np.array([7]), np.array([4, 5, 6])
    for target, wanted in (
        ("next", [5, 7, -1]),
        ("current", [4, 7, 6]),
        ("none", [-1, 7, -1]),
    ):
        found = transfer(logps, ids, step, mapping, base, onehot_target=target)  # type: ignore
        assert found.ids[:, 0].tolist() == wanted
        assert (found.ids[:, 1] == -1).all()
        assert found.lost.tolist() == [0, 0, 0]


def test_ids_beyond_the_vocabulary() -> None:
    logps, ids = np.log([[0.5, 0.3]]), np.array([[0, 9]])
    step, mapping, base = np.zeros(1, np.int64), np.array([2]), np.array([0])
    with pytest.raises(BadData, match="predicts token id 9, but its tokenizer has 1"):
        transfer(logps, ids, step, mapping, base)
    found = transfer(logps, ids, step, mapping, base, beyond_vocabulary="mask")
    assert found.ids.tolist() == [[2, -1]]
    assert found.lost[0] == pytest.approx(0.3)


def test_ids_beyond_the_vocabulary_in_lists() -> None:
    _, tokens = nano("target")
    document = Stored([0], [0], [[1.0]], [[len(tokens)]], [[0]])
    with pytest.raises(BadData, match="another tokenizer"):
        fusellm_steps(document, tokens, tokens)
    with pytest.raises(BadData, match="another tokenizer"):
        fusechat_steps(document, tokens, tokens, None, version="v2")


def test_a_token_that_was_never_aligned_is_dropped_from_lists() -> None:
    base, source = nano("target")[1], nano("source_a")[1]
    unmapped = next(i for i, token in enumerate(source.tokens) if token not in base.tokens)
    own = next(i for i, token in enumerate(source.tokens) if token in base.tokens)
    document = Stored([base.tokens.index(source.tokens[own])], [own], [[1.0]], [[unmapped]], [[0]])
    mapping = [-1] * len(source)
    assert fusechat_steps(document, base, source, mapping, version="v1") == ([[]], [[]])


def test_input_that_does_not_fit_is_refused() -> None:
    logps, ids, one = np.zeros((2, 1)), np.zeros((2, 1), np.int64), np.zeros(1, np.int64)
    with pytest.raises(BadData, match="must be one"):
        transfer(logps, ids[:1], one, one, one)
    with pytest.raises(BadData, match="equally many"):
        transfer(logps, ids, one, one, BASE)
    with pytest.raises(BadData, match="text cut"):
        transfer(logps, ids, one + 2, one, one)
    with pytest.raises(BadData, match="NaN at source position 1"):
        transfer(np.array([[0.0], [np.nan]]), ids, one + 1, one, one)


def test_an_empty_document() -> None:
    nothing = np.zeros(0, np.int64)
    found = transfer(np.zeros((0, 2)), np.zeros((0, 2), np.int64), nothing, nothing, nothing)
    assert found.ids.shape == (0, 2)


def of(tokens: list[str]) -> Vocabulary:
    """A vocabulary of SentencePiece strings."""
    return Vocabulary(
        name="made",
        kind="sentencepiece",
        marker="▁",
        tokens=tokens,
        pieces=[token.replace("▁", " ").encode() for token in tokens],
        special=frozenset(),
        roles={},
    )


@pytest.mark.parametrize(
    ("pieces", "mixed"),
    [
        (["▁", "ab"], [0, 1]),  # the first rule sees "▁ab", which no piece contains
        (["▁", "ab", "▁"], [0, 1]),  # and the second stops where the text is spelt
        (["▁ab", "▁"], [0]),  # a piece that fits with its marker is taken alone
    ],
)
def test_fusechat_v1_mixes_the_pieces_that_spell_a_token(
    pieces: list[str], mixed: list[int]
) -> None:
    base, source = of(["▁ab", "x", "y", "z"]), of([*dict.fromkeys(pieces), "x", "y", "z"])
    places = [source.tokens.index(piece) for piece in pieces]
    targets = [source.tokens.index(token) for token in "xyz"]
    document = Stored(
        base_ids=[0],
        source_ids=places,
        logits=[[4.0], [2.0], [1.0]][: len(pieces)],
        indices=[[target] for target in targets][: len(pieces)],
        base_to_source=[list(range(len(pieces)))],
    )
    counts = coo_array(
        (np.ones(len(set(places))), ([0] * len(set(places)), sorted(set(places)))),
        shape=(len(base), len(source)),
    ).tocsr()
    logits, ids = fusechat_steps(
        document, base, source, [-1] * len(source), version="v1", counts=counts
    )
    assert ids == [[1 + place for place in mixed]]
    share = 1 / len(mixed)
    assert logits[0] == pytest.approx([[4.0, 2.0, 1.0][place] * share for place in mixed])
