"""What stands in for a model by mistake: weights of other programs, parts of checkpoints, adapters.

Each check raises one sentence: what was found, what was expected, and what to type.
"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

from harness.core.errors import UserError
from harness.engine.integrity import HEADER

SERVED = "openai:<model>@<url>"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# Files of a checkpoint that are JSON, so that they read like stored outputs.
_PARTS = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "adapter_config.json",
    "preprocessor_config.json", "processor_config.json", "chat_template.json", "model.json",
}  # fmt: skip
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model",
               "sentencepiece.bpe.model", "tokenizer_config.json")  # fmt: skip
_PYTORCH = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_FORMATS = {
    ".gguf": "GGUF",
    ".ggml": "GGML",
    ".onnx": "ONNX",
    ".h5": "TensorFlow",
    ".keras": "TensorFlow",
    ".msgpack": "Flax",
    ".tflite": "TensorFlow Lite",
    ".mlmodel": "Core ML",
    ".engine": "TensorRT",
    ".llamafile": "llamafile",
}
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".zst", ".xz", ".bz2")
FILES = (".safetensors", *_PYTORCH, *_FORMATS)
_LFS = b"version https://git-lfs"
_EXPECTED = (
    "expected a model (a folder with config.json, weights and tokenizer, a hub id, or a server: "
    f"{SERVED}) or stored outputs (.json, .jsonl)"
)


def check_file(path: Path) -> None:
    """Accept a file that may contain stored outputs.

    Raises:
        UserError: it is something else.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    if path.name in _PARTS or path.name.endswith(".index.json"):
        raise UserError(
            f"{path} is a part of a checkpoint, no model; expected its folder: give "
            f"{path.parent}, or stored outputs (.json, .jsonl)"
        )
    if start.startswith(b"\x1f\x8b") and not path.name.endswith((".tar.gz", ".tgz")):
        return
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return
    raise UserError(_sentence(path, start))


def _sentence(path: Path, start: bytes) -> str:
    kind = _FORMATS.get(path.suffix.lower(), "")
    if start.startswith(_LFS):
        return _pointer(path)
    if start.startswith(b"GGUF") or kind in ("GGUF", "GGML", "llamafile"):
        return _llama_cpp(path)
    if kind:
        return (
            f"{path} is a model in the format {kind}, which Crucible does not run; expected the "
            f"folder of the original checkpoint (config.json, *.safetensors), or a server: {SERVED}"
        )
    if path.suffix == ".safetensors" or start[8:10] == b'{"':
        return _weights_alone(path, "safetensors")
    if path.suffix.lower() in _PYTORCH or start.startswith((b"PK\x03\x04archive", b"\x80\x02")):
        return _weights_alone(path, "PyTorch's pickles")
    if path.name.lower().endswith(_ARCHIVES):
        return f"{path} is an archive; unpack it and give the folder with config.json"
    if start.startswith(b"PAR1") or path.suffix in (".csv", ".tsv", ".parquet"):
        return f"{path} is a table, no model; {_EXPECTED}: convert stored outputs to .jsonl"
    return f"{path} is neither a model nor stored outputs; {_EXPECTED}"


def _llama_cpp(path: Path) -> str:
    return (
        f"{path} is a model in GGUF, the format of llama.cpp, which Crucible does not run itself; "
        f"serve it (llama-server -m {quote(str(path))} --port 8080) and give "
        f"openai:{path.stem}@http://127.0.0.1:8080/v1, or give the folder or hub id of the "
        "original checkpoint"
    )


def _weights_alone(path: Path, format: str) -> str:
    folder = path.parent
    if (folder / "adapter_config.json").is_file():
        return _adapter(folder)
    if (folder / "config.json").is_file():
        return f"{path} contains only weights ({format}); expected its folder: give {folder}"
    return (
        f"{path} contains only weights ({format}); expected a folder with config.json and "
        f"tokenizer beside them, and {folder} has no config.json: download the whole checkpoint "
        "(hf download ORG/NAME --local-dir FOLDER) and give FOLDER"
    )


