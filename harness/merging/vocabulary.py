"""Vocabularies of checkpoints: the token of each row, and the rows of one model in another's order.

A vocabulary is the token of each id, added tokens included. Rows without a token are padding (to a
multiple of 64, say): they are never merged, the base's are kept. A folder without a tokenizer is
taken to have the tokens of the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.merging.configs import load_config
from harness.models.checkpoints import load_tokenizer

NO_ROW = -1
_FILES = ("tokenizer.json", "*.model", "vocab*", "merges.txt", "*.tiktoken", "tekken.json")
_CONFIGS = ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")
_SPLITTING = ("normalizer", "pre_tokenizer")  # parts of tokenizer.json that cut texts
_SHOWN = 3


@dataclass(frozen=True)
class FolderVocabulary:
    """Tokens by id (None: no token) of a folder.

    Attributes:
        known: the folder has a tokenizer that can be read; else these are another folder's tokens.
        problem: why the tokenizer cannot be read.
        splitting: how texts are cut into tokens, by part of tokenizer.json.
    """

    folder: Path
    tokens: tuple[str | None, ...]
    known: bool = True
    problem: str = ""
    splitting: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_vocabularies(
    folders: Sequence[Path], sizes: Sequence[int | None]
) -> list[FolderVocabulary]:
    """Vocabularies of a base and its targets.

    A folder without a tokenizer gets the tokens of the first that has one, and nameless tokens for
    further ids below its `vocab_size`, which only equal other nameless ones.

    Args:
        sizes: `vocab_size` of each config.

    Raises:
        BadData: a tokenizer cannot be read, and not all folders have the same files.
    """
    files = [_files(folder) for folder in folders]
    read: list[FolderVocabulary] = []
    for folder, held in zip(folders, files):
        if read and held == files[0]:
            read.append(replace(read[0], folder=folder))
        else:
            read.append(_read(folder) if held else FolderVocabulary(folder, (), known=False))
        if read[-1].problem and any(other not in ({}, files[0]) for other in files):
            raise BadData(
                f"{folder}: its tokenizer cannot be read, so that vocabularies cannot be compared "
                f"({read[-1].problem}); repair it, or remove its files if the ids are the others'"
            )
    named: tuple[str | None, ...] = next((each.tokens for each in read if each.known), ())
    made = []
    for size, found in zip(sizes, read):
        rest = tuple(f"(id {id})" for id in range(len(named), size or 0))
        made.append(found if found.known else replace(found, tokens=named + rest))
    return made


def _files(folder: Path) -> dict[str, bytes]:
    """Contents of a folder's tokenizer files; {} without a vocabulary."""
    found = sorted({path for pattern in _FILES for path in folder.glob(pattern)})
    if not found:
        return {}
    return {p.name: p.read_bytes() for p in (*found, *map(folder.joinpath, _CONFIGS)) if p.exists()}


def _read(folder: Path) -> FolderVocabulary:
    try:
        tokenizer = load_tokenizer(folder)
        ids = tokenizer.get_vocab()
        tokens: list[str | None] = [None] * (max(ids.values(), default=-1) + 1)
        if tokenizer.is_fast:  # knows every id, also where two have the same token
            tokens = list(tokenizer.convert_ids_to_tokens(list(range(len(tokens)))))
    except Exception as error:  # libraries raise what they like on a damaged file
        problem = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return FolderVocabulary(folder, (), known=False, problem=problem)
    for token, id in ids.items():
        tokens[id] = token
    parts: dict[str, str] = {}
    if tokenizer.is_fast:
        whole = json.loads(tokenizer.backend_tokenizer.to_str())
        named = {f"model.{key}": v for key, v in whole["model"].items() if key != "vocab"}
        named |= {name: whole.get(name) for name in _SPLITTING}
        parts = {name: json.dumps(value, sort_keys=True) for name, value in named.items()}
    return FolderVocabulary(folder, tuple(tokens), splitting=parts)


@dataclass(frozen=True)
class Agreement:
    """How the rows of a target fit those of its base.

    Attributes:
        ids: for each id of the base, the target's id of the same token; `NO_ROW` without one.
        differing: ids that have a token in both, but not the same.
        lacking: ids of the base whose token the target lacks.
        further: ids of the target whose token the base lacks.
    """

    ids: Tensor
    differing: list[int]
    lacking: list[int]
    further: list[int]


