"""Tables for notebooks: HTML of rows, and pandas frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from harness.core.errors import EnvironmentProblem
from harness.core.text import visible

if TYPE_CHECKING:
    import pandas

SHOWN = 20  # rows of a table in a notebook
LONGEST = 200  # characters of a value in it


def html_table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], title: str = "", note: str = ""
) -> str:
    """Rows as an HTML table; every value is escaped, hidden characters are shown."""
    parts = [f"<p><b>{_cell(title)}</b></p>"] if title else []
    parts += ["<table><thead><tr>", *(f"<th>{_cell(name)}</th>" for name in headings)]
    parts.append("</tr></thead><tbody>")
    for row in rows[:SHOWN]:
        parts += ["<tr>", *(f"<td>{_cell(value)}</td>" for value in row), "</tr>"]
    parts.append("</tbody></table>")
    if len(rows) > SHOWN:
        parts.append(f"<p>{SHOWN} of {len(rows):,} rows</p>")
    if note:
        parts.append(f"<p>{_cell(note)}</p>")
    return "".join(parts)


def _cell(value: object) -> str:
    if value is None:
        return "—"
    shown = f"{value:.2f}" if isinstance(value, float) else str(value)
    return str(escape(visible(shown, LONGEST)))


def frame(rows: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Rows as a pandas frame.

    Raises:
        EnvironmentProblem: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise EnvironmentProblem(
            "needs pandas: pip install 'crucible-bench[notebook]'; or iterate over the rows"
        ) from None
    return pandas.DataFrame(list(rows))
