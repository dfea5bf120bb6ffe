"""What is refused before a merge: damaged, pickled, and checkpoints that do not fit together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.core.errors import BadData, EnvironmentProblem
from harness.merging import with_mergekit
from harness.merging.checkpoint import checkpoint_folder, fit_together, open_checkpoint, stacked
from harness.merging.settings import MergeParams, SceSettings
from tests.harness.merging.conftest import TOKENS

Write = Callable[..., Path]
HEAD, EMBED, K0 = (
    "lm_head.weight",
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.k_proj.weight",
)


def fit(base: Path, target: Path, **params: Any) -> list[str]:
    with open_checkpoint(base) as one, open_checkpoint(target) as two:
        return fit_together(one, [two], MergeParams(rule=SceSettings(), **params))


def aligned(name: str, base: Path, target: Path, **params: Any) -> torch.Tensor:
    """A target's tensor as it is merged, with the rows of the base."""
    with open_checkpoint(base) as one, open_checkpoint(target) as two:
        fit_together(one, [two], MergeParams(rule=SceSettings(), **params))
        rows = torch.cat([*stacked(name, one, [two]).pieces()], dim=1)
        return rows[1].reshape(one.tensors[name].shape)


def test_a_tensor_is_read_where_it_lies(write: Write, tensors: Callable[..., Any]) -> None:
    values = tensors(0)
    for shards in (1, 3):
        folder = write(f"m{shards}", values, dtype=torch.bfloat16, shards=shards)
        with open_checkpoint(folder) as checkpoint:
            assert checkpoint.tensors.keys() == values.keys()
            for name, value in values.items():
                expected = value.bfloat16().flatten()
                assert torch.equal(checkpoint.read(name, 1, 4), expected[1:4])
                assert torch.equal(torch.cat([*checkpoint.pieces(name)]), expected)


def test_damaged_and_incomplete_folders_are_refused(
    write: Write, tensors: Callable[..., Any]
) -> None:
    folder = write("cut", tensors(0))
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(BadData, match=r"model\.safetensors is missing, damaged or truncated"):
        open_checkpoint(folder)
    folder = write("lost", tensors(0), shards=2)
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(BadData, match=r"part-1\.safetensors is missing"):
        open_checkpoint(folder)
    folder = write("index", tensors(0), shards=2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] |= {"phantom": "part-0.safetensors", "ghost": "part-0.safetensors"}
    path.write_text(json.dumps(index))
    with pytest.raises(BadData, match='"ghost" is listed in'):
        open_checkpoint(folder)
    path.write_text("{")
    with pytest.raises(BadData, match=r"index\.json, line 1: not JSON"):
        open_checkpoint(folder)
    path.unlink()
    with pytest.raises(BadData, match=r"neither model\.safetensors nor"):
        open_checkpoint(folder)
    folder = write("bare", tensors(0))
    (folder / "config.json").unlink()
    with pytest.raises(BadData, match=r"config\.json: cannot be read"):
        open_checkpoint(folder)


def test_pickled_weights_are_never_opened(write: Write, tensors: Callable[..., Any]) -> None:
    folder = write("pickled", tensors(0))
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadData, match=r"neither model\.safetensors nor"):
        open_checkpoint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(BadData, match=r"pickled \(pytorch_model\.bin\).*can run any code"):
        open_checkpoint(folder)


