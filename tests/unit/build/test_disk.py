"""Disk layouts that cannot work are refused before a tool runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import disk
from bulkhead.build.tools import Tools
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import UserError

SMALL = disk.DiskLayout(esp_mib=4, root_mib=1, verity_mib=1)


def attempt(folder: Path, *, root: int = 4096, uki: int = 4096, version: str = "1.0.0") -> None:
    """Try to make an image of files with these sizes; the tool tree does not exist."""
    for name, size in (("root", root), ("verity", 8192), ("uki", uki), ("loader", 9), ("start", 9)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    disk.make(
        folder / "disk.raw", arch=AMD64, layout=SMALL, root=folder / "root",
        hash_tree=folder / "verity", root_hash="0" * 64, name="standalone", version=version,
        boot=disk.Boot(uki=folder / "uki", loader=folder / "loader", start=folder / "start"),
        tools=Tools(name="none", root=folder / "none", key=""), epoch=0,
    )  # fmt: skip


def test_a_root_that_does_not_fit_its_slot_is_refused(tmp_path: Path) -> None:
    """The message has both sizes and the setting to change."""
    with pytest.raises(
        UserError, match=r"the root image has 1\.5 MiB, its partition 1 MiB"
    ) as caught:
        attempt(tmp_path, root=3 << 19)

    assert "raise root_mib" in str(caught.value)


def test_an_esp_without_room_for_the_next_kernel_is_refused(tmp_path: Path) -> None:
    """An update writes its kernel beside the two that are there."""
    with pytest.raises(UserError, match="the ESP needs 7 MiB to hold three kernels, it has 4 MiB"):
        attempt(tmp_path, uki=2 << 20)


def test_a_label_longer_than_the_table_holds_is_refused(tmp_path: Path) -> None:
    """GPT labels end at 36 characters."""
    with pytest.raises(UserError, match="longer than 36 characters"):
        attempt(tmp_path, version="1.0.0-with-a-very-long-suffix")
