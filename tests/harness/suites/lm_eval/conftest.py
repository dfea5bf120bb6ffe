"""A stub model, tasks over a small file, and a context without an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.model import LM

from harness.engine.calls import Services
from harness.suites.lm_eval.quiet import quiet
from harness.suites.lm_eval.running import run_tasks
from harness.suites.lm_eval.settings import TaskSettings
from harness.suites.lm_eval.sources import Loaded, load_tasks

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
output_type: multiple_choice
test_split: test
fewshot_split: test
fewshot_config: {{sampler: first_n}}
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
FREE = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
output_type: generate_until
test_split: test
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_target: "{{{{choices[gold]}}}}"
num_fewshot: 0
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8, do_sample: false}}
filter_list:
  - name: word
    filter:
      - {{function: regex, regex_pattern: "([a-z]+[0-9]+)"}}
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 2.0}}
"""


class Stub(LM):
    """Prefers the choice at one place, and answers with a fixed text."""

    def __init__(self, pick: int = 1, text: str = "it is right3") -> None:
        super().__init__()
        self.pick, self.text = pick, text
        self.calls: list[int] = []

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        self.calls.append(len(requests))
        return [(0.0 if r.idx == self.pick else -1.0 - r.idx, False) for r in requests]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        self.calls.append(len(requests))
        return [-float(len(r.args[0])) for r in requests]

    def generate_until(self, requests: list[Any]) -> list[str]:
        self.calls.append(len(requests))
        return [self.text for _ in requests]


@dataclass
class Bench:
    """Stands in for the engine's context."""

    directory: Path
    scratch: Path
    device: str = "cpu"
    services: Services = field(default_factory=Services)
    asked: int = 0
    seen: list[tuple[int, int, str]] = field(default_factory=list)

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        self.seen.append((done, total, unit))

    def count(self, *, tokens_in: int = 0, tokens_out: int = 0, requests: int = 0) -> None:
        self.asked += requests


def documents(count: int = 40, gold: int = 1, word: str = "number") -> list[dict[str, Any]]:
    return [
        {
            "question": f"{word} {n}?",
            "choices": [f"wrong{n}", f"right{n}", f"worse{n}", f"other{n}"],
            "gold": gold,
        }
        for n in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two tasks, `letters` and `words`, over one file of 40 documents."""
    place = tmp_path / "own"
    place.mkdir()
    write_documents(place, documents())
    for name, text in (("letters", CHOICE), ("words", FREE)):
        (place / f"{name}.yaml").write_text(
            text.format(name=name, data=place / "data.jsonl", cache=tmp_path / "cache")
        )
    return place


def write_documents(place: Path, found: Sequence[dict[str, Any]]) -> None:
    (place / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


@dataclass
class Outcome:
    """What a run wrote."""

    directory: Path
    bench: Bench
    loaded: Loaded

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "results.json").read_text())
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        lines = (self.directory / "rows.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def value(self, task: str, metric: str = "acc") -> float:
        """Of the first filter."""
        listed = self.results["tasks"][task]["metrics"]
        return float(next(m["value"] for m in listed if m["metric"] == metric))


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, folder: Path) -> Run:
    """`run(model, tasks=("letters",), limit=5)`: our tasks on a model, one scratch folder."""
    count = 0

    def go(model: LM, identity: str = "stub", **settings: Any) -> Outcome:
        nonlocal count
        count += 1
        directory = tmp_path / f"run-{count}"
        directory.mkdir()
        bench = Bench(directory, tmp_path / "scratch")
        bench.scratch.mkdir(exist_ok=True)
        chosen = TaskSettings(**{"tasks": ("letters",), "include": (str(folder),), **settings})
        with quiet():
            loaded = load_tasks(chosen, bench.scratch)
            run_tasks(model, loaded, chosen, bench, {"model": identity})
        return Outcome(directory, bench, loaded)

    return go


@pytest.fixture
def stub() -> type[Stub]:
    return Stub


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """`rewrite(folder, gold=2)`: other documents in the tasks' file."""
    return lambda place, **given: write_documents(place, documents(**given))
