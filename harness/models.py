"""Where models come from, and loading them.

A model reference is one of

    nano:<name>      a tiny model shipped with Crucible
    <folder>         a local checkpoint (config.json, *.safetensors, tokenizer)
    <org>/<name>     a model on the Hugging Face hub
    vllm:<one of the above>               the same, run by vLLM
    openai:<model>[@<url>][?key=<VAR>]    a hosted model, or any family of `crucible.judges`
    <file>                                stored outputs, .json or .jsonl (.gz)

A model artifact is a folder: a checkpoint, or a `model.json` that points to a reference. Loaded
models are kept in a small cache, are in evaluation mode, and must not be changed by who gets
them: training asks for `fresh=True`.
"""

from __future__ import annotations

import gc
import json
import math
import re
import struct
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import BadData, EnvironmentProblem, MissingExtra, UserError
from harness.hashing import digest, file_digest
from harness.operations import Context, operation
from harness.records import Record, parse

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Dtype = Literal["float32", "bfloat16", "float16"]

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py")
_NOT_MODEL = {
    "manifest.json",
    "training_log.json",
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
}
_KEEP = {"cpu": 4, "cuda": 1}  # loaded models kept per kind of device
_KEEP_PARAMETERS = 1_000_000_000  # and together no more than these, but the newest
_LOADED: OrderedDict[tuple[object, ...], tuple[Any, Any]] = OrderedDict()


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
    from harness import registry

    return {name for name in registry.entries("judges") if ":" not in name}


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
        from harness.calls import Services
        from harness.judging.judge import open_backend

        return f"{engine}:" + open_backend(str(ref), Services()).fingerprint
    if rest.startswith("nano:"):
        from harness.nano import zoo

        return str(zoo.digest(rest.removeprefix("nano:")))
    source = resolve(rest, revision)
    if source.hub:
        return f"hub:{source.location}@{source.revision or 'main'}"
    parts = []
    for path in _model_files(Path(source.location)):
        status = path.stat()
        parts.append([path.name, _file_digest(path, status.st_size, status.st_mtime_ns)])
    return digest(parts)


def _model_files(folder: Path) -> list[Path]:
    found = {path for pattern in _MODEL_FILES for path in folder.glob(pattern)}
    return sorted(path for path in found if path.is_file() and path.name not in _NOT_MODEL)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, modified: int) -> str:
    """Digest of a file; size and time of change are only there to notice a change."""
    return file_digest(path)


