"""Reading what a build left behind, or what somebody says it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import outputs
from bulkhead.model.errors import UserError


def test_something_huge_is_not_read_to_its_end(tmp_path: Path) -> None:
    """An image given in place of its manifest is no reason to run out of memory."""
    path = tmp_path / "manifest.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(UserError, match=r"manifest\.json: is no manifest: it is larger than"):
        outputs.read_manifest(path)


def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """With the reason of the system."""
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read: No such file"):
        outputs.read_manifest(tmp_path / "manifest.json")