def test_a_file_cut_while_it_is_read_is_noticed(write: Write, tensors: Callable[..., Any]) -> None:
    folder = write("m", tensors(0))
    file = folder / "model.safetensors"
    with open_checkpoint(folder) as checkpoint:
        last = max(checkpoint.tensors, key=lambda name: checkpoint.tensors[name].offset)
        os.truncate(file, file.stat().st_size - 4)
        with pytest.raises(BadData, match=f'ends inside tensor "{last}"'):
            list(checkpoint.pieces(last))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": K0}, f'tensor "{K0}" has shape \\[3, 4\\]; expected \\[2, 4\\]'),
        ({"dtype": K0}, f'tensor "{K0}" has dtype F16; expected F32'),
        ({"drop": K0}, f'tensor "{K0}" is missing'),
        ({"add": "model.extra.weight"}, 'tensor "model.extra.weight" is not in the base'),
        ({"model_type": "qwen2"}, "model_type is qwen2; expected llama"),
        ({"architectures": ["Other"]}, r"architectures is \['Other'\]"),
    ],
)
def test_differences_are_refused_by_name(
    write: Write, tensors: Callable[..., Any], change: dict[str, Any], message: str
) -> None:
    base = tensors(0)
    target, change = tensors(1, base), dict(change)
    if name := change.pop("shape", None):
        target[name] = torch.ones(3, 4)
    if drop := change.pop("drop", None):
        del target[drop]
    if add := change.pop("add", None):
        target[add] = torch.ones(2)
    half = change.pop("dtype", None)
    folder = write("target", target, half=half, **change)
    with pytest.raises(BadData, match=message):
        fit(write("base", base), folder)
    if half:
        assert fit(folder.parent / "base", folder, mixed_dtypes=True) == []


def test_tied_embeddings_may_be_saved_once_or_twice(
    write: Write, tensors: Callable[..., Any]
) -> None:
    once = {name: value for name, value in tensors(0).items() if name != HEAD}
    twice = {**once, HEAD: once[EMBED].clone()}
    one, two = write("once", once), write("twice", twice)
    assert fit(one, two) == [f"twice: {HEAD} left out, a copy of {EMBED}"]
    assert fit(two, one) == [f"once: {HEAD} taken from {EMBED}, to which it is tied"]
    untied = write("untied", {**once, HEAD: once[EMBED] + 1})
    with pytest.raises(BadData, match=f'tensor "{HEAD}" is not in the base'):
        fit(one, untied)
    with pytest.raises(BadData, match=f'tensor "{HEAD}" is missing'):
        fit(untied, one)


def test_tokens_that_only_a_target_has_are_cut_only_on_request(
    write: Write, tensors: Callable[..., Any]
) -> None:
    base, wide = write("base", tensors(0)), tensors(1, rows=8)
    target = write("wide", wide, vocab_size=8, added=("<x>", "<y>"))
    with pytest.raises(BadData, match=r"has 2 tokens '<x>' \(6\), '<y>' \(7\) that the base lacks"):
        fit(base, target)
    for setting in ({"embedding_rows": "cut"}, {"align_vocabularies": True}):
        notes = fit(base, target, **setting)
        assert notes == [
            "wide: 2 tokens '<x>' (6), '<y>' (7) left out, the base lacks them",
            "wide: 8 vocabulary rows; the result has 6",
        ]
    assert torch.equal(aligned(EMBED, base, target, embedding_rows="cut"), wide[EMBED][:6])
    with pytest.raises(BadData, match=r"it lacks 2 tokens '<x>' \(6\), '<y>' \(7\) of the base"):
        fit(target, base, embedding_rows="cut")


def test_what_is_not_a_float_must_be_equal(write: Write, tensors: Callable[..., Any]) -> None:
    values = tensors(0)
    base = write("base", {**values, "ids": torch.arange(9)})
    assert fit(base, write("same", {**values, "ids": torch.arange(9)})) == []
    with pytest.raises(
        BadData, match='"ids" differs from the base, and dtype I64 cannot be merged'
    ):
        fit(base, write("other", {**values, "ids": torch.arange(9) + 1}))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_none_are_named(
    write: Write, tensors: Callable[..., Any], bad: float
) -> None:
    values = tensors(1)
    values[K0][1, 2] = bad
    kind = "NaN" if bad != bad else "Inf"
    base, ill = write("base", tensors(0)), write("ill", values)
    with open_checkpoint(base) as one, open_checkpoint(ill) as two:
        tensor = stacked(K0, one, [two])
        with pytest.raises(BadData) as found:
            list(tensor.pieces())
    assert f'ill: tensor "{K0}" contains {kind}' in str(found.value)


