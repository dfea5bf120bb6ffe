"""AlpacaEval annotators: prompts and parsers of the installed alpaca-eval, read at run time.

    annotator = load("weighted_alpaca_eval_gpt4_turbo")
    messages = annotator.frame(instruction, first, second)
    annotator.read(completion)          # P(the answer shown first is better), or None

A configuration is evaluators_configs/<name>/configs.yaml with a template beside it. The package is
located but never imported: its import needs pkg_resources and changes the root logger. "crucible"
is Crucible's own frame, whose quotation cannot be forged.

As in the package, chat blocks become messages without outer blanks; a probability is read from the
tokens that the configuration names; rankings and patterns are read from the text; a reply of any
other form contains no verdict. Departure: the template is split into messages first and the texts
are inserted in one pass, so that an answer containing "{output_2}" or `<|im_start|>` is left as it
is (the package expands the first and starts a new message at the second).
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.backends.base import Completion, Sampling
from harness.core.errors import BadData, MissingExtra, UserError, unknown
from harness.core.hashing import digest
from harness.judging import frames, verdicts
from harness.judging.frames import Message
from harness.judging.injection import suspicion

OWN = "crucible"  # the annotator with Crucible's own prompt
VERSION = 1  # of the readers below; part of every judge's fingerprint

_PLACEHOLDER = re.compile(r"\{(instruction|output_1|output_2)\}")
_ANY_PLACEHOLDER = re.compile(r"\{([^ \s]+?)\}")  # the package's definition
_START, _END = "<|im_start|>", "<|im_end|>"
_ROLES = ("system", "user", "assistant")
_MAX_TOKENS = ("max_tokens", "max_new_tokens", "max_tokens_to_sample")
_DEFAULT_TOKENS, _DEFAULT_TEMPERATURE = 2048, 0.7  # the package's defaults
# Keys of a configuration that are supported, or have no effect on the judgment.
_KNOWN = {
    "prompt_template",
    "fn_completions",
    "completions_kwargs",
    "fn_completion_parser",
    "completion_parser_kwargs",
    "completion_key",
    "batch_size",
    "is_randomize_output_order",
    "processors_to_kwargs",
    "pretty_name",
    "link",
}
_REFUSED_KWARGS = {
    "tools": "calls a function",
    "tool_choice": "calls a function",
    "functions": "calls a function",
    "tokens_to_favor": "shifts the judge's token probabilities",
    "tokens_to_avoid": "shifts the judge's token probabilities",
}
Reader = Callable[[Completion], float | None]
LEAST_MASS, USUAL_MASS = 0.5, 0.9  # of the two identifiers: below, no verdict; below, counted
Blocks = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Annotator:
    """Prompt and reader of an AlpacaEval judge.

    Attributes:
        model: the judge model the configuration was made for.
        sampling: its decoding settings.
        frame: (instruction, answer shown first, answer shown second) -> messages.
        read: completion -> P(the answer shown first is better), or None if it contains none.
        parser: name and version of the reader.
        prompt_hash: digest of the template.
        injection: answer -> why it looks like an attack on this prompt, or None.
        mass: completion -> probability of the two identifiers together; None for a reader of texts.
        least_mass: a verdict needs this mass. 0 for published configurations, which are read as the
            package reads them.
        blocks: (role, content) of each chat block of the template, see `parted`; () for Crucible's
            frame, which has no template.
    """

    name: str
    model: str
    sampling: Sampling
    frame: Callable[[str, str, str], list[Message]]
    read: Reader
    parser: str
    prompt_hash: str
    injection: Callable[[str], str | None]
    mass: Reader | None = None
    least_mass: float = 0.0
    blocks: Blocks = ()


class _Unsupported(Exception):
    """Reason why a configuration is unsupported; becomes part of a message."""


def load(name: str) -> Annotator:
    """The annotator called `name`.

    Raises:
        MissingExtra: alpaca-eval is not installed.
        UnknownName: it has no such configuration.
        UserError: the configuration uses an unsupported feature; lists the supported annotators.
    """
    if name == OWN:
        return _own()
    known = _configurations()
    if name not in known:
        raise unknown("annotator", name, [OWN, *supported()])
    try:
        return _published(name, known[name])
    except _Unsupported as reason:
        raise UserError(
            f'annotator "{name}" {reason}, which is not supported; supported: '
            + ", ".join([OWN, *supported()])
        ) from None


@cache
def supported() -> tuple[str, ...]:
    """Names of the installed package's annotators that `load` supports."""
    names = []
    for name, path in _configurations().items():
        try:
            _published(name, path)
        except (_Unsupported, BadData):
            continue
        names.append(name)
    return tuple(names)


