"""Charts as files: tables and pgfplots source; drawings are in test_charts.py."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.core.errors import StoreProblem, UnknownName
from leaderboards.plots.charts import Chart, Panel, Point
from leaderboards.plots.writing import csv_text, tex_text, write_chart
from tests.leaderboards.plots.test_charts import HOSTILE

LINES = Chart(
    kind="sweep",
    title="Beta_1 & co",
    note="95 % intervals\n\\end{document}",
    panels=(
        Panel(
            title="LC win rate",
            x_title="train.settings.beta",
            y_title="%",
            log=True,
            points=tuple(
                Point(label=f"{name}, {x}", series=name, x=x, value=v, low=v - 2, high=v + 3)
                for name, start in (("=WRPO", 50.0), ("DPO_#", 40.0))
                for x, v in ((0.01, start), (0.1, start + 5), (1.0, start + 1))
            ),
        ),
        Panel(
            title="By model",
            x_title="models.target.ref",
            ticks=("nano:a_b", "=x"),
            points=(
                Point(label="a", series="one", x=0, value=1.0),
                Point(label="b", series="one", x=1, value=2.0, low=1.5, high=3.0),
            ),
        ),
    ),
)


def test_a_table_has_every_point_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(LINES))))
    assert len(rows) == 8
    assert (rows[1]["series"], rows[1]["x"], rows[1]["value"]) == ("'=WRPO", "0.1", "55.0")
    assert (rows[1]["low"], rows[1]["high"]) == ("53.0", "58.0")
    assert [row["x"] for row in rows[6:]] == ["nano:a_b", "'=x"]
    assert (rows[6]["low"], rows[6]["high"]) == ("", "")


def test_pgfplots_source_has_lines_bands_and_bars() -> None:
    text = tex_text(LINES)
    assert text.count("fill between[") == 2  # the line without all intervals has bars
    assert "(0.01,50) (0.1,55) (1,51)" in text
    assert "(0.01,48) (0.1,53) (1,49)" in text
    assert "(1,2) += (0,1) -= (0,0.5)" in text
    assert "xmode=log, xtick={0.01,0.1,1}, xticklabels={{0.01},{0.1},{1}}" in text
    assert "xtick={0,1}" in text  # the places of names
    assert r"DPO\_\#" in text
    assert all(line.startswith("%") for line in text.splitlines() if "end{document}" in line)
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("made", [LINES, HOSTILE], ids=["lines", "hostile"])
def test_pgfplots_source_compiles(made: Chart, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    write_chart(made, tmp_path / "chart.tex")
    head = "\n".join(line.removeprefix("% ") for line in tex_text(made).splitlines()[:2])
    (tmp_path / "page.tex").write_text(
        f"\\documentclass{{article}}\n{head}\n\\begin{{document}}\n\\input{{chart.tex}}\n"
        "\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if "pgfplots.sty' not found" in done.stdout:
        pytest.skip("pgfplots is not installed")
    assert done.returncode == 0, done.stdout[-2000:]


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match='no format of plots named "texx"; did you mean "tex"'):
        write_chart(LINES, tmp_path / "chart.texx")
    for name in ("chart.csv", "chart.tex"):
        with pytest.raises(StoreProblem, match="cannot be written"):
            write_chart(LINES, tmp_path / "absent" / name)


def test_a_sweep_is_drawn_with_lines_and_bands(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    write_chart(LINES, tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert text.count("PolyCollection") + text.count("FillBetweenPolyCollection") >= 3
    for word in ("DPO_#", "nano:a_b", "train.settings.beta"):
        assert word in text
