"""Trackers against fakes of their packages, and what happens when one fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from harness.cli import screen
from harness.cli.progress import ProgressReporter
from harness.cli.tracking import SINKS, Tracked, open_sink
from harness.core.errors import EnvironmentProblem, UnknownName
from harness.engine.plan import Plan, Stage
from harness.engine.store import Store
from tests.hand_made import HandMade

LOG = {"updates": 2, "log": [{"step": 1, "loss": 0.7, "kl": 0.1}, {"step": 2, "loss": 0.5}]}
TRAINED = {("loss", 1): 0.7, ("kl", 1): 0.1, ("loss", 2): 0.5}


class Seen:
    """What a fake package was told: runs with settings, values by step, ends."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def start(self, name: str, config: Any) -> None:
        self.runs.append({"name": name, "config": config, "values": {}, "ended": False})

    def log(self, values: dict[str, float], step: int) -> None:
        assert not self.runs[-1]["ended"]
        self.runs[-1]["values"] |= {(name, step): value for name, value in values.items()}

    def end(self) -> None:
        self.runs[-1]["ended"] = True


def fakes(name: str, seen: Seen) -> dict[str, ModuleType]:
    """Modules that stand for a tracker's package, with the functions that it documents."""
    module = ModuleType(name)
    if name == "wandb":

        def init(*, project: str, name: str, config: dict[str, str], dir: str) -> Any:
            assert project == "crucible"
            assert Path(dir).is_dir()
            seen.start(name, config)
            return SimpleNamespace(log=lambda v, *, step: seen.log(v, step), finish=seen.end)

        module.init = init  # type: ignore[attr-defined]
    elif name == "trackio":
        module.init = lambda *, project, name, config: seen.start(name, config)  # type: ignore[attr-defined]
        module.log = lambda values, *, step: seen.log(values, step)  # type: ignore[attr-defined]
        module.finish = seen.end  # type: ignore[attr-defined]
    elif name == "mlflow":
        module.set_experiment = lambda project: None  # type: ignore[attr-defined]
        names: list[str] = []

        def start_run(*, run_name: str) -> None:
            names.append(run_name)

        def log_params(params: dict[str, str]) -> None:
            assert all(len(value) <= 500 for value in params.values())
            seen.start(names[-1], params)

        def log_metrics(values: dict[str, float], *, step: int) -> None:
            assert not any(character in name for name in values for character in ":@?=()")
            seen.log(values, step)

        module.start_run, module.log_params = start_run, log_params  # type: ignore[attr-defined]
        module.log_metrics, module.end_run = log_metrics, seen.end  # type: ignore[attr-defined]
    else:
        inner = ModuleType("torch.utils.tensorboard")

        class SummaryWriter:
            def __init__(self, log_dir: str) -> None:
                self.name = Path(log_dir).name

            def add_text(self, tag: str, text: str) -> None:
                seen.start(self.name, text)

            def add_scalar(self, name: str, value: float, step: int) -> None:
                seen.log({name: value}, step)

            def close(self) -> None:
                seen.end()

        inner.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
        return {"tensorboard": module, "torch.utils.tensorboard": inner}
    return {name: module}


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Store, Stage]:
    """A store with a training's artifact, and its stage."""
    plan, store = Plan(), Store(tmp_path / "store")
    handle = plan.stage("import_model", ref="nano:target", label="train sft")
    folder = store.fresh_output(handle.id)
    (folder / "training_log.json").write_text(json.dumps(LOG))
    store.commit(handle.id, {"id": handle.id, "operation": "train_sft", "inputs": {}})
    return store, plan.stages[handle.id]


@pytest.mark.parametrize("name", SINKS)
def test_a_training_and_the_scores_are_sent(
    name: str, trained: tuple[Store, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stage = trained
    seen = Seen()
    for module, fake in fakes(name, seen).items():
        monkeypatch.setitem(sys.modules, module, fake)
    tracked = Tracked(ProgressReporter(Console(quiet=True)), open_sink(name, store), store)
    tracked.begin(stage, 1, 1)
    tracked.progress(stage, 1, 2, "updates")
    tracked.note(stage, "a note")
    tracked.end(stage, 1.0)
    cell = HandMade(store.root).cell(system="openai:m@http://h", value=48.0)
    missing = HandMade(store.root).cell(metric="other", value=None)
    tracked.scores("WRPO", [cell, missing], {"command": "crucible " + "x" * 900})
    training, scores = seen.runs
    assert training["values"] == TRAINED
    assert "train" in training["name"]
    assert "nano:target" in str(training["config"])
    assert list(scores["values"].values()) == [48.0]
    assert training["ended"]
    assert scores["ended"]


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    trained: tuple[Store, Stage], capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        calls = 0

        def start(self, name: str, config: Any) -> None:
            self.calls += 1
            raise ConnectionError("no route\nto host \x1b[2J")

        def log(self, values: Any, step: int) -> None: ...
        def finish(self) -> None: ...

    screen.choose()
    store, stage = trained
    sink = Broken()
    tracked = Tracked(ProgressReporter(Console(quiet=True)), sink, store)
    tracked.end(stage, 1.0)
    tracked.end(stage, 1.0)
    tracked.scores("WRPO", [], {})
    said = capsys.readouterr().err
    assert said.count("the tracker failed and is left out") == 1
    assert "ConnectionError: no route to host <U+001B>[2J" in said
    assert sink.calls == 1


def test_nothing_is_imported_or_sent_without_a_tracker(trained: tuple[Store, Stage]) -> None:
    store, stage = trained
    tracked = Tracked(ProgressReporter(Console(quiet=True)), None, store)
    tracked.end(stage, 1.0)
    tracked.scores("WRPO", [], {})


@pytest.mark.parametrize("name", SINKS)
def test_a_missing_package_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentProblem, match=f"needs {name}: pip install {name}"):
        open_sink(name, Store(tmp_path))


def test_an_unknown_tracker_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match='did you mean "wandb"'):
        open_sink("wanb", Store(tmp_path))
