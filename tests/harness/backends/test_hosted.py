"""References of judges that are no entries of the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.backends.hosted import open_backend
from harness.core.errors import UserError
from harness.engine.calls import Services
from harness.models.references import resolve


def test_a_model_without_a_server_leads_to_one(tmp_path: Path) -> None:
    folder = resolve("nano:target").location
    for ref in (folder, "org/judge"):
        with pytest.raises(UserError, match=f"is a model without a server.*expected vllm:{ref}"):
            open_backend(ref, Services())
    (tmp_path / "q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"openai:q4@http://127.0.0.1:8080/v1"):
        open_backend(str(tmp_path / "q4.gguf"), Services())
    with pytest.raises(UserError, match=r"there is no file nowhere/q4.gguf"):
        open_backend("nowhere/q4.gguf", Services())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no model"):
        open_backend(str(tmp_path / "empty"), Services())
    with pytest.raises(UserError, match='no judge named "gpt"; expected openai:gpt for a model of'):
        open_backend("gpt", Services())
