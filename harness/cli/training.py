"""`crucible train`: one method's checkpoint, copied out of the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from harness.core.errors import UserError
from harness.engine.io import atomic_folder
from harness.engine.store import Store

if TYPE_CHECKING:
    from harness.reproduce import Reproduction


def export_checkpoint(
    console: Console, made: Reproduction, method: str, out: Path, store: Store
) -> None:
    """Run the stages a checkpoint needs, and copy it to `out`, which must not exist yet.

    Raises:
        UserError: if `out` exists, or the method trains nothing.
    """
    from harness.cli.progress import ProgressReporter
    from harness.engine.run import InlineExecutor

    if out.exists():
        raise UserError(f"{out} exists already; choose a folder that does not")
    name = next((s.name for s in made.recipe.systems if s.method == method), None)
    handle = made.models.get((made.recipe.seed, name or ""))
    if handle is None or made.plan.stages[handle.id].operation.name == "import_model":
        raise UserError(f'method "{method}" trains no model; there is nothing to copy')
    with ProgressReporter(console) as reporter:
        InlineExecutor().execute(made.plan, [handle], store, reporter)
    with atomic_folder(out) as fresh:
        shutil.copytree(store.folder(handle.id), fresh, dirs_exist_ok=True)
    console.print(f"checkpoint: {out}  (artifact {handle.id[:10]})", highlight=False)
