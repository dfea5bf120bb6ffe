"""Small checkpoints written on the spot; pieces are so short that most tensors have several."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.merging import pieces

Write = Callable[..., Path]

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 6}
TOKENS = ("<s>", "</s>", "a", "b", "c", "d")


def write_tokenizer(folder: Path, tokens: Sequence[str | None], added: Sequence[str] = ()) -> None:
    """A tokenizer with these tokens by id (None: no token), and added tokens behind them."""
    from tokenizers import AddedToken, Tokenizer, models

    words = {token: id for id, token in enumerate(tokens) if token is not None}
    made = Tokenizer(models.WordLevel(words, unk_token=tokens[0]))
    made.add_special_tokens([AddedToken(token) for token in added])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


@pytest.fixture(autouse=True, scope="package")
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", 7)
        yield


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # tiny tensors: threads only wait for each other


def make_tensors(
    seed: int, base: dict[str, Tensor] | None = None, rows: int = 6
) -> dict[str, Tensor]:
    """The tensors of two layers, or of the base moved a little."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (rows, 4),
        "model.norm.weight": (4,),
        "lm_head.weight": (rows, 4),
    }
    for layer in range(2):
        shapes[f"model.layers.{layer}.self_attn.q_proj.weight"] = (4, 4)
        shapes[f"model.layers.{layer}.self_attn.k_proj.weight"] = (2, 4)
        shapes[f"model.layers.{layer}.mlp.up_proj.weight"] = (5, 4)
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if base is None:
        return made
    return {name: base[name] + 0.1 * seed * value for name, value in made.items()}


@pytest.fixture
def tensors() -> Callable[..., dict[str, Tensor]]:
    return make_tensors


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a checkpoint folder, in so many files; `half` names a tensor to be float16, `tokens`
    are those of its tokenizer (None: no tokenizer), in the order of their ids."""

    def make(
        name: str,
        values: dict[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        shards: int = 1,
        half: str | None = None,
        tokens: Sequence[str | None] | None = TOKENS,
        added: Sequence[str] = (),
        **config: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
        if tokens is not None:
            write_tokenizer(folder, tokens, added)
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        cast = {
            key: value.to(torch.float16 if key == half else dtype)
            if value.is_floating_point()
            else value
            for key, value in values.items()
        }
        if shards == 1:
            save_file(cast, folder / "model.safetensors")
            return folder
        where = {key: f"part-{place % shards}.safetensors" for place, key in enumerate(cast)}
        for file in set(where.values()):
            save_file({k: v for k, v in cast.items() if where[k] == file}, folder / file)
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return make


@pytest.fixture
def family(write: Write) -> Callable[..., tuple[Path, list[Path]]]:
    """A base and some targets."""

    def make(targets: int = 3, **options: Any) -> tuple[Path, list[Path]]:
        base = make_tensors(0)
        folders = [write(f"t{n}", make_tensors(n, base), **options) for n in range(1, targets + 1)]
        return write("base", base, **options), folders

    return make