def compare(
    base: FolderVocabulary, target: FolderVocabulary, rows: int, target_rows: int
) -> Agreement:
    """Agreement of two vocabularies; a token whose id is beyond the rows has nothing to merge."""
    ours, theirs = base.tokens[:rows], target.tokens[:target_rows]
    places: dict[str, list[int]] = {}
    for id, token in reversed([*enumerate(theirs)]):
        if token is not None:
            places.setdefault(token, []).append(id)
    ids = torch.full((rows,), NO_ROW, dtype=torch.int64)
    for id, token in enumerate(ours):
        if token is not None and id < len(theirs) and theirs[id] == token:
            ids[id] = id
            places[token].remove(id)
    for id, token in enumerate(ours):
        if token is not None and ids[id] == NO_ROW and places.get(token):
            ids[id] = places[token].pop()
    both = zip(ours, theirs)
    return Agreement(
        ids,
        [id for id, (a, b) in enumerate(both) if a != b and None not in (a, b)],
        [id for id, token in enumerate(ours) if token is not None and ids[id] == NO_ROW],
        sorted(id for left in places.values() for id in left),
    )


def check_agreement(
    base: FolderVocabulary, target: FolderVocabulary, found: Agreement, *, align: bool, cut: bool
) -> list[str]:
    """Notes on two vocabularies.

    Args:
        align: rows are permuted by token; tokens that only one model has are allowed.
        cut: tokens that only the target has are allowed.

    Raises:
        BadData: the vocabularies differ otherwise; the message says what to set.
    """
    name, notes = target.folder.name, []
    where = f"{target.folder} does not fit the base {base.folder}"
    moved = [id for id, other in enumerate(found.ids.tolist()) if other not in (id, NO_ROW)]
    if (found.differing or moved) and not align:
        ids = found.differing or moved
        raise BadData(
            f"{where}: {len(ids):,} of {len(base.tokens):,} token ids have another token: "
            f"{_pairs(ids, base, target)}. Set align_vocabularies = true to merge rows by token "
            "instead of by id"
        )
    if found.lacking and not align:
        raise BadData(
            f"{where}: it lacks {_tokens(found.lacking, base)} of the base. Set align_vocabularies "
            "= true to take the base's rows for them"
        )
    if found.further and not (align or cut):
        raise BadData(
            f"{where}: it has {_tokens(found.further, target)} that the base lacks. Set "
            'align_vocabularies = true (or embedding_rows = "cut" in merge_models) to drop them'
        )
    if moved:
        notes.append(f"{name}: vocabulary rows permuted by token, {len(moved):,} had another id")
    if found.lacking:
        notes.append(f"{name}: it lacks {_tokens(found.lacking, base)}: the base's rows are kept")
    if found.further:
        notes.append(f"{name}: {_tokens(found.further, target)} left out, the base lacks them")
    return notes


def reading_notes(base: FolderVocabulary, targets: Sequence[FolderVocabulary]) -> list[str]:
    """Notes on folders without a tokenizer, and on tokenizers that cut texts in another way."""
    notes = []
    if base.problem:
        notes.append(f"the tokenizer cannot be read ({base.problem}); all have the same files")
    elif not any(each.known for each in (base, *targets)):
        notes.append("no folder has a tokenizer: the same id is taken to be the same token")
    else:
        for each in (base, *targets):
            if not each.known:
                name = each.folder.name
                notes.append(f"{name}: no tokenizer; its ids are taken to be the others'")
    for each in targets:
        parts = [
            name
            for name, ours in base.splitting.items()
            if each.splitting and each.splitting.get(name) != ours
        ]
        if parts:
            notes.append(
                f"{each.folder.name}: its tokenizer cuts texts in another way "
                f"({', '.join(parts)}); the base's is kept"
            )
    return notes


def _pairs(ids: Sequence[int], base: FolderVocabulary, target: FolderVocabulary) -> str:
    def token(vocabulary: FolderVocabulary, id: int) -> str:
        found = vocabulary.tokens[id] if id < len(vocabulary.tokens) else None
        return "none" if found is None else repr(found)

    shown = [f"{id} is {token(target, id)}, expected {token(base, id)}" for id in ids[:_SHOWN]]
    return "; ".join(shown) + ("; ..." if len(ids) > _SHOWN else "")


