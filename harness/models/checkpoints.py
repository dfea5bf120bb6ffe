"""Loading checkpoints: language models, reward models, encoders and tokenizers.

    load_causal_lm        causal language models
    load_seq2seq          sequence-to-sequence models (T5, BART)
    load_reward_model     sequence classifiers
    load_encoder          text encoders, alone or under a new classification head

A checkpoint of another kind than asked for is refused: transformers would make up the missing
weights. Loaded models are in evaluation mode and kept in a small cache; callers must not modify
them. Training passes `fresh=True`.
"""

from __future__ import annotations

import gc
import json
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.core.errors import (
    BadData,
    CrucibleError,
    EnvironmentProblem,
    MissingExtra,
    UserError,
)
from harness.engine.io import read_json
from harness.models.completeness import check_full_precision, check_loaded, check_stored
from harness.models.not_models import has_tokenizer
from harness.models.references import Resolved, model_files, resolve_one
from harness.models.rows import embedding_rows, guard_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CAUSAL = "a causal language model"
SEQ2SEQ = "a sequence-to-sequence model"
CLASSIFIER = "a sequence classifier"
ENCODER = "an encoder"
_CLASSES = {
    CAUSAL: "AutoModelForCausalLM",
    SEQ2SEQ: "AutoModelForSeq2SeqLM",
    CLASSIFIER: "AutoModelForSequenceClassification",
    ENCODER: "AutoModel",
}
# Kind of a checkpoint by the end of the architecture in its config.json.
_ARCHITECTURES = {
    "ForSequenceClassification": CLASSIFIER,
    "EncoderModel": ENCODER,
    "ForMaskedLM": ENCODER,
    "ForCausalLM": CAUSAL,
    "LMHeadModel": CAUSAL,
}
# Checkpoints that load as a kind; "" is an unknown architecture, left to transformers.
_FITTING = {
    CAUSAL: (CAUSAL, ""),
    SEQ2SEQ: (SEQ2SEQ,),
    CLASSIFIER: (CLASSIFIER, ""),
    ENCODER: (ENCODER, CLASSIFIER, ""),
}

_KEEP = {"cpu": 4, "cuda": 1}  # cached models per kind of device
_KEEP_PARAMETERS = 1_000_000_000  # most parameters of all cached models, except the newest
_WORTH_COLLECTING = 10_000_000  # parameters; collecting garbage takes as long as loading a tiny one
_LOADED: OrderedDict[tuple[object, ...], tuple[Any, Any]] = OrderedDict()


