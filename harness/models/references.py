"""Model references: where they lead, and the identity of a model.

A model reference is one of

    nano:<name>      a tiny model shipped with Crucible, or another scheme of shipped checkpoints
    <folder>         a local checkpoint (config.json, *.safetensors, tokenizer), or a folder of
                     several, each in a subfolder (retriever/, generator/)
    <org>/<name>     a model on the Hugging Face hub
    vllm:<one of the above>               the same model, run by vLLM
    openai:<model>[@<url>][?key=<VAR>]    a hosted model, or any family of `crucible.judges`
    nano:oracle[?options]                 a judge of `crucible.judges` with a name of its own
    <file>                                stored outputs, .json or .jsonl (.gz)

A model with weights may be followed by arguments of its chat template, a JSON object:
"org/model?template={\"enable_thinking\":false}". They are part of its identity.

A model artifact is a folder: a checkpoint, several, or a `model.json` that points to a reference.
`harness.models.checkpoints` loads checkpoints. A catalogue adds a scheme of shipped checkpoints in
its table `CHECKPOINTS`: scheme -> "module:attribute" of a `Shipped`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import parse_qsl

from pydantic import Field

from harness.core.errors import BadRecord, UserError, check_planned, unknown
from harness.core.hashing import canonical_json, digest, file_digest
from harness.core.records import Record, parse
from harness.engine import registry
from harness.engine.calls import Services
from harness.engine.io import read_json, write_json
from harness.engine.operations import Context, operation
from harness.models.not_models import (
    WEIGHTS,
    check_file,
    check_name,
    check_weights,
    no_checkpoint,
)

Dtype = Literal["float32", "bfloat16", "float16"]

HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_HOSTED_NAME = re.compile(r"(?:gpt|chatgpt|o\d|claude|gemini|deepseek|mistral|grok)\b", re.I)
_TEMPLATE_MARK = "?template="
# What `harness.models.chat` passes to a chat template itself.
_RENDERING = {
    "conversation", "messages", "tokenize", "add_generation_prompt", "date_string", "strftime_now",
    "chat_template", "continue_final_message", "return_tensors", "return_dict", "padding",
    "truncation", "max_length", "tokenizer_kwargs", "return_assistant_tokens_mask",
}  # fmt: skip
_MODEL_FILES = (*WEIGHTS, "*.json", "*.jinja", "*.model", "*.txt", "*.py")
_DEPTH = 3  # levels of subfolders in which checkpoints are found
_NOT_MODEL = {
    "manifest.json",
    "merge.json",
    "summary.json",
    "training_log.json",
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
}


class Shipped(Protocol):
    """Checkpoints that come with a package, under one scheme of references."""

    def names(self) -> list[str]: ...
    def path(self, name: str) -> Path: ...
    def digest(self, name: str) -> str: ...


@dataclass(frozen=True)
class Resolved:
    """A resolved reference: a folder on disk, or a hub id and its revision."""

    location: str
    hub: bool
    revision: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False
    template: str = ""  # arguments of the chat template, see `split_template`


class Pointer(Record):
    """A model.json: the model of an artifact that has no weights itself.

    Attributes:
        engine: "hf", "vllm", "stored", or a family of hosted models.
        ref: reference without the engine; a local path is absolute.
        identity: see `model_identity`.
        template: arguments of the chat template, see `split_template`.
    """

    ref: str
    engine: str = "hf"
    revision: str | None = None
    dtype: Dtype | None = None
    trust_remote_code: bool = False
    identity: str = ""
    template: str = Field(default="", exclude_if=lambda value: not value)


class ImportModelParams(Record):
    """Which model to point to.

    Attributes:
        digest: `model_identity` at planning time; makes the weights part of the stage id.
        dtype: None chooses by device (float32 on a CPU, bfloat16 on a GPU).
        trust_remote_code: run Python code that comes with the model; never implied.
    """

    ref: str
    revision: str | None = None
    digest: str | None = None
    dtype: Dtype | None = None
    trust_remote_code: bool = False


@operation("import_model", version=1, params=ImportModelParams)
def import_model(context: Context, params: ImportModelParams) -> None:
    """Write a model.json that points to a model.

    Raises:
        UserError: the reference leads nowhere.
        BadData: the weights changed since the plan was made.
    """
    found = model_identity(params.ref, params.revision)
    check_planned(f"model {params.ref}", found, params.digest)
    engine, ref = split_engine(params.ref)
    template = ""
    if engine in ("hf", "vllm"):
        ref, template = split_template(ref)
    local = shipped(ref) is None and engine in ("hf", "vllm") and not resolve(ref).hub
    if local or engine == "stored":
        ref = str(Path(ref).expanduser().resolve())
    pointer = Pointer(
        ref=ref,
        engine=engine,
        revision=params.revision,
        dtype=params.dtype,
        trust_remote_code=params.trust_remote_code,
        identity=found,
        template=template,
    )
    write_json(context.directory / "model.json", pointer.model_dump())


def split_engine(ref: str) -> tuple[str, str]:
    """Engine and rest of a reference.

    >>> split_engine("vllm:org/model"), split_engine("nano:target")
    (('vllm', 'org/model'), ('hf', 'nano:target'))
    """
    family, colon, rest = ref.partition(":")
    if colon and ref.partition("?")[0] in registry.entries("judges"):  # nano:oracle
        return family, rest
    if colon and (family in ("hf", "vllm", "stored") or family in _hosted()):
        return family, rest
    path = Path(ref).expanduser()
    if path.is_file() or ref.removesuffix(".gz").endswith((".json", ".jsonl")):
        return "stored", ref
    return "hf", ref


def split_template(ref: str) -> tuple[str, str]:
    """A reference without the arguments of its chat template, and those as canonical JSON or "".

    >>> split_template('org/model?template={"enable_thinking": false}')
    ('org/model', '{"enable_thinking":false}')

    Raises:
        BadRecord: the arguments are no JSON object, or have a name that rendering sets itself.
    """
    plain, mark, given = ref.partition(_TEMPLATE_MARK)
    if not mark:
        return ref, ""
    try:
        arguments = json.loads(given)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict) or not arguments:
        raise BadRecord(
            f"template arguments of {plain}: found {given[:60]}; expected a JSON object, as in "
            f'{plain}{_TEMPLATE_MARK}{{"enable_thinking":false}}'
        )
    if taken := sorted(_RENDERING & arguments.keys()):
        raise BadRecord(
            f"template arguments of {plain}: {', '.join(taken)} cannot be given, rendering sets it"
        )
    return plain, canonical_json(arguments).decode()


def _hosted() -> set[str]:
    """Families with references of the form "family:model"."""
    return {name for name in registry.entries("judges") if ":" not in name}


def parse_hosted(ref: str) -> tuple[str, dict[str, str]]:
    """Entry of the registry's group "judges" that a reference names, and its options.

    The form is a name in the group, optionally with ":model" and options "?key=value&...":
    "nano:oracle", "nano:oracle?position_bias=0", "openai:gpt-4-1106-preview".

    Raises:
        BadRecord: the options have another form.
    """
    name, mark, query = ref.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(mark)))
    except ValueError:
        raise BadRecord(f'judge "{ref}": expected options as in {name}?key=value&b=c') from None
    family, colon, model = name.partition(":")
    known = registry.entries("judges")
    if name not in known and colon and family in known:
        return family, {"model": model, **options}
    return name, options


def pointer_of(folder: Path) -> Pointer | None:
    """The model.json of a model artifact; None if the artifact contains weights."""
    path = folder / "model.json"
    if not path.is_file():
        return None
    return parse(Pointer, read_json(path), str(path))


def shipped(ref: str) -> tuple[Shipped, str] | None:
    """Shipped checkpoints and the name of one, if a reference has one of their schemes."""
    scheme, colon, name = ref.partition(":")
    target = registry.table("CHECKPOINTS").get(scheme) if colon else None
    return None if target is None else (registry.load_target(target), name)


def resolve(ref: str | Path, revision: str | None = None) -> Resolved:
    """Follow a reference, or the model.json of an artifact, to a folder or a hub id.

    Raises:
        UserError: it is neither a model folder nor a hub id.
        UnknownName: no shipped model has this name.
    """
    engine, text = split_engine(str(ref))
    if Path(text).expanduser().is_file():
        check_file(Path(text).expanduser())
        engine = "stored"
    if engine not in ("hf", "vllm"):
        what = "stored outputs" if engine == "stored" else "a hosted model"
        raise UserError(f"{ref} is {what} and has no weights; this step needs a checkpoint")
    text, template = split_template(text)
    if template:
        return replace(resolve(text, revision), template=template)
    if (found := shipped(text)) is not None:
        return Resolved(str(found[0].path(found[1])), hub=False)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _resolve_folder(folder)
    check_name(text)
    if HUB_ID.fullmatch(text):
        return Resolved(text, hub=True, revision=revision)
    if meant := _meant(text):
        raise UserError(f'no model "{text}"; did you mean "{meant}"? (crucible models)')
    schemes = "".join(f"{scheme}:<name>, " for scheme in registry.table("CHECKPOINTS"))
    raise UserError(
        f'no model "{text}"; expected {schemes}a folder with a config.json, a hub id '
        "<org>/<name>, vllm:<model>, openai:<model>@<url>, or a file of stored outputs "
        "(crucible models)"
    )


def _meant(text: str) -> str:
    """ "nano:target" for the bare name of a model; "" for other texts."""
    for scheme, target in registry.table("CHECKPOINTS").items():
        names = {name.lower(): name for name in registry.load_target(target).names()}
        if text.lower() in names:
            return f"{scheme}:{names[text.lower()]}"
    scheme, colon, name = text.partition(":")
    if colon and scheme != scheme.lower() in {*registry.table("CHECKPOINTS"), *_hosted(), "vllm"}:
        return f"{scheme.lower()}:{name.lower()}"
    return f"openai:{text}" if _HOSTED_NAME.match(text) else ""


def _resolve_folder(folder: Path) -> Resolved:
    pointer = pointer_of(folder)
    if pointer is not None:
        if pointer.engine not in ("hf", "vllm"):
            resolve(f"{pointer.engine}:{pointer.ref}")  # raises: it has no weights
        target = resolve(pointer.ref, pointer.revision)
        return replace(
            target,
            dtype=pointer.dtype,
            trust_remote_code=pointer.trust_remote_code,
            template=pointer.template,
        )
    if checkpoint_names(folder):
        return Resolved(str(folder.resolve()), hub=False)
    raise no_checkpoint(folder)


def resolve_one(ref: str | Path, part: str = "") -> Resolved:
    """Follow a reference to one checkpoint; see `resolve` for errors.

    Args:
        part: name of a checkpoint in a folder of several, see `checkpoint_names`.

    Raises:
        UserError: the folder contains several checkpoints and no part is named.
        UnknownName: the folder has no such part.
    """
    found = resolve(ref)
    if found.hub:
        if part:
            raise UserError(f"{found.location}: parts of a hub model need a local copy of it")
        return found
    folder = Path(found.location)
    names = checkpoint_names(folder)
    if part not in names:
        if not part:
            raise UserError(
                f"{folder} contains several checkpoints ({', '.join(names)}); this step needs one"
            )
        raise unknown(f"checkpoint in {folder}", part, names)
    return replace(found, location=str(folder / part))


def checkpoint_names(folder: Path) -> list[str]:
    """Checkpoints in a folder by relative path: [""] for a plain checkpoint, [] for none.

    A folder with a config.json is one checkpoint, whatever its subfolders contain.
    """
    if (folder / "config.json").is_file():
        return [""]
    found: list[str] = []
    for depth in range(1, _DEPTH + 1):
        for path in sorted(folder.glob("*/" * depth + "config.json")):
            name = path.parent.relative_to(folder).as_posix()
            if not any(name.startswith(f"{outer}/") for outer in found):
                found.append(name)
    return sorted(found)


def model_identity(ref: str | Path, revision: str | None = None) -> str:
    """Identity of a model: a digest of its weights or stored outputs, "hub:<id>@<revision>", or
    the fingerprint of a hosted model.

    Raises:
        UserError: the reference leads nowhere.
    """
    engine, rest = split_engine(str(ref))
    if engine == "stored":
        path = Path(rest).expanduser()
        if not path.is_file():
            raise UserError(f'no stored outputs "{rest}"; expected a .json or .jsonl file (.gz)')
        check_file(path)
        return "stored:" + file_digest(path)
    if engine not in ("hf", "vllm"):
        name, options = parse_hosted(str(ref))
        return f"{engine}:{registry.load('judges', name)(options, Services()).fingerprint}"
    rest, template = split_template(rest)
    if template:
        return digest([model_identity(rest, revision), template])
    if (found := shipped(rest)) is not None:
        return found[0].digest(found[1])
    source = resolve(rest, revision)
    if source.hub:
        return f"hub:{source.location}@{source.revision or 'main'}"
    parts, folder = [], Path(source.location)
    for name in checkpoint_names(folder):
        check_weights(folder / name)
    for path in model_files(folder):
        name, status = path.relative_to(folder).as_posix(), path.stat()
        parts.append([name, _file_digest(path, status.st_size, status.st_mtime_ns)])
    return digest(parts)


def model_files(folder: Path) -> list[Path]:
    """Files of a checkpoint, or of all checkpoints in a folder of several, in a fixed order."""
    folders = {folder, *(folder / name for name in checkpoint_names(folder))}
    found = {path for one in folders for pattern in _MODEL_FILES for path in one.glob(pattern)}
    return sorted(path for path in found if path.is_file() and path.name not in _NOT_MODEL)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, modified: int) -> str:
    """Digest of a file; size and modification time are keys of the cache."""
    return file_digest(path)