def load_causal_lm(
    path: str | Path,
    device: str = "cpu",
    dtype: str | None = None,
    *,
    fresh: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model in evaluation mode and its tokenizer.

    Args:
        path: a model artifact's folder, or any model reference.
        dtype: default: the artifact's, else float32 on a CPU and bfloat16 on a GPU.
        fresh: a private copy that may be trained; neither taken from nor put into the cache.

    Raises:
        UserError: no such model.
        EnvironmentProblem: a hub model that is not here while the hub cannot be reached.
    """
    return _load("AutoModelForCausalLM", path, device, dtype, fresh)


def load_reward_model(
    path: str | Path,
    device: str = "cpu",
    dtype: str | None = None,
    *,
    fresh: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classifier in evaluation mode and its tokenizer; see `load_causal_lm`."""
    return _load("AutoModelForSequenceClassification", path, device, dtype, fresh)


def load_encoder(
    path: str | Path, device: str = "cpu", *, labels: int | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A text encoder in float32 and its tokenizer; see `load_causal_lm` for errors.

    Args:
        labels: None gives the encoder alone; a number a private copy with a new head of so many
            independent binary labels, to be trained.
    """
    if labels is None:
        return _load("AutoModel", path, device, "float32", fresh=False)
    kind, source = "AutoModelForSequenceClassification", resolve(path)
    head = {"num_labels": labels, "problem_type": "multi_label_classification"}
    report = _transformers().utils.logging
    before = report.get_verbosity()
    report.set_verbosity_error()  # it would warn that the head is new
    try:
        return _load_now(kind, source, device, "float32", ignore_mismatched_sizes=True, **head)
    finally:
        report.set_verbosity(before)


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Only the tokenizer of a model; see `load_causal_lm` for arguments and errors."""
    return _load_tokenizer(resolve(path))


def _load_tokenizer(source: Source) -> Any:
    transformers = _transformers()
    try:
        return transformers.AutoTokenizer.from_pretrained(
            source.location,
            revision=source.revision,
            trust_remote_code=source.trust_remote_code,
        )
    except (OSError, ValueError) as error:
        raise _explain(source, error) from error


def forget_models() -> None:
    """Empty the cache of loaded models and give their memory back."""
    _LOADED.clear()
    gc.collect()


def _load(
    kind: str,
    path: str | Path,
    device: str,
    dtype: str | None,
    fresh: bool,
) -> tuple[Any, Any]:
    source = resolve(path)
    wanted = dtype or source.dtype or ("float32" if device == "cpu" else "bfloat16")
    key = (
        kind,
        source.location,
        source.revision,
        _state(source),
        device,
        wanted,
        source.trust_remote_code,
    )
    if not fresh and key in _LOADED:
        _LOADED.move_to_end(key)
        return _LOADED[key]
    place = device.partition(":")[0]
    if not fresh or place != "cpu":  # training needs a GPU's memory for itself
        _make_room(place)
    loaded = _load_now(kind, source, device, wanted)
    if not fresh:
        _LOADED[key] = loaded
    return loaded


def _make_room(place: str) -> None:
    """Forget the models used longest ago, so that one more may be kept on this kind of device."""
    kept = [key for key in _LOADED if str(key[4]).partition(":")[0] == place]
    while len(kept) >= _KEEP.get(place, 1) or sum(map(_size, kept)) > _KEEP_PARAMETERS:
        del _LOADED[kept.pop(0)]
    gc.collect()


def _size(key: tuple[object, ...]) -> int:
    return sum(parameter.numel() for parameter in _LOADED[key][0].parameters())


def _load_now(
    kind: str, source: Source, device: str, dtype: str, **options: Any
) -> tuple[Any, Any]:
    transformers = _transformers()
    import torch

    several = device == "cuda" and torch.cuda.device_count() > 1
    try:
        model = getattr(transformers, kind).from_pretrained(
            source.location,
            revision=source.revision,
            dtype=getattr(torch, dtype),
            trust_remote_code=source.trust_remote_code,
            device_map="auto" if several else None,
            **options,
        )
    except (OSError, ValueError) as error:
        raise _explain(source, error) from error
    tokenizer = _load_tokenizer(source)
    if not several:
        model.to(device)
    return model.eval(), tokenizer


def _state(source: Source) -> int:
    """Time of the last change of a local checkpoint: files replaced in place are read again."""
    if source.hub:
        return 0
    return max((path.stat().st_mtime_ns for path in _model_files(Path(source.location))), default=0)


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError:
        raise MissingExtra("torch and transformers", "train") from None
    transformers.utils.logging.disable_progress_bar()  # ours would be torn by its bars
    return transformers


def _explain(source: Source, error: Exception) -> Exception:
    """The error to show for a checkpoint that transformers could not load."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    names = {type(link).__name__ for link in chain}
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        return UserError(
            f"{source.location} brings code of its own; read it, then set "
            "trust_remote_code = true for this model in the recipe"
        )
    if not source.hub:
        return BadData(f"{source.location}: cannot be loaded as a model: {first_line}")
    if "GatedRepoError" in names:
        return EnvironmentProblem(
            f"hub model {source.location} is gated: accept its terms on the hub and set HF_TOKEN, "
            "or give a local folder instead"
        )
    if "RepositoryNotFoundError" in names or "RevisionNotFoundError" in names:
        where = f" at revision {source.revision}" if source.revision else ""
        return UserError(f"the hub has no model {source.location}{where} (crucible models)")
    return EnvironmentProblem(
        f"hub model {source.location} is not on this machine and the hub cannot be reached: give "
        "the path of a local copy instead, or unset HF_HUB_OFFLINE and check the network "
        f"({first_line})"
    )


def parameter_count(ref: str | Path) -> int | None:
    """Number of parameters of a model, without loading its weights; None where unknown.

    A local checkpoint is counted from its safetensors headers, a hub model from its config.

    Raises:
        UserError: the reference leads nowhere.
    """
    source = resolve(ref)
    if not source.hub:
        shards = sorted(Path(source.location).glob("*.safetensors"))
        if shards:
            return sum(_header_count(shard) for shard in shards)
    try:
        transformers = _transformers()
        import torch

        config = transformers.AutoConfig.from_pretrained(source.location, revision=source.revision)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        return sum(parameter.numel() for parameter in model.parameters())
    except (OSError, ValueError, MissingExtra):
        return None


def _header_count(shard: Path) -> int:
    """Parameters in a safetensors file: 8 bytes of length, then a JSON table of shapes."""
    with shard.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
