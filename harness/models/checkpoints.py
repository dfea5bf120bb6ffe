"""Loading checkpoints: language models, reward models, encoders, tokenizers.

Loaded models are kept in a small cache, are in evaluation mode, and must not be changed by who gets
them: training asks for `fresh=True`.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import BadData, EnvironmentProblem, MissingExtra, UserError
from harness.models.references import Source, model_files, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_KEEP = {"cpu": 4, "cuda": 1}  # loaded models kept per kind of device
_KEEP_PARAMETERS = 1_000_000_000  # and together no more than these, but the newest
_WORTH_COLLECTING = 10_000_000  # parameters: a collection takes as long as loading a tiny model
_LOADED: OrderedDict[tuple[object, ...], tuple[Any, Any]] = OrderedDict()


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
    report = _transformers().utils.logging
    before = report.get_verbosity()
    report.set_verbosity_error()  # it would warn that heads are new, or left out
    try:
        if labels is None:
            return _load("AutoModel", path, device, "float32", fresh=False)
        kind, source = "AutoModelForSequenceClassification", resolve(path)
        head = {"num_labels": labels, "problem_type": "multi_label_classification"}
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
    forgotten = 0
    while len(kept) >= _KEEP.get(place, 1) or sum(map(_size, kept)) > _KEEP_PARAMETERS:
        forgotten += _size(kept[0])
        del _LOADED[kept.pop(0)]
    if place != "cpu" or forgotten > _WORTH_COLLECTING:
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
    return max((path.stat().st_mtime_ns for path in model_files(Path(source.location))), default=0)


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