def _own() -> Annotator:
    return Annotator(
        name=OWN,
        model="",
        # Temperature 1 as published; it has no effect, because only log-probabilities are read.
        sampling=Sampling(temperature=1.0, max_tokens=1, top_logprobs=5),
        frame=frames.alpaca_frame,
        read=partial(_weigh, 0, "m", "M", False),
        parser=f"logprobs of mass {LEAST_MASS}/{verdicts.VERSION}",
        prompt_hash=frames.prompt_hash("alpaca"),
        injection=partial(suspicion, ()),
        mass=partial(_mass, 0, "m", "M"),
        least_mass=LEAST_MASS,
    )


def _configurations() -> dict[str, Path]:
    """Annotator name -> its configs.yaml."""
    spec = importlib.util.find_spec("alpaca_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("alpaca_eval", "alpaca")
    folder = Path(next(iter(spec.submodule_search_locations))) / "evaluators_configs"
    return {path.parent.name: path for path in sorted(folder.glob("*/configs.yaml"))}


def _published(name: str, path: Path) -> Annotator:
    config = _configuration(name, path)
    template = _template(path, str(config.get("prompt_template")))
    blocks = _blocks(template)
    kwargs = config.get("completions_kwargs") or {}
    reader, parser = _reader(config)
    return Annotator(
        name=name,
        model=str(kwargs.get("model_name", "")),
        sampling=_sampling(kwargs, parser),
        frame=partial(_fill, blocks),
        read=reader,
        parser=f"{parser}/{VERSION}.{verdicts.VERSION}",
        prompt_hash=digest(["alpaca-eval", blocks]),
        injection=partial(suspicion, _pieces(blocks)),
        mass=_mass_reader(config),
        blocks=blocks,
    )


def _configuration(name: str, path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise MissingExtra("PyYAML", "alpaca") from None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadData(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict) or not found:
        raise BadData(f"{path}: expected a table of annotators")
    if len(found) > 1:
        raise _Unsupported(f"is a pool of {len(found)} judges")
    config = next(iter(found.values()))
    kwargs = config.get("completions_kwargs") or {}
    for key, what in _REFUSED_KWARGS.items():
        if key in kwargs:
            raise _Unsupported(f"{what} ({key})")
    odd = sorted(set(config) - _KNOWN)
    odd += [
        key for key in config.get("processors_to_kwargs") or {} if key != "ChainOfThoughtProcessor"
    ]
    if odd:
        raise _Unsupported(f"has {', '.join(odd)}")
    # The batch_size in the kwargs of a vLLM configuration counts prompts, not examples.
    if config.get("batch_size", 1) != 1:
        raise _Unsupported(f"puts {config['batch_size']} examples into one prompt")
    if not config.get("is_randomize_output_order", True):
        raise _Unsupported("shows both answers in a fixed order")
    return dict(config)


def _template(path: Path, relative: str) -> str:
    file = path.parents[1] / relative
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadData(
            f"{path}: its template {file} cannot be read: {error.strerror}; reinstall it "
            "(pip install 'crucible-bench[alpaca]')"
        ) from None


def _blocks(template: str) -> Blocks:
    """(role, content) of each chat block of a template."""
    text = template.strip()
    if not text.startswith(_START) or not text.endswith(_END):
        raise _Unsupported("has a prompt without chat blocks")
    placeholders = sorted(_ANY_PLACEHOLDER.findall(text))
    if placeholders != ["instruction", "output_1", "output_2"]:
        raise _Unsupported(f"has a prompt with the slots {', '.join(placeholders) or 'none'}")
    blocks = []
    for part in text.split(_START)[1:]:
        role, _, content = part.partition("\n")
        if role.strip() not in _ROLES:
            raise _Unsupported(f'has a message of the role "{role.strip()}"')
        blocks.append((role.strip(), content.partition(_END)[0].strip()))
    return tuple(blocks)


def parted(content: str) -> list[str]:
    """A block's own text around its slots, alternating with the names of the slots.

    >>> parted("Task: {instruction} Go.")
    ['Task: ', 'instruction', ' Go.']
    """
    return _PLACEHOLDER.split(content)


def _pieces(blocks: Blocks) -> tuple[str, ...]:
    """The template's own text around the slots."""
    found = [parted(content) for _, content in blocks]
    return tuple(piece for parts in found if len(parts) > 1 for piece in parts[::2])


def _fill(blocks: Blocks, instruction: str, first: str, second: str) -> list[Message]:
    texts = {"instruction": instruction, "output_1": first, "output_2": second}

    def put(slot: re.Match[str]) -> str:
        return texts[slot[1]]

    return [
        {"role": role, "content": _PLACEHOLDER.sub(put, content).strip()}
        for role, content in blocks
    ]


def _sampling(kwargs: Mapping[str, Any], parser: str) -> Sampling:
    tokens = next((kwargs[key] for key in _MAX_TOKENS if key in kwargs), _DEFAULT_TOKENS)
    weighs = parser.startswith("logprob_parser")
    if weighs and not kwargs.get("top_logprobs"):
        raise _Unsupported("weighs log-probabilities without asking for any")
    return Sampling(
        temperature=float(kwargs.get("temperature", _DEFAULT_TEMPERATURE)),
        top_p=float(kwargs.get("top_p", 1.0)),
        max_tokens=int(tokens),
        top_logprobs=int(kwargs["top_logprobs"]) if weighs else None,
    )


def _reader(config: Mapping[str, Any]) -> tuple[Reader, str]:
    """The reader of a configuration, and its name in fingerprints."""
    name = str(config.get("fn_completion_parser", "regex_parser"))
    kwargs = dict(config.get("completion_parser_kwargs") or {})
    wanted = "completions_all" if name == "logprob_parser" else "completions"
    if name not in _READERS or config.get("completion_key", "completions") != wanted:
        raise _Unsupported(f"is read by {name} of {config.get('completion_key', 'completions')}")
    try:
        return _READERS[name](**kwargs), f"{name}({_described(kwargs)})"
    except TypeError as error:
        raise _Unsupported(f"has other settings of {name}: {error}") from None


def _described(kwargs: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in sorted(kwargs.items()))


def _mass_reader(config: Mapping[str, Any]) -> Reader | None:
    """The mass of the tokens that a configuration weighs; None if it reads the text."""
    if config.get("fn_completion_parser") != "logprob_parser":
        return None
    kwargs = config["completion_parser_kwargs"]
    place = kwargs.get("log_prob_index", "batch")
    return partial(_mass, 0 if place == "batch" else place, *kwargs["denominator_tokens"])


def _logprob_reader(
    numerator_token: str,
    denominator_tokens: Sequence[str],
    is_binarize: bool = True,
    log_prob_index: int | str = "batch",
) -> Reader:
    others = [token for token in denominator_tokens if token != numerator_token]
    if len(denominator_tokens) != 2 or len(others) != 1:
        raise _Unsupported(f"weighs the tokens {', '.join(denominator_tokens)}")
    if log_prob_index == "batch":
        place = 0
    elif isinstance(log_prob_index, int):
        place = log_prob_index
    else:
        raise _Unsupported(f"reads the token at {log_prob_index}")
    return partial(_weigh, place, numerator_token, others[0], is_binarize)


def _weigh(
    place: int, first: str, second: str, binary: bool, completion: Completion
) -> float | None:
    """P(`first`) among the two tokens; 1 or 0 for the more probable one if `binary`."""
    tokens = completion.top_logprobs or ()
    if not -len(tokens) <= place < len(tokens):
        return None
    found = verdicts.probability_from_logprobs(tokens[place], first=first, second=second)
    return found if found is None or not binary else float(found > 0.5)


def _mass(place: int, first: str, second: str, completion: Completion) -> float | None:
    tokens = completion.top_logprobs or ()
    if not -len(tokens) <= place < len(tokens):
        return None
    return verdicts.identifier_mass(tokens[place], first=first, second=second)


def _ranking_reader(model_1_name: str = "model_1") -> Reader:
    return partial(_ranked, model_1_name)


def _ranked(first: str, completion: Completion) -> float | None:
    """1.0 or 0.0 from a list such as [{'model': 'model_1', 'rank': 2}, ...]."""
    try:
        listed = ast.literal_eval(completion.text)
        rank = next(item["rank"] for item in listed if item["model"] == first)
    except (ValueError, SyntaxError, TypeError, KeyError, StopIteration):
        return None
    except (MemoryError, RecursionError):  # a maliciously nested reply
        return None
    return float(rank == 1) if rank in (1, 2) else None


def _regex_reader(outputs_to_match: Mapping[int, str]) -> Reader:
    if set(outputs_to_match) != {1, 2}:
        raise _Unsupported(f"gives the verdicts {', '.join(map(str, outputs_to_match))}")
    return partial(_matched, {key: re.compile(text) for key, text in outputs_to_match.items()})


def _matched(patterns: Mapping[int, re.Pattern[str]], completion: Completion) -> float | None:
    """1.0 or 0.0 from the only match of a pattern in the reply; several matches are no verdict."""
    found: list[int] = []
    rest = completion.text
    while len(found) < 2:
        matches = [
            (m.start(), key, m.end()) for key, p in patterns.items() if (m := p.search(rest))
        ]
        if not matches:
            break
        _, key, end = min(matches)
        found.append(key)
        rest = rest[end:]
    return float(found[0] == 1) if len(found) == 1 else None


_READERS: dict[str, Callable[..., Reader]] = {
    "logprob_parser": _logprob_reader,
    "ranking_parser": _ranking_reader,
    "regex_parser": _regex_reader,
}