def _adapter(folder: Path) -> str:
    try:
        found = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = str(found.get("base_model_name_or_path") or "BASE")
    except (OSError, ValueError, AttributeError, RecursionError):
        base = "BASE"
    above, name = folder.resolve().parent, folder.resolve().name
    if (above / "config.json").is_file() and (above / "training_log.json").is_file():
        return (
            f"{folder} is an adapter (LoRA), without the model itself; expected a whole "
            f"checkpoint: give {above}, into which it is merged"
        )
    return (
        f"{folder} is an adapter (LoRA) of {base}, without the model itself; expected a whole "
        "checkpoint: merge it with peft (merge_and_unload, save_pretrained, and the tokenizer of "
        f"{base}) and give that folder, or serve it (vllm serve {base} --enable-lora "
        f"--lora-modules {name}={quote(str(folder))}) and give openai:{name}@http://127.0.0.1:8000/v1"
    )


def _pointer(path: Path) -> str:
    return (
        f"{path} is a pointer of git-lfs, not the file itself; run git lfs pull in {path.parent}, "
        "or hf download ORG/NAME --local-dir FOLDER"
    )


def check_name(text: str) -> None:
    """Refuse a reference that looks like a file of weights and leads to none.

    Raises:
        UserError: with what was expected.
    """
    if text.lower().endswith(FILES):
        raise UserError(f"there is no file {text}; {_EXPECTED}")


def no_checkpoint(folder: Path) -> UserError:
    """The error for a folder without a config.json and without a model.json."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    by_format = [path for path in files if path.suffix.lower() in _FORMATS]
    if (folder / "adapter_config.json").is_file():
        return UserError(_adapter(folder))
    if by_format:
        return UserError(_sentence(by_format[0], b""))
    if any(path.suffix in (".safetensors", *_PYTORCH) for path in files):
        return UserError(
            f"{folder} contains no model: weights, but no config.json; copy config.json and "
            "the tokenizer of the checkpoint beside them"
        )
    if any(path.name in _TOKENIZERS for path in files):
        return UserError(
            f"{folder} contains no model: a tokenizer only; expected config.json and "
            "*.safetensors: give the folder of the whole checkpoint"
        )
    return UserError(
        f"{folder} contains no model; expected a config.json or a model.json, or subfolders with a "
        "config.json each"
    )


def check_weights(folder: Path) -> None:
    """Accept a checkpoint folder whose weights are there, whole.

    Raises:
        UserError: no weights, an adapter alone, parts that are missing or cut short.
    """
    for index in sorted(folder.glob("*.index.json")):
        _check_parts(index)
    found = [
        path
        for pattern in WEIGHTS
        for path in sorted(folder.glob(pattern))
        if not path.name.startswith("adapter_model")
    ]
    if not found and (folder / "adapter_config.json").is_file():
        raise UserError(_adapter(folder))
    if not found:
        others = sorted(path for path in folder.iterdir() if path.suffix.lower() in _FORMATS)
        if others:
            raise UserError(_sentence(others[0], b""))
        raise UserError(
            f"{folder} has a config.json, but no weights; expected *.safetensors beside it: "
            f"download the whole checkpoint (hf download ORG/NAME --local-dir {folder})"
        )
    for path in found:
        if path.suffix == ".safetensors":
            _check_whole(path)


def _check_parts(index: Path) -> None:
    try:
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return  # transformers says what is wrong with it
    lacking = sorted(name for name in parts if not (index.parent / str(name)).is_file())
    if lacking:
        raise UserError(
            f"{index.parent} lacks {len(lacking)} of the {len(parts)} files of its weights "
            f"({', '.join(lacking[:3])}{', ...' if lacking[3:] else ''}, named in {index.name}); "
            "download the whole checkpoint again"
        )


def _check_whole(path: Path) -> None:
    """Compare a file's size with what its header says."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if start == _LFS[:8]:
            raise UserError(_pointer(path))
        length = int.from_bytes(start, "little")
        header = stream.read(length) if len(start) == 8 and length < min(size, HEADER) else b""
    try:
        listed = json.loads(header)
        ends = [one["data_offsets"][1] for name, one in listed.items() if name != "__metadata__"]
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        raise UserError(f"{path} is no whole safetensors file; download it again") from None
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise UserError(
            f"{path} has {size:,} bytes; its header says {expected:,}: the download or copy was "
            "interrupted, do it again"
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder contains any file of a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZERS)
