"""Disk layouts that cannot work are refused before a tool runs, images without content after it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bulkhead.build import disk, pipeline
from bulkhead.build.tools import Tools
from bulkhead.lib.progress import SILENT
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import HostError, UserError

SMALL = disk.DiskLayout(esp_mib=4, root_mib=1, verity_mib=1)


NO_TOOLS = Tools(name="none", root=Path("none"), key="")


class EmptyRepart(Tools):
    """Makes a disk of the right size with nothing in it, as repart does where it ignores lines.

    Attributes:
        definitions: the text of all the files that it was given.
    """

    def __init__(self) -> None:
        super().__init__(name="image", root=Path("none"), key="")
        self.definitions = ""

    def run(self, argv: Sequence[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        """Be systemd-repart."""
        folder = next(Path(a.partition("=")[2]) for a in argv if a.startswith("--definitions="))
        self.definitions = "".join(path.read_text() for path in sorted(folder.iterdir()))
        with Path(argv[-1]).open("wb") as image:
            image.truncate(SMALL.total_mib() * disk.MIB)
        return subprocess.CompletedProcess(argv, 0, b"", b"")


def attempt(
    folder: Path, *, root: int = 4096, uki: int = 4096, version: str = "1.0.0",
    tools: Tools = NO_TOOLS,
) -> None:  # fmt: skip
    """Try to make an image of files with these sizes."""
    for name, size in (("root", root), ("verity", 8192), ("uki", uki), ("loader", 9), ("start", 9)):
        with (folder / name).open("wb") as file:
            file.write(b"x")
            file.truncate(size)
    disk.make(
        folder / "disk.raw", arch=AMD64, layout=SMALL, root=folder / "root",
        hash_tree=folder / "verity", root_hash="0" * 64, name="standalone", version=version,
        boot=disk.Boot(uki=folder / "uki", loader=folder / "loader", start=folder / "start"),
        tools=tools, epoch=0,
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
    with pytest.raises(UserError, match="which has 40 characters instead of 36 at most") as caught:
        attempt(tmp_path, version="1.0.0-with-a-very-long-suffix")

    assert "hint: take 4 from the variant's name or its version" in str(caught.value)


def test_a_name_that_no_partition_can_have_is_refused_before_the_build(tmp_path: Path) -> None:
    """A variant with it is wrong from the start, not only once its root has been made."""
    file = tmp_path / "variant.toml"
    file.write_text(
        'name = "a-name-of-twenty-five-ab"\ninherit = ["standalone"]\nversion = "1.2"\n'
    )

    with pytest.raises(UserError, match=r"variant\.toml: its partitions would be called") as caught:
        pipeline.plan(str(file), cache=tmp_path / "cache", locked=True, progress=SILENT)

    assert "'bulkhead-a-name-of-twenty-five-ab_1.2'" in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_no_path_of_the_machine_gets_into_reparts_files(tmp_path: Path) -> None:
    """There "%" is expanded and ":" separates; `%2F` is in the names of many CI systems."""
    folder, repart = tmp_path / "50%off", EmptyRepart()
    folder.mkdir()

    with pytest.raises(HostError):
        attempt(folder, tools=repart)

    assert "CopyBlocks=/proc/self/cwd/root\n" in repart.definitions
    assert str(tmp_path) not in repart.definitions
    assert "%" not in repart.definitions


def test_an_image_without_its_content_is_no_success(tmp_path: Path) -> None:
    """What repart left out is named, and nothing appears."""
    with pytest.raises(
        HostError,
        match="made a disk image without the EFI programs and the root and its hash tree",
    ) as caught:
        attempt(tmp_path, tools=EmptyRepart())

    assert "run it again with --debug" in str(caught.value)
    assert not (tmp_path / "disk.raw").exists()
