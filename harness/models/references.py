"""Where models come from: references, what they lead to, and what a model is.

A model reference is one of

    nano:<name>      a tiny model shipped with Crucible
    <folder>         a local checkpoint (config.json, *.safetensors, tokenizer)
    <org>/<name>     a model on the Hugging Face hub
    vllm:<one of the above>               the same, run by vLLM
    openai:<model>[@<url>][?key=<VAR>]    a hosted model, or any family of `crucible.judges`
    <file>                                stored outputs, .json or .jsonl (.gz)

A model artifact is a folder: a checkpoint, or a `model.json` that points to a reference. What loads
one is `harness.models.checkpoints`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl

from harness.core.errors import BadData, BadRecord, UserError
from harness.core.hashing import digest, file_digest
from harness.core.records import Record, parse
from harness.engine import registry
from harness.engine.calls import Services
from harness.engine.operations import Context, operation

Dtype = Literal["float32", "bfloat16", "float16"]

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py")
_NOT_MODEL = {
    "manifest.json",
    "merge.json",
    "training_log.json",
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
}


@dataclass(frozen=True)
class Source:
    """A resolved reference: a folder on disk, or a hub id with its revision."""

    location: str
    hub: bool
    revision: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False


class Pointer(Record):
    """A model.json: what an artifact without weights of its own stands for.

    Attributes:
        engine: "hf", "vllm", "stored", or a family of hosted models.
        ref: without the engine; a local path is absolute.
        identity: see `model_identity`.
    """

    ref: str
    engine: str = "hf"
    revision: str | None = None
    dtype: Dtype | None = None
    trust_remote_code: bool = False
    identity: str = ""


class ImportModelParams(Record):
    """Which model to point to.

    Attributes:
        digest: `model_identity` at planning time; puts the weights into the stage id.
        dtype: None leaves the choice to the device (float32 on a CPU, bfloat16 on a GPU).
        trust_remote_code: run code that the model brings along; never implied.
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
        BadData: the weights are not those of the plan.
    """
    found = model_identity(params.ref, params.revision)
    if params.digest is not None and params.digest != found:
        raise BadData(
            f"model {params.ref} is now {found}, but the plan was made with {params.digest}; "
            "its files changed: run the command again"
        )
    engine, ref = split_engine(params.ref)
    local = not ref.startswith("nano:") and engine in ("hf", "vllm") and not resolve(ref).hub
    if local or engine == "stored":
        ref = str(Path(ref).expanduser().resolve())
    pointer = Pointer(
        ref=ref,
        engine=engine,
        revision=params.revision,
        dtype=params.dtype,
        trust_remote_code=params.trust_remote_code,
        identity=found,
    )
    text = json.dumps(pointer.model_dump(), indent=1, sort_keys=True) + "\n"
    (context.directory / "model.json").write_text(text, encoding="utf-8")


def split_engine(ref: str) -> tuple[str, str]:
    """Engine and the rest of a reference.

    >>> split_engine("vllm:org/model"), split_engine("nano:target")
    (('vllm', 'org/model'), ('hf', 'nano:target'))
    """
    family, colon, rest = ref.partition(":")
    if colon and (family in ("hf", "vllm", "stored") or family in _hosted()):
        return family, rest
    path = Path(ref).expanduser()
    if path.is_file() or ref.removesuffix(".gz").endswith((".json", ".jsonl")):
        return "stored", ref
    return "hf", ref


def _hosted() -> set[str]:
    """Families whose references read "family:model"."""
    return {name for name in registry.entries("judges") if ":" not in name}


def parse_hosted(ref: str) -> tuple[str, dict[str, str]]:
    """The entry of the registry's group "judges" that a reference names, and its options.

    The form is a name of the group, optionally with ":model" and "?key=value&..." options:
    "nano:oracle", "nano:oracle?position_bias=0", "openai:gpt-4-1106-preview".

    Raises:
        BadRecord: options of another form.
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
    """The model.json of a model artifact; None where it holds weights."""
    path = folder / "model.json"
    if not path.is_file():
        return None
    return parse(Pointer, json.loads(path.read_text(encoding="utf-8")), str(path))


def resolve(ref: str | Path, revision: str | None = None) -> Source:
    """Follow a reference, or an artifact folder's model.json, to a checkpoint or a hub id.

    Raises:
        UserError: it is neither a model folder nor a hub id.
        UnknownName: no such nano model.
    """
    engine, text = split_engine(str(ref))
    if engine not in ("hf", "vllm"):
        what = "stored outputs" if engine == "stored" else "a hosted model"
        raise UserError(f"{ref} is {what} and has no weights; this step needs a checkpoint")
    if text.startswith("nano:"):
        from harness.nano import zoo

        return Source(str(zoo.path(text.removeprefix("nano:"))), hub=False)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _resolve_folder(folder)
    if _HUB_ID.fullmatch(text):
        return Source(text, hub=True, revision=revision)
    raise UserError(
        f'no model "{text}"; expected nano:<name>, a folder with a config.json, a hub id '
        "<org>/<name>, vllm:<model>, openai:<model>@<url>, or a file of stored outputs "
        "(crucible models)"
    )


def _resolve_folder(folder: Path) -> Source:
    pointer = pointer_of(folder)
    if pointer is not None:
        if pointer.engine not in ("hf", "vllm"):
            resolve(f"{pointer.engine}:{pointer.ref}")  # raises: it has no weights
        target = resolve(pointer.ref, pointer.revision)
        trust = pointer.trust_remote_code
        return Source(target.location, target.hub, target.revision, pointer.dtype, trust)
    if (folder / "config.json").is_file():
        return Source(str(folder.resolve()), hub=False)
    raise UserError(f"{folder} holds no model: expected a config.json or a model.json in it")


def model_identity(ref: str | Path, revision: str | None = None) -> str:
    """What a model is: a digest of weights or stored outputs, "hub:<id>@<revision>", or the name
    of a hosted model.

    Raises:
        UserError: the reference leads nowhere.
    """
    engine, rest = split_engine(str(ref))
    if engine == "stored":
        path = Path(rest).expanduser()
        if not path.is_file():
            raise UserError(f'no stored outputs "{rest}"; expected a .json or .jsonl file (.gz)')
        return "stored:" + file_digest(path)
    if engine not in ("hf", "vllm"):
        name, options = parse_hosted(str(ref))
        return f"{engine}:{registry.load('judges', name)(options, Services()).fingerprint}"
    if rest.startswith("nano:"):
        from harness.nano import zoo

        return str(zoo.digest(rest.removeprefix("nano:")))
    source = resolve(rest, revision)
    if source.hub:
        return f"hub:{source.location}@{source.revision or 'main'}"
    parts = []
    for path in model_files(Path(source.location)):
        status = path.stat()
        parts.append([path.name, _file_digest(path, status.st_size, status.st_mtime_ns)])
    return digest(parts)


def model_files(folder: Path) -> list[Path]:
    found = {path for pattern in _MODEL_FILES for path in folder.glob(pattern)}
    return sorted(path for path in found if path.is_file() and path.name not in _NOT_MODEL)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, modified: int) -> str:
    """Digest of a file; size and time of change are only there to notice a change."""
    return file_digest(path)
