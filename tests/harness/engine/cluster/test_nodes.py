"""What is wrong with a node is said before it gets work, in one sentence with its remedy."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import EnvironmentProblem
from harness.engine.cluster import nodes
from harness.engine.cluster.nodes import Probe, check_reports, here, probing, report

CODE = """
import json, sys
from harness.engine.cluster.nodes import Probe, report
print(json.dumps(report(Probe(*json.loads(sys.argv[1])))))
"""


def of_another_process(probe: Probe) -> dict[str, Any]:
    import json

    words = json.dumps([probe.root, probe.token, list(probe.paths)])
    done = subprocess.run(
        [sys.executable, "-c", CODE, words], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_another_process_with_the_same_store_has_nothing_wrong(tmp_path: Path) -> None:
    with probing(tmp_path, [str(tmp_path)]) as probe:
        found = of_another_process(probe)
    assert found == {"versions": here(), "problem": "", "missing": []}
    check_reports({"n": found})
    assert not list((tmp_path / "partial").iterdir())


def problem(found: dict[str, Any], name: str = "gpu-7") -> str:
    with pytest.raises(EnvironmentProblem) as caught:
        check_reports({"fine": {"versions": here(), "problem": "", "missing": []}, name: found})
    text = str(caught.value)
    assert text.startswith(f"node {name} ")
    assert "Nothing was run" in text
    return text


def test_a_node_with_another_store_of_that_name_is_refused(tmp_path: Path) -> None:
    with probing(tmp_path) as probe:
        other = Probe(str(tmp_path), "0" * 16)
        assert "has another or no store at" in problem(report(other))
        probe.file.write_text("something else")
        assert "must be on a file system that all nodes share" in problem(report(probe))


def test_a_store_that_a_node_cannot_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def refuses(self: Path, text: str, *more: Any) -> int:
        if self.name.startswith(".probe-") and text == "":
            raise OSError(errno.EROFS, "Read-only file system")
        return write(self, text, *more)

    with probing(tmp_path) as probe:
        monkeypatch.setattr(Path, "write_text", refuses)
        assert "cannot write to the store" in problem(report(probe))


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (None, "does not see the locks of other nodes"),
        (OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)), "cannot lock files of the store"),
    ],
)
def test_a_file_system_without_working_locks_is_refused(
    lock: OSError | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locks(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_NB and lock is not None:
            raise lock

    with probing(tmp_path) as probe:
        monkeypatch.setattr(nodes.fcntl, "flock", locks)
        text = problem(report(probe))
    assert said in text
    assert "working locks (NFS 4, or lockd)" in text


def test_other_versions_are_named_with_both(tmp_path: Path) -> None:
    versions = {**here(), "numpy": "1.0", "extra": "2"}
    del versions["python"]
    text = problem({"versions": versions, "problem": "", "missing": []})
    assert f"python none (here {here()['python']})" in text
    assert f"numpy 1.0 (here {here()['numpy']})" in text
    assert "extra 2 (here none)" in text


def test_other_code_of_crucible_counts_as_another_version() -> None:
    assert len(here()["crucible's code"]) == 10


def test_files_that_a_node_lacks_are_named(tmp_path: Path) -> None:
    with probing(tmp_path, ["/models/absent", str(tmp_path)]) as probe:
        assert "lacks /models/absent, which the run reads" in problem(report(probe))