def load_causal_lm(
    path: str | Path,
    device: str = "cpu",
    dtype: str | None = None,
    *,
    part: str = "",
    fresh: bool = False,
    quantise: Literal["nf4"] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in evaluation mode, and its tokenizer.

    Args:
        path: folder of a model artifact, or any model reference.
        dtype: default: that of the artifact, or else float32 on a CPU and bfloat16 on a GPU.
        part: checkpoint in a folder of several, see `harness.models.references.checkpoint_names`.
        fresh: return a private copy that may be trained, not from the cache.
        quantise: of a private copy, the linear layers in 4-bit NormalFloat, for adapters.

    Raises:
        UserError: no such model, or a folder of several without `part`.
        BadData: a checkpoint of another kind, one that cannot be loaded, or whose weights,
            configuration and tokenizer do not fit together.
        EnvironmentProblem: a hub model is not on this machine and the hub cannot be reached.
    """
    if quantise is None:
        return _load(CAUSAL, path, device, dtype, part, fresh)
    _make_room(device.partition(":")[0])
    source = resolve_one(path, part)
    return _load_now(CAUSAL, source, device, dtype or "bfloat16", quantise=quantise)


def load_seq2seq(
    path: str | Path,
    device: str = "cpu",
    dtype: str | None = None,
    *,
    part: str = "",
    fresh: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence-to-sequence model and its tokenizer; see `load_causal_lm`."""
    return _load(SEQ2SEQ, path, device, dtype, part, fresh)


def load_reward_model(
    path: str | Path,
    device: str = "cpu",
    dtype: str | None = None,
    *,
    part: str = "",
    fresh: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classifier and its tokenizer; see `load_causal_lm`."""
    return _load(CLASSIFIER, path, device, dtype, part, fresh)


def load_encoder(
    path: str | Path,
    device: str = "cpu",
    *,
    labels: int | None = None,
    part: str = "",
    fresh: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A text encoder in float32 and its tokenizer; see `load_causal_lm`.

    Args:
        labels: None gives the encoder alone; a number gives a private copy, to be trained, with a
            new head for that many independent binary labels.
    """
    report = _transformers().utils.logging
    before = report.get_verbosity()
    report.set_verbosity_error()  # it would warn that heads are new, or left out
    try:
        if labels is None:
            model, tokenizer = _load(ENCODER, path, device, "float32", part, fresh)
        else:
            model, tokenizer = _load_now(
                ENCODER, resolve_one(path, part), device, "float32", labels
            )
    finally:
        report.set_verbosity(before)
    from harness.models.collate import pad_id_of

    # Batches are padded by the tokenizer, whose pad token may have no embedding row.
    pad = pad_id_of(tokenizer, embedding_rows(model))
    if pad != tokenizer.pad_token_id:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    return model, tokenizer


def load_tokenizer(path: str | Path, part: str = "") -> PreTrainedTokenizerBase:
    """Tokenizer of a model; see `load_causal_lm` for arguments and errors."""
    return _load_tokenizer(resolve_one(path, part))


def _load_tokenizer(source: Resolved) -> Any:
    try:
        found = _transformers().AutoTokenizer.from_pretrained(source.location, **_options(source))
    except Exception as error:  # whatever a damaged file leads to
        raise _explain(source, error, "as a tokenizer") from error
    if source.template:
        arguments = json.loads(source.template)
        found.apply_chat_template = partial(found.apply_chat_template, **arguments)
    return found


def _options(source: Resolved) -> dict[str, Any]:
    return {"revision": source.revision, "trust_remote_code": source.trust_remote_code}


def forget_models() -> None:
    """Empty the cache of loaded models and free their memory."""
    _LOADED.clear()
    gc.collect()


def _load(
    kind: str,
    path: str | Path,
    device: str,
    dtype: str | None,
    part: str,
    fresh: bool,
) -> tuple[Any, Any]:
    source = resolve_one(path, part)
    wanted = dtype or source.dtype or ("float32" if device == "cpu" else "bfloat16")
    key = (
        kind,
        source.location,
        source.revision,
        _state(source),
        device,
        wanted,
        source.trust_remote_code,
        source.template,
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
    """Remove the models unused for longest, to make room for one more on this kind of device."""
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
    kind: str,
    source: Resolved,
    device: str,
    dtype: str,
    labels: int | None = None,
    quantise: str | None = None,
) -> tuple[Any, Any]:
    transformers = _transformers()
    import torch

    several = device == "cuda" and torch.cuda.device_count() > 1 and quantise is None
    more: dict[str, Any] = {"device_map": "auto" if several else None}
    if labels is not None:
        more |= {"num_labels": labels, "problem_type": "multi_label_classification"}
    try:
        config = transformers.AutoConfig.from_pretrained(source.location, **_options(source))
        if quantise is not None:
            check_full_precision(source.location, config)
            more |= _in_four_bits(quantise, device, getattr(torch, dtype))
        loader = _class_for(kind, config, source)
        if labels is not None:
            loader = _CLASSES[CLASSIFIER]
        if not source.hub:
            check_stored(Path(source.location), config)
        model, found = getattr(transformers, loader).from_pretrained(
            source.location,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_loaded names them
            **_options(source),
            **more,
        )
    except (CrucibleError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # About damaged files libraries raise anything; those of the hub are checked on arrival.
        if source.hub and not isinstance(error, (OSError, ValueError)):
            raise
        raise _explain(source, error) from error
    check_loaded(source.location, model, found, new_head=labels is not None)
    _check_generation(source, model)
    tokenizer = _load_tokenizer(source)
    guard_rows(model, tokenizer)
    if more["device_map"] is None:
        model.to(device)
    return model.eval(), tokenizer


def _in_four_bits(kind: str, device: str, dtype: Any) -> dict[str, Any]:
    """Options that quantise linear layers on the device, where they stay."""
    config = _transformers().BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"device_map": {"": device}, "quantization_config": config}


def _class_for(kind: str, config: Any, source: Resolved) -> str:
    """Class of transformers that loads a checkpoint as a kind of model.

    Raises:
        BadData: the checkpoint is of another kind.
    """
    name = (config.architectures or ["unknown architecture"])[0]
    found = next((known for end, known in _ARCHITECTURES.items() if name.endswith(end)), "")
    if config.is_encoder_decoder and found not in (CLASSIFIER, ENCODER):
        found = SEQ2SEQ
    if found not in _FITTING[kind]:
        raise BadData(
            f"{source.location} is {found or 'of another kind'} ({name}); this step needs {kind}"
        )
    # AutoModel would add a new decoder to the encoder of a sequence-to-sequence model.
    return "AutoModelForTextEncoding" if name.endswith("EncoderModel") else _CLASSES[kind]


def _state(source: Resolved) -> int:
    """Last modification of a local checkpoint, so that files replaced in place are read again."""
    if source.hub:
        return 0
    return max((path.stat().st_mtime_ns for path in model_files(Path(source.location))), default=0)


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError:
        raise MissingExtra("torch and transformers", "train") from None
    transformers.utils.logging.disable_progress_bar()  # they would break Crucible's own
    return transformers


def _check_generation(source: Resolved, model: Any) -> None:
    """Refuse a generation_config.json that transformers passed over, or with odd end tokens."""
    if not model.can_generate():
        return
    path = Path(source.location) / "generation_config.json"
    if not source.hub and path.is_file():
        read_json(path)
    ends = model.generation_config.eos_token_id
    for end in ends if isinstance(ends, list | tuple) else [ends]:
        if end is not None and not isinstance(end, int):
            raise BadData(
                f"{source.location}: eos_token_id in its generation_config.json is {end!r}; "
                "expected a token id, or a list of them"
            )


def _explain(source: Resolved, error: Exception, what: str = "as a model") -> Exception:
    """Error to show for a checkpoint that transformers could not load."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    names = {type(link).__name__ for link in chain}
    first_line = " ".join(str(error).split())[:400] or type(error).__name__
    if not isinstance(error, OSError | ValueError):
        first_line = f"{type(error).__name__}: {first_line}"
    if "trust_remote_code" in str(error):
        return UserError(
            f"{source.location} needs Python code from its folder; read that code, then set "
            "trust_remote_code = true for this model in the recipe"
        )
    if not source.hub and "UnpicklingError" in names:
        return BadData(
            f"{source.location}: its weights are pickled (.bin) and contain more than tensors, "
            "which could run code, or are damaged; expected *.safetensors (save_pretrained of "
            "current transformers writes them), or a .bin file from where you trust it"
        )
    if not source.hub and not has_tokenizer(Path(source.location)):
        return BadData(
            f"{source.location} has no tokenizer; expected tokenizer.json or tokenizer.model "
            "beside the weights: copy the files of the model that it was made from"
        )
    if not source.hub:
        if (problem := _generation_problem(source)) is not None:
            return BadData(f"{source.location}: its generation_config.json is invalid: {problem}")
        return BadData(f"{source.location}: cannot be loaded {what}: {first_line}")
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


def _generation_problem(source: Resolved) -> str | None:
    """What is wrong with a checkpoint's generation_config.json, in one line; None if nothing is."""
    if not (Path(source.location) / "generation_config.json").is_file():
        return None
    try:
        _transformers().GenerationConfig.from_pretrained(source.location)
    except Exception as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    return None
