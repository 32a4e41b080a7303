"""Directories as a sandbox can be given them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import keys
from bulkhead.lib import dirs


def test_no_path_goes_back_from_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a `..` goes back from is not in a sandbox; links are followed as the kernel does."""
    (tmp_path / "work/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("work/deep")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("BULKHEAD_CACHE", "../cache")

    assert dirs.cache_dir() == tmp_path / "cache"
    assert dirs.absolute(Path("../link/../out")) == tmp_path / "work/out"
    assert dirs.absolute(Path("deep")) == tmp_path / "work/deep"
    assert dirs.absolute(tmp_path / "link") == tmp_path / "link"
    assert keys.make(Path("../keys"), bits=2048).directory == str(tmp_path / "keys")
    assert keys.load(Path("../keys")).db_key == tmp_path / "keys/db.key"
