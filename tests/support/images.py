"""Images for boot tests: the standalone variant, whole or put together again with a change."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec

from bulkhead.build import disk, pipeline, uki
from bulkhead.build.formats import copy_sparse
from bulkhead.build.keys import Keys
from bulkhead.build.tools import Tools, tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.machine.spec import Accelerator, DirectKernel, MachineSpec
from bulkhead.model.arch import AMD64
from bulkhead.model.manifest import Manifest
from tests.support import gpt

BLOCK = 512
# Room for the data partition, which the node makes at its first start.
DISK_SIZE = 4 << 30


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A built image and its parts."""

    directory: Path
    manifest: Manifest

    def path(self, kind: str) -> Path:
        """Return the output of this kind."""
        output = next(output for output in self.manifest.outputs if output.kind == kind)
        return self.directory / output.file

    @property
    def disk(self) -> Path:
        """The raw disk image."""
        return self.path("disk")

    def kernel(self, command_line: str | None = None) -> DirectKernel:
        """Return how QEMU starts it, without firmware: with its own command line, or another."""
        return DirectKernel(
            kernel=self.path("kernel"),
            initrd=self.path("initrd"),
            command_line=command_line or self.manifest.command_line,
        )

    def command_line(self, **changes: str) -> str:
        """Return the kernel's command line, with everything on the console and quick failures."""
        words = [*self.manifest.command_line.split(), "loglevel=7", "panic=1"]
        values = {"roothash": self.manifest.root_hash, **changes}
        kept = [word for word in words if word.partition("=")[0] not in values]
        return " ".join([*kept, *(f"{key}={value}" for key, value in values.items())])


def image_tools() -> Tools:
    """Return the tools that make images."""
    return tools("image", cache=cache_dir(), progress=SILENT)


def build(directory: Path, variant: str = "standalone") -> Image:
    """Build a variant into `directory`."""
    manifest = pipeline.build_variant(variant, out=directory, progress=SILENT)
    return Image(directory=directory, manifest=manifest)


def direct(image: Image) -> MachineSpec:
    """Return a machine whose kernel QEMU starts, for tests of what comes after the boot loader.

    Firmware and boot loader take a third of a start; those who start by them are tested elsewhere,
    as is a processor with more than the baseline.
    """
    return MachineSpec(
        name="test", boot=image.kernel(), accelerator=Accelerator.TCG, baseline_processor=True,
        reboots=False,
    )  # fmt: skip


def signed_disk(image: Image, out: Path, *, keys: Keys | None) -> Path:
    """Put the parts of `image` together with a talkative UKI that `keys` sign."""
    facts = image.manifest
    kernel = out.with_suffix(".efi")
    uki.make(
        kernel, arch=AMD64, kernel=image.path("kernel"), initrd=image.path("initrd"),
        cmdline=image.command_line(), os_release="ID=bulkhead\nVERSION_ID=1\n",
        uname=facts.kernel_release, tools=image_tools(), keys=keys, epoch=facts.epoch,
    )  # fmt: skip
    disk.make(
        out, arch=AMD64, layout=disk.DiskLayout(), root=image.path("root"),
        boot=disk.boot(kernel, arch=AMD64, tools=image_tools(), keys=keys),
        hash_tree=image.path("verity"), root_hash=facts.root_hash, name="test", version="1",
        tools=image_tools(), epoch=facts.epoch,
    )  # fmt: skip
    return out


def partitions(path: Path) -> list[gpt.Partition]:
    """Return the partitions of a raw disk image, by its primary table."""
    with path.open("rb") as file:
        file.seek(2 * BLOCK)
        raw = file.read(gpt.ENTRIES * gpt.ENTRY)
    rows = (raw[at : at + gpt.ENTRY] for at in range(0, len(raw), gpt.ENTRY))
    return [gpt.parse(row) for row in rows if any(row[:16])]


def start_of(path: Path, number: int) -> int:
    """Return the offset in bytes of partition `number`, counted from 1."""
    return partitions(path)[number - 1].first * BLOCK


def without_partition(source: Path, target: Path, number: int) -> Path:
    """Copy a disk image and delete a partition from both of its tables, checksums made right."""
    copy_sparse(source, target)
    size = source.stat().st_size
    with target.open("r+b") as file:
        for header_at in (BLOCK, size - BLOCK):
            file.seek(header_at)
            header = bytearray(file.read(92))
            (table_block,) = struct.unpack_from("<Q", header, 72)
            file.seek(table_block * BLOCK)
            rows = bytearray(file.read(gpt.ENTRIES * gpt.ENTRY))
            rows[(number - 1) * gpt.ENTRY : number * gpt.ENTRY] = bytes(gpt.ENTRY)
            struct.pack_into("<I", header, 88, zlib.crc32(rows))
            struct.pack_into("<I", header, 16, 0)
            struct.pack_into("<I", header, 16, zlib.crc32(header))
            file.seek(table_block * BLOCK)
            file.write(rows)
            file.seek(header_at)
            file.write(header)
    return target