def _tokens(ids: Sequence[int], vocabulary: FolderVocabulary) -> str:
    shown = ", ".join(f"{vocabulary.tokens[id]!r} ({id})" for id in ids[:_SHOWN])
    more = ", ..." if len(ids) > _SHOWN else ""
    return f"{len(ids):,} token{'s' * (len(ids) > 1)} {shown}{more}"


def vocabulary_tensors(
    folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    """Tensors with one row per token, and their number of rows.

    They are found by structure: parameters of the architecture (without storage) whose shape
    changes with `vocab_size`. Where `vocab_size` is no other number of the config, tensors with
    that many rows are added, so that extra heads and unknown architectures are covered.

    Returns: {} if transformers cannot read the config and `vocab_size` is ambiguous.

    Raises:
        BadData: the vocabulary is not the first dimension above 1.
    """
    found = _structural(folder, shapes)
    size = vocabulary_size(config)
    if size is not None and size not in set(_other_numbers(config)):
        for name, shape in shapes.items():
            if size in shape:
                found.setdefault(name, shape.index(size))
    for name, dimension in found.items():
        if prod(shapes[name][:dimension]) != 1:
            raise BadData(
                f'{folder}: tensor "{name}" has its vocabulary in dimension {dimension + 1} of '
                f"{list(shapes[name])}; expected the first"
            )
    return {name: shapes[name][dimension] for name, dimension in found.items()}


def rows_of(found: Agreement, rows: int, target_rows: int) -> Tensor | None:
    """The target's row for each row of the base, (rows,) int64, `NO_ROW` for the base's own row.

    None: the same rows in the same order.
    """
    ids = found.ids[:rows]
    ids = torch.where(ids < target_rows, ids, NO_ROW)
    return None if rows == target_rows and torch.equal(ids, torch.arange(rows)) else ids


def vocabulary_size(config: Mapping[str, Any]) -> int | None:
    """`vocab_size` of a config or of its text model."""
    found = config.get("vocab_size", (config.get("text_config") or {}).get("vocab_size"))
    return found if isinstance(found, int) else None


def with_vocabulary_size(config: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A config with another `vocab_size`, in its text model if it stands there."""
    if "vocab_size" not in config and isinstance(config.get("text_config"), dict):
        return {**config, "text_config": {**config["text_config"], "vocab_size": size}}
    return {**config, "vocab_size": size}


def _other_numbers(config: Mapping[str, Any]) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _other_numbers(value)
        elif isinstance(value, int) and "vocab_size" not in key and not key.endswith("_id"):
            yield value


def _structural(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Tensors that have their vocabulary in a dimension, by the architecture; {} if unknown.

    A parameter that current transformers calls otherwise than the file is found by its shape among
    the tensors that no parameter is called like.
    """
    small, large = _built(folder, 0), _built(folder, 1)
    found = {}
    for known, shape in small.items():
        changed = [d for d, size in enumerate(large.get(known, shape)) if size != shape[d]]
        if not changed:
            continue
        d = changed[0]
        names = [name for name in shapes if _alike(name, known)]
        for name in names or _uncalled(shapes, small):
            own = shapes[name]
            same = own[:d] + own[d + 1 :] == shape[:d] + shape[d + 1 :]
            if len(own) == len(shape) and (names or same):
                found[name] = d
    return found


def _uncalled(names: Iterable[str], known: Iterable[str]) -> list[str]:
    return [name for name in names if not any(_alike(name, other) for other in known)]


def _built(folder: Path, more: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a checkpoint's architecture, without storage, with so many more tokens."""
    import transformers

    config = load_config(folder)
    names = (config.architectures or []) if config is not None else []
    if not names or not hasattr(transformers, names[0]):
        return {}
    try:
        _grow(config, more)
        with torch.device("meta"):
            built = getattr(transformers, names[0])(config)
    except Exception:  # a config that is not complete; shapes decide alone
        return {}
    return {name: tuple(value.shape) for name, value in built.state_dict().items()}


def _grow(config: Any, more: int) -> None:
    for part in config.sub_configs:
        if (inner := vars(config).get(part)) is not None:
            _grow(inner, more)
    for key, value in list(vars(config).items()):
        if "vocab_size" in key and isinstance(value, int):
            setattr(config, key, value + more)


def _alike(name: str, known: str) -> bool:
    """Whether names agree but for prefixes, which vary with versions and with the head."""
    return (
        f".{name}".endswith(f".{known}")
        or f".{known}".endswith(f".{name}")
        or (name.split(".")[-2:] == known.split(".")[-2:] and name.count(".") > 1)
    )
