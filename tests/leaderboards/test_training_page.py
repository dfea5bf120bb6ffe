"""Training curves as a page."""

from __future__ import annotations

import json
import math
from pathlib import Path

from typer.testing import CliRunner

from harness.cli.main import app
from harness.engine.store import Store
from leaderboards.render.training import means, render, series_of

LOG = {
    "updates": 60,
    "log": [
        {"step": n, "epoch": n / 60, "loss": 1 / n, "<b>kl</b>": -0.5, "flag": True, "x": None}
        for n in range(1, 61)
    ],
}


def test_series_are_finite_numbers_by_update() -> None:
    log = [{"step": 2, "loss": math.nan, "kl": math.inf}, {"step": 4, "loss": 0.5, "epoch": 1.0}]
    assert series_of(log) == {"loss": [(4.0, 0.5)]}
    assert series_of([{"loss": 2}, {"loss": 1}]) == {"loss": [(1.0, 2.0), (2.0, 1.0)]}


def test_means_cover_all_updates() -> None:
    series = [(float(n), float(n)) for n in range(1, 48)]
    found = means(series)
    assert len(found) <= 20
    assert found[0] == (2.0, 2.0)
    assert found[-1][1] <= 47.0


def test_a_page_has_one_chart_per_figure_and_no_script() -> None:
    page = render("train \u202e<i>", LOG, [("params", "<script>")], "abcdef" * 4)
    assert page.count('<svg class="chart"') == 2
    assert "<script" not in page
    assert "<b>kl" not in page
    assert "&lt;b&gt;kl&lt;/b&gt;" in page
    assert "loss: from 1 to 0.0167" in page
    assert page.count("<polyline") == 4  # each with its mean
    assert "crucible show abcdefabcdef" in page
    assert render("t", LOG, [], "a" * 32) == render("t", LOG, [], "a" * 32)


def test_constant_single_and_empty_logs_have_pages() -> None:
    single = render("t", {"log": [{"step": 1, "loss": 0.0}]}, [], "a" * 32)
    assert 'points="0.0,0.0"' in single
    assert "The log has no figures" in render("t", {}, [], "a" * 32)


def test_show_writes_the_curves_of_a_checkpoint(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    id = "ab" * 16
    folder = store.fresh_output(id)
    (folder / "training_log.json").write_text(json.dumps(LOG))
    (folder / "config.json").write_text("{}")
    manifest = {"id": id, "operation": "train_sft", "label": "train x", "params": {"lr": 1}}
    store.commit(id, {**manifest, "version": 1, "inputs": {}})
    page = tmp_path / "curves.html"
    arguments = ["show", id[:10], "--html", str(page), "--store", str(store.root)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.exception
    assert "curves of train x" in done.stdout
    assert "train_sft" in page.read_text()
    assert '<svg class="chart"' in page.read_text()