def test_large_numbers_are_no_infinities(write: Write) -> None:
    folder = write("m", {"w": torch.full((9,), 3e38)})
    with open_checkpoint(folder) as one:
        assert len(list(stacked("w", one, [one]).pieces())) == 2


def test_a_model_is_followed_to_its_folder(
    write: Write, tensors: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write("m", tensors(0))
    pointing = tmp_path / "pointer"
    pointing.mkdir()
    (pointing / "model.json").write_text(json.dumps({"ref": str(folder)}))
    assert checkpoint_folder(pointing) == folder
    (pointing / "model.json").write_text(json.dumps({"ref": "nobody/nothing"}))
    with pytest.raises(EnvironmentProblem, match="nobody/nothing cannot be downloaded"):
        checkpoint_folder(pointing)


def test_a_hub_model_is_taken_at_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(name: str, **options: Any) -> str:
        asked.append((name, options["revision"], "*.safetensors" in options["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    (tmp_path / "model.json").write_text(json.dumps({"ref": "a/b", "revision": "0123abc"}))
    assert checkpoint_folder(tmp_path) == tmp_path
    assert asked == [("a/b", "0123abc", True)]


ROTARY = "model.layers.0.self_attn.rotary_emb.inv_freq"


def test_known_buffers_are_left_out_wherever_they_are(
    write: Write, tensors: Callable[..., Any]
) -> None:
    base = tensors(0)
    mask = {
        "h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
        "position_ids": torch.ones(3),
    }
    one = write("one", {**base, ROTARY: torch.full((2,), torch.nan)})
    two = write("two", {**tensors(1, base), **mask})
    plain = write("plain", tensors(2, base))
    rotary = f"known buffers are not merged and left out: 1 x {ROTARY.replace('.0.', '.*.')}"
    masks = "known buffers are not merged and left out: 1 x h.*.attn.bias, 1 x position_ids"
    assert fit(plain, one) == [f"one: {rotary}"]
    assert fit(one, two) == [f"one: {rotary}", f"two: {masks}"]
    with open_checkpoint(one) as first, open_checkpoint(plain) as second:
        fit_together(first, [second], MergeParams(rule=SceSettings()))
        assert first.tensors.keys() == second.tensors.keys() == base.keys()
    bias = {"h.0.attn.bias": torch.ones(4), "h.0.attn.c_attn.bias": torch.ones(1, 1, 4, 4)}
    for name, value in bias.items():  # no masks
        with pytest.raises(BadData, match=f'tensor "{name}" is not in the base'):
            fit(plain, write(name, {**base, name: value}))


def test_rows_are_merged_by_token(write: Write, tensors: Callable[..., Any]) -> None:
    values = tensors(1)
    order = [0, 1, 5, 2, 4, 3]
    moved = {k: v[order] if len(v) == 6 else v for k, v in values.items()}
    base = write("base", tensors(0))
    target = write("moved", moved, tokens=[TOKENS[id] for id in order])
    with pytest.raises(
        BadData, match=r"3 of 6 token ids have another token: 2 is 'd', expected 'a'"
    ):
        fit(base, target)
    for name in (EMBED, HEAD, K0):
        assert torch.equal(aligned(name, base, target, align_vocabularies=True), values[name])
    ours, theirs = (
        write(f"strange{place}", each, model_type="strange", hidden_size=6, tokens=tokens)
        for place, (each, tokens) in enumerate([(values, TOKENS), (moved, TOKENS[::-1])])
    )
    with pytest.raises(BadData, match="vocabularies differ, and the tensors"):
        fit(ours, theirs, align_vocabularies=True)


def padded(values: dict[str, Any], rows: int) -> dict[str, Any]:
    """Rows without a token, which no training has touched, or ruined."""
    grown = {}
    for name, value in values.items():
        grown[name] = value
        if name in (EMBED, HEAD):
            grown[name] = torch.full((rows, 4), torch.nan)
            grown[name][: len(value)] = value
    return grown


@pytest.mark.parametrize(("base_rows", "rows"), [(6, 8), (8, 6), (8, 8), (8, 64)])
@pytest.mark.parametrize("told", [True, False])
def test_padding_rows_are_the_bases(
    write: Write, tensors: Callable[..., Any], base_rows: int, rows: int, told: bool
) -> None:
    ours, theirs = tensors(0, rows=base_rows), tensors(1)
    base = write("base", ours, vocab_size=base_rows)
    target = write("target", padded(theirs, rows), vocab_size=rows if told else 6)
    for name in (EMBED, HEAD):
        found = aligned(name, base, target)
        assert torch.equal(found[:6], theirs[name])
        assert torch.equal(found[6:], ours[name][6:])
    expected = ["2 of 8 vocabulary rows have no token: the base's are kept"] * (base_rows == 8)
    if base_rows != rows:
        expected.append(f"target: {rows} vocabulary rows; the result has {base_rows}")
    assert fit(base, target) == expected


def test_the_config_gets_the_rows_of_the_base(write: Write, tensors: Callable[..., Any]) -> None:
    base, target = write("base", tensors(0, rows=8)), write("target", tensors(1))
    with open_checkpoint(base) as one, open_checkpoint(target) as two:
        notes = fit_together(one, [two], MergeParams(rule=SceSettings()))
        assert notes[2:] == ["config: vocab_size was 6; set to 8, the rows of the base"]
        assert one.config["vocab_size"] == 8


def test_without_tokenizers_rows_beyond_those_of_the_base_are_tokens(
    write: Write, tensors: Callable[..., Any]
) -> None:
    base = write("base", tensors(0), tokens=None)
    target = write("wide", tensors(1, rows=8), vocab_size=8, tokens=None)
    with pytest.raises(BadData, match=r"it has 2 tokens '\(id 6\)' \(6\), '\(id 7\)' \(7\) that"):
        fit(base, target)
    assert len(fit(base, target, embedding_rows="cut")) == 3
    named = write("named", tensors(0))
    note = "none: no tokenizer; its ids are taken to be the others'"
    assert fit(named, write("none", tensors(1), tokens=None)) == [note]


def test_a_config_that_gives_weights_another_meaning_is_refused(
    write: Write, tensors: Callable[..., Any]
) -> None:
    base = write("base", tensors(0), rope_theta=1e4, torch_dtype="float32")
    target = write("target", tensors(1), rope_theta=1e6)
    with pytest.raises(BadData, match=r'allow_config = \["rope_theta"\]'):
        fit(base, target)
    (note,) = fit(base, target, allow_config=("rope_theta",))
    assert "rope_parameters.rope_theta is 1000000.0; expected 10000.0 (allowed" in note


def test_a_copy_for_mergekit_has_every_tensor_of_the_base(
    write: Write, tensors: Callable[..., Any], tmp_path: Path
) -> None:
    values = {"a.ids": torch.arange(3), **tensors(0)}  # what is no float comes first
    folders = write("base", values), write("target", {**values, ROTARY: torch.ones(2)})
    base, target = map(open_checkpoint, folders)
    with base, target:
        fit_together(base, [target], MergeParams(rule=SceSettings()))
        with_mergekit._link(tmp_path / "link", target, base)
    copied = load_file(tmp_path / "link" / "model.safetensors")
    assert copied.keys() == values.keys()
    assert all(torch.equal(copied[name], value) for name, value in values.items())


def test_what_mergekit_wrote_is_checked(write: Write, tensors: Callable[..., Any]) -> None:
    values = tensors(0)
    with open_checkpoint(write("base", values)) as base:
        with_mergekit._check(write("made", values), base)
        broken = write("broken", {**values, K0: torch.full((2, 4), torch.nan)})
        with pytest.raises(BadData, match="k_proj"):
            with_mergekit._check(broken, base)
        with pytest.raises(BadData, match=r"k_proj.weight\" has shape \[3, 4\]; expected \[2, 4\]"):
            with_mergekit._check(write("wide", {**values, K0: torch.ones(3, 4)}), base)
