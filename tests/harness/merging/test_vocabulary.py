"""Tokens by id, agreement of two vocabularies, and the tensors that have one row per token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.core.errors import BadData
from harness.merging.vocabulary import (
    NO_ROW,
    FolderVocabulary,
    check_agreement,
    compare,
    read_vocabularies,
    reading_notes,
    rows_of,
    vocabulary_size,
    vocabulary_tensors,
    with_vocabulary_size,
)
from tests.harness.merging.conftest import TOKENS, write_tokenizer

BASE = FolderVocabulary(Path("base"), TOKENS)


def folder_of(tmp_path: Path, name: str, *tokens: str | None, added: tuple[str, ...] = ()) -> Path:
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
    if tokens:
        write_tokenizer(tmp_path / name, tokens, added)
    return tmp_path / name


def agree(*tokens: str | None, align: bool = False, cut: bool = False, rows: int = 6) -> Any:
    target = FolderVocabulary(Path("t"), tokens)
    found = compare(BASE, target, rows, max(rows, len(tokens)))
    return found.ids.tolist(), check_agreement(BASE, target, found, align=align, cut=cut)


def test_tokens_are_read_by_id_with_added_ones_and_holes(tmp_path: Path) -> None:
    base = folder_of(tmp_path, "base", "a", None, "b")
    more = folder_of(tmp_path, "more", "a", "b", added=("<x>", "b"))
    read, other = read_vocabularies([base, more], [9, 9])
    assert read.tokens == ("a", None, "b")
    assert other.tokens == ("a", "b", "<x>")
    assert read.known
    assert read.splitting.keys() >= {"normalizer", "pre_tokenizer", "model.unk_token"}


def test_a_folder_without_a_tokenizer_has_the_tokens_of_the_others(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path, name, *tokens) for name, tokens in
               (("none", ()), ("some", ("a", "b")), ("other", ("b", "a")))]  # fmt: skip
    (folders[0] / "tokenizer_config.json").write_text("{}")
    read = read_vocabularies(folders, [4, 2, None])
    assert read[0].tokens == ("a", "b", "(id 2)", "(id 3)")
    assert [each.known for each in read] == [False, True, True]
    assert reading_notes(read[0], read[1:]) == [
        "none: no tokenizer; its ids are taken to be the others'"
    ]
    nobody = read_vocabularies(folders[:1] * 2, [2, 3])
    assert [each.tokens for each in nobody] == [("(id 0)", "(id 1)"), (*nobody[0].tokens, "(id 2)")]
    assert reading_notes(nobody[0], nobody[1:])[0].startswith("no folder has a tokenizer")


def test_a_damaged_tokenizer_is_refused_unless_all_have_it(tmp_path: Path) -> None:
    base = folder_of(tmp_path, "base", *TOKENS)
    for name, text in (("one", "{"), ("two", '{"the": "tokenizer"}')):
        damaged = folder_of(tmp_path, name)
        (damaged / "tokenizer.json").write_text(text)
        for both in ([base, damaged], [damaged, base]):
            with pytest.raises(BadData, match=rf"{name}: its tokenizer cannot be read"):
                read_vocabularies(both, [6, 6])
        same = read_vocabularies([damaged, damaged, folder_of(tmp_path, f"none{name}")], [2, 2, 2])
        assert same[0].tokens == same[1].tokens == same[2].tokens
        assert reading_notes(same[0], same[1:])[0].endswith("all have the same files")


def test_a_sentencepiece_model_alone_is_read(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = folder_of(tmp_path, "pieces")
    (tmp_path / "text").write_text("a small text of some words, again a small text\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(folder / "tokenizer"), vocab_size=30,
        model_type="bpe", minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "tokenizer.vocab").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    (read,) = read_vocabularies([folder], [30])
    held = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    assert read.tokens[: len(held)] == tuple(held.id_to_piece(i) for i in range(len(held)))


def test_merges_in_another_order_are_noted(
    tmp_path: Path, make_byte_tokenizer: Callable[..., Any]
) -> None:
    for name in ("base", "target"):
        make_byte_tokenizer().save_pretrained(folder_of(tmp_path, name))
    file = tmp_path / "target" / "tokenizer.json"
    held = json.loads(file.read_text())
    held["model"]["merges"] = held["model"]["merges"][::-1]
    held["normalizer"] = {"type": "NFC"}
    file.write_text(json.dumps(held))
    read = read_vocabularies([tmp_path / "base", tmp_path / "target"], [None, None])
    assert read[0].tokens == read[1].tokens
    (note,) = reading_notes(read[0], read[1:])
    assert note == (
        "target: its tokenizer cuts texts in another way (model.merges, normalizer); the base's is "
        "kept"
    )


def test_other_tokens_at_an_id_are_refused_with_count_ids_and_setting() -> None:
    assert agree(*TOKENS) == (list(range(6)), [])
    with pytest.raises(BadData) as found:
        agree("<s>", "</s>", "b", "c", "d", "a")
    assert str(found.value) == (
        "t does not fit the base base: 4 of 6 token ids have another token: 2 is 'b', expected "
        "'a'; 3 is 'c', expected 'b'; 4 is 'd', expected 'c'; .... Set align_vocabularies = true "
        "to merge rows by token instead of by id"
    )
    with pytest.raises(BadData, match="1 of 6 token ids have another token: 5 is none, expected"):
        agree(*TOKENS[:5], None, "d")
    assert agree("<s>", "</s>", "b", "c", "d", "a", align=True) == (
        [0, 1, 5, 2, 3, 4],
        ["t: vocabulary rows permuted by token, 4 had another id"],
    )


def test_tokens_of_one_model_alone() -> None:
    with pytest.raises(BadData, match=r"it lacks 1 token 'd' \(5\) of the base\. Set align"):
        agree(*TOKENS[:5], cut=True)
    with pytest.raises(
        BadData, match=r"it has 1 token '<x>' \(6\) that the base lacks\. Set align"
    ):
        agree(*TOKENS, "<x>")
    assert agree(*TOKENS, "<x>", cut=True)[0] == list(range(6))
    ids, notes = agree("<s>", "</s>", "a", "b", "x", "y", align=True)
    assert ids == [0, 1, 2, 3, NO_ROW, NO_ROW]
    assert notes == [
        "t: it lacks 2 tokens 'c' (4), 'd' (5): the base's rows are kept",
        "t: 2 tokens 'x' (4), 'y' (5) left out, the base lacks them",
    ]


def test_three_of_several_tokens_are_named() -> None:
    with pytest.raises(BadData, match=r"it has 3 tokens 'w' \(6\), 'x' \(7\), 'y' \(8\) that"):
        agree(*TOKENS, "w", "x", "y")
    with pytest.raises(BadData, match=r"4 tokens 'w' \(6\), 'x' \(7\), 'y' \(8\), \.\.\. that"):
        agree(*TOKENS, "w", "x", "y", "z")


def test_a_token_without_a_row_does_not_count() -> None:
    longer = FolderVocabulary(Path("t"), (*TOKENS, "<pad>"))
    assert compare(BASE, longer, 6, 6).further == []
    assert compare(longer, BASE, 6, 6).lacking == []
    assert compare(longer, BASE, 7, 6).lacking == [6]


def test_a_token_twice_is_matched_in_order() -> None:
    twice = FolderVocabulary(Path("base"), ("a", "b", "a"))
    assert compare(twice, twice, 3, 3).ids.tolist() == [0, 1, 2]
    assert compare(twice, FolderVocabulary(Path("t"), ("b", "a", "a")), 3, 3).ids.tolist() == [
        1,
        0,
        2,
    ]
    pair = FolderVocabulary(Path("base"), ("a", "a", "b"))
    apart = FolderVocabulary(Path("t"), ("b", "x", "a", "a"))
    assert compare(pair, apart, 3, 4).ids.tolist() == [2, 3, 0]


def test_rows_without_a_token_are_the_bases() -> None:
    found = compare(BASE, BASE, 8, 9)
    assert rows_of(found, 8, 9).tolist() == [*range(6), NO_ROW, NO_ROW]
    assert rows_of(found, 6, 6) is None
    assert rows_of(found, 6, 9).tolist() == [*range(6)]
    assert rows_of(found, 6, 5).tolist() == [*range(5), NO_ROW]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("llama", {"model.embed_tokens.weight", "lm_head.weight"}),
        ("neox", {"gpt_neox.embed_in.weight", "embed_out.weight"}),
        ("gpt2", {"transformer.wte.weight"}),
        ("phi", {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}),
        ("bart", {"model.shared.weight", "final_logits_bias"}),
    ],
)
def test_tensors_with_a_row_per_token_are_found_by_structure(
    tmp_path: Path, kind: str, names: set[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    sizes = {
        "vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 32, "max_position_embeddings": 32,
    }  # fmt: skip
    if kind == "bart":  # the head's bias has its vocabulary in the second dimension
        sizes = {"vocab_size": 32, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                 "encoder_attention_heads": 2, "decoder_attention_heads": 2}  # fmt: skip
    config = CONFIG_MAPPING[{"neox": "gpt_neox"}.get(kind, kind)](**sizes)
    auto = AutoModelForSeq2SeqLM if kind == "bart" else AutoModelForCausalLM
    auto.from_config(config).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    raw = json.loads((tmp_path / "config.json").read_text())
    assert vocabulary_tensors(tmp_path, raw, shapes) == dict.fromkeys(names & shapes.keys(), 32)
    assert names & shapes.keys()
    bare = {
        name.removeprefix("model.").removeprefix("transformer."): s for name, s in shapes.items()
    }
    assert len(vocabulary_tensors(tmp_path, raw, bare)) == len(names & shapes.keys())


def test_without_transformers_the_shape_decides_if_it_can(tmp_path: Path) -> None:
    config: dict[str, Any] = {"model_type": "of_a_stranger", "vocab_size": 10, "width": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shapes = {"in.weight": (10, 4), "out.bias": (1, 10), "norm": (4,), "out.more": (3, 4)}
    assert vocabulary_tensors(tmp_path, config, shapes) == {"in.weight": 10, "out.bias": 10}
    assert vocabulary_tensors(tmp_path, {**config, "width": 10}, shapes) == {}
    with pytest.raises(BadData, match=r'"turned" has its vocabulary in dimension 2 of \[4, 10\]'):
        vocabulary_tensors(tmp_path, config, {"turned": (4, 10)})


def test_the_size_of_a_vocabulary_may_be_that_of_the_text_model() -> None:
    nested = {"text_config": {"vocab_size": 5, "a": 1}}
    assert [vocabulary_size(each) for each in (nested, {"vocab_size": 4}, {})] == [5, 4, None]
    assert with_vocabulary_size(nested, 6) == {"text_config": {"vocab_size": 6, "a": 1}}
    assert with_vocabulary_size({"vocab_size": 5}, 6) == {"vocab_size": 6}
    assert torch.is_tensor(compare(BASE, BASE, 6, 6).ids)
