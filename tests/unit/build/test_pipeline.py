"""What a build says before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import pipeline
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import UserError


def test_a_lock_that_must_be_made_first_is_named(tmp_path: Path) -> None:
    """The hint is a command that works for this variant, also where its path has a space."""
    folder = tmp_path / "my own"
    folder.mkdir()
    (folder / "variant.toml").write_text('name = "mine"\ninherit = ["standalone"]\n')

    with pytest.raises(UserError, match="the lock file is missing") as caught:
        pipeline.plan(str(folder), locked=True, cache=tmp_path / "cache", progress=SILENT)

    assert caught.value.where == str(folder / "variant.lock")
    assert caught.value.hint == f"run: bulkhead lock '{folder}'"
