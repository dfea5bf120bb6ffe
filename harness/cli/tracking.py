"""Trackers: training curves and scores of a run, sent to trackio, wandb, tensorboard or mlflow.

Off by default; `--tracker NAME` turns one on. A tracker gets one run per training, when its stage
has ended, and one with the scores of all systems. What happens in a tracker never stops a run:
a failure is said once and the rest of the run is not tracked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.cli import screen
from harness.core.errors import EnvironmentProblem, unknown
from harness.core.records import Cell
from harness.core.text import line
from harness.engine.io import read_json
from leaderboards.render.training import series_of

if TYPE_CHECKING:
    from harness.cli.progress import ProgressReporter
    from harness.engine.plan import Stage
    from harness.engine.store import Store

PROJECT = "crucible"
LOG = "training_log.json"
Values = Mapping[str, float]


class Sink(Protocol):
    """A tracker: runs, one after another, each with settings, values by step, and an end."""

    def start(self, name: str, config: Mapping[str, str]) -> None: ...
    def log(self, values: Values, step: int) -> None: ...
    def finish(self) -> None: ...


class WandbSink:
    """Weights & Biases; WANDB_MODE=offline keeps everything on this machine."""

    def __init__(self, folder: Path) -> None:
        self._wandb = _imported("wandb", "wandb")
        self._folder = folder
        self._run: Any = None

    def start(self, name: str, config: Mapping[str, str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=PROJECT, name=name, config=dict(config), dir=str(self._folder)
        )

    def log(self, values: Values, step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


class TrackioSink:
    """Trackio: local by default, in its own folder."""

    def __init__(self, folder: Path) -> None:
        self._trackio = _imported("trackio", "trackio")

    def start(self, name: str, config: Mapping[str, str]) -> None:
        self._trackio.init(project=PROJECT, name=name, config=dict(config))

    def log(self, values: Values, step: int) -> None:
        self._trackio.log(dict(values), step=step)

    def finish(self) -> None:
        self._trackio.finish()


class TensorboardSink:
    """TensorBoard's event files, below `tensorboard` in the store."""

    def __init__(self, folder: Path) -> None:
        _imported("tensorboard", "tensorboard")
        self._module = _imported("torch.utils.tensorboard", "tensorboard")
        self._folder = folder
        self._writer: Any = None

    def start(self, name: str, config: Mapping[str, str]) -> None:
        self._writer = self._module.SummaryWriter(log_dir=str(self._folder / _file_name(name)))
        text = "\n".join(f"    {key} = {value}" for key, value in config.items())
        self._writer.add_text("settings", text)

    def log(self, values: Values, step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


class MlflowSink:
    """MLflow: the server of MLFLOW_TRACKING_URI, else its local folder."""

    LONGEST = 500  # characters of a parameter that every server takes

    def __init__(self, folder: Path) -> None:
        self._mlflow = _imported("mlflow", "mlflow")

    def start(self, name: str, config: Mapping[str, str]) -> None:
        self._mlflow.set_experiment(PROJECT)
        self._mlflow.start_run(run_name=name)
        shown = {_metric_name(key): value[: self.LONGEST] for key, value in config.items()}
        self._mlflow.log_params(shown)

    def log(self, values: Values, step: int) -> None:
        self._mlflow.log_metrics({_metric_name(k): v for k, v in values.items()}, step=step)

    def finish(self) -> None:
        self._mlflow.end_run()


SINKS: dict[str, type[WandbSink | TrackioSink | TensorboardSink | MlflowSink]] = {
    "trackio": TrackioSink,
    "wandb": WandbSink,
    "tensorboard": TensorboardSink,
    "mlflow": MlflowSink,
}


def open_sink(name: str, store: Store) -> Sink:
    """The tracker called `name`; its files, if any, are below the store.

    Raises:
        UnknownName: there is none of this name.
        EnvironmentProblem: its package is not installed.
    """
    if name not in SINKS:
        raise unknown("tracker", name, SINKS, "crucible reproduce --help")
    return SINKS[name](store.root / name)


class Tracked:
    """A reporter that also sends each training that ends to a sink.

    Args:
        reporter: the one that prints.
        sink: None tracks nothing.
    """

    def __init__(self, reporter: ProgressReporter, sink: Sink | None, store: Store) -> None:
        self._reporter = reporter
        self._sink = sink
        self._store = store

    def begin(self, stage: Stage, number: int, total: int) -> None:
        self._reporter.begin(stage, number, total)

    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None:
        self._reporter.progress(stage, done, total, unit)

    def note(self, stage: Stage, text: str) -> None:
        self._reporter.note(stage, text)

    def end(self, stage: Stage, seconds: float) -> None:
        self._reporter.end(stage, seconds)
        path = self._store.folder(stage.id) / LOG
        if self._sink is None or not path.is_file():
            return
        steps: dict[int, dict[str, float]] = {}
        for name, series in series_of(read_json(path).get("log") or ()).items():
            for step, value in series:
                steps.setdefault(round(step), {})[name] = value
        params = stage.params.model_dump(mode="json")
        self._send(f"{stage.label} {stage.id[:10]}", {"id": stage.id, **params}, steps)

    def scores(self, title: str, cells: Iterable[Cell], about: Mapping[str, object]) -> None:
        """Send the scores of a run: SYSTEM/SUITE/METRIC, and the ends of their intervals."""
        if self._sink is None:
            return
        values: dict[int, dict[str, float]] = {}
        for cell in cells:
            name = f"{cell.system}/{cell.suite}/{cell.metric}"
            own = values.setdefault(cell.seed, {})
            if cell.value is not None:
                own[name] = cell.value
            if cell.interval is not None:
                own[f"{name}/low"], own[f"{name}/high"] = cell.interval.low, cell.interval.high
        self._send(f"scores of {title}", about, values)

    def _send(self, name: str, config: Mapping[str, object], steps: Mapping[int, Values]) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            sink.start(name, {key: str(value) for key, value in config.items()})
            for step in sorted(steps):
                sink.log(steps[step], step)
            sink.finish()
        except Exception as error:  # whatever a tracker raises, the run goes on
            self._sink = None
            screen.say(
                f"warning: the tracker failed and is left out from here on: "
                f"{type(error).__name__}: {line(str(error))}"
            )


def _imported(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise EnvironmentProblem(f"needs {package}: pip install {package}") from None


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "run"


def _metric_name(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return re.sub(r"[^A-Za-z0-9_./ -]", "_", name)
