"""The disk image: GPT with the ESP and two slots, made without root and without loop devices.

    1  ESP            loader, start program, one UKI for each slot
    2  root A         erofs, as large as the layout says
    3  verity A       its hash tree
    4  root B         empty, filled by the first update
    5  verity B       empty
    (6 data           made by the node at its first boot, in the rest of the disk)

The slot that holds an image is found by the partition UUIDs, which follow
from the root hash; labels are for people.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import uuid as uuids
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from bulkhead.build import signing, verity
from bulkhead.build.keys import Keys
from bulkhead.lib.dirs import repository_root
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import HostError, UserError

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools

MIB = 1 << 20
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
# A partition label is 36 UTF-16 units (UEFI 5.3.3).
LABEL_LENGTH = 36
LOADER_CONF = "timeout 0\neditor no\nauto-firmware no\nauto-reboot no\nconsole-mode keep\n"
TRIES = 3
# What repart reads is in its working directory under these names. In its files it expands "%",
# splits at ":" and takes "\\" away, and it passes over lines that it cannot expand: no path of
# this machine may get into them.
HERE = "/proc/self/cwd"
ESP, ROOT, HASH_TREE = "esp", "root", "verity"


class DiskLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes that stay for the life of a node: an update must fit into them."""

    esp_mib: int = 256
    """Room for the loader and more than three UKIs of 40 MB."""
    root_mib: int = 512
    verity_mib: int = 8
    """The hash tree takes 0.8 % of the root: 4.1 MiB for 512 MiB."""

    data_mib: int = 512
    """Room for the data partition of a machine that starts from the image as it is; a larger
    disk gives it more."""

    def total_mib(self) -> int:
        """Return the size of the image: all partitions, and 1 MiB for each copy of the table."""
        return self.esp_mib + 2 * (self.root_mib + self.verity_mib) + self.data_mib + 2


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the ESP."""

    uki: Path
    """Signed already, if anything is."""
    loader: Path
    """systemd-boot, unsigned."""
    start: Path
    """The start program (native/start), unsigned."""
    keys: Keys | None = None
    """Sign the loader and the start program, and offer the keys for enrolment."""


def boot(
    uki: Path, *, arch: Architecture, tools: Tools, keys: Keys | None, start: Path | None = None
) -> Boot:
    """Return what belongs into the ESP beside `uki`: our start program and the tool tree's loader."""
    program = repository_root() / "native" / "start" / f"start.{arch.debian}.efi"
    loader = tools.root / "usr/lib/systemd/boot/efi" / f"systemd-boot{arch.efi_suffix}.efi"
    return Boot(uki=uki, loader=loader, start=start or program, keys=keys)


def partition_label(name: str, version: str, *, where: str | None = None) -> str:
    """Return the label of an image's partitions, which names its UKI too.

    Raises:
        UserError: a partition table has no room for it; with `where`.
    """
    label = f"{name}_{version}"
    if (excess := len(label) - LABEL_LENGTH) > 0:
        raise UserError(
            f"its partitions would be called {label!r}, which has {len(label)} characters instead"
            f" of {LABEL_LENGTH} at most",
            where=where, hint=f"take {excess} from the variant's name or its version",
        )  # fmt: skip
    return label


def make(
    out: Path,
    *,
    arch: Architecture,
    layout: DiskLayout,
    boot: Boot,
    root: Path,
    hash_tree: Path,
    root_hash: str,
    name: str,
    version: str,
    tools: Tools,
    epoch: int,
    seed: uuids.UUID | None = None,
) -> None:
    """Write the raw disk image, sparse, to `out`.

    Args:
        out: the result; it appears whole or not at all.
        arch: decides partition types and EFI file names.
        layout: sizes.
        boot: what goes into the ESP.
        root: the erofs image.
        hash_tree: its verity hash tree.
        root_hash: names the partitions.
        name: of the variant; with `version` it is the label and the UKI's name.
        version: of the image.
        tools: a tool tree with systemd-repart, mkfs.fat and mtools.
        epoch: time of the files in the ESP.
        seed: of the other partition UUIDs and the disk's; derived from the root hash by default.

    Raises:
        UserError: an image does not fit into its slot, or the label is too long.
        HostError: a tool failed, or the disk is full.
    """
    label = partition_label(name, version)
    _check_fits(root, layout.root_mib, "the root image", "root_mib")
    _check_fits(hash_tree, layout.verity_mib, "the verity hash tree", "verity_mib")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch_name:
        scratch = Path(scratch_name)
        esp, definitions, image = scratch / ESP, scratch / "repart.d", scratch / "disk.raw"
        _write_esp(
            esp, arch=arch, boot=boot, entry=f"{label}+{TRIES}-0.efi", tools=tools, epoch=epoch
        )
        _check_fits_esp(esp, layout)
        for name_inside, source in ((ROOT, root), (HASH_TREE, hash_tree)):
            (scratch / name_inside).symlink_to(os.path.abspath(source))
        _write_definitions(definitions, arch=arch, layout=layout, root_hash=root_hash, label=label)
        argv = [
            "systemd-repart", "--offline=yes", "--empty=create", f"--size={layout.total_mib()}M",
            f"--seed={seed or uuids.UUID(root_hash[:32])}", f"--definitions={definitions}",
            # Without it the ESP's FAT has sectors of 4096 bytes, which firmware
            # cannot read from a disk with sectors of 512.
            "--sector-size=512", "--dry-run=no", "--pretty=no", "--no-pager", str(image),
        ]  # fmt: skip
        tools.run(
            argv, reads=[root, hash_tree], writes=[scratch], cwd=scratch,
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )  # fmt: skip
        _check_content(image, layout=layout, root=root, hash_tree=hash_tree)
        os.chmod(image, 0o644)
        os.replace(image, out)


def _check_content(image: Path, *, layout: DiskLayout, root: Path, hash_tree: Path) -> None:
    """Refuse an image without what was to be copied into it, which repart may call a success.

    It reads a few blocks, where the partitions are by the layout: that the whole is there is not
    in doubt once the beginning and the end are.
    """
    esp_at = MIB
    root_at = esp_at + layout.esp_mib * MIB
    hash_tree_at = root_at + layout.root_mib * MIB
    with image.open("rb") as disk:
        missing = [] if _lists(disk, esp_at, b"EFI        ") else ["the EFI programs"]
        for what, source, start in (
            ("the root", root, root_at), ("its hash tree", hash_tree, hash_tree_at),
        ):  # fmt: skip
            if not _holds(disk, start, source):
                missing.append(what)
    if missing:
        raise HostError(
            f"systemd-repart made a disk image without {' and '.join(missing)}",
            hint="run it again with --debug before the command, and report what it shows",
        )


def _lists(disk: BinaryIO, start: int, name: bytes) -> bool:
    """Tell whether the root directory of the FAT32 at `start` has an entry of this name.

    Microsoft's "FAT: General Overview of On-Disk Format" has these fields.
    """
    disk.seek(start)
    boot = disk.read(512).ljust(512, b"\0")
    sector, sectors, reserved, tables = struct.unpack_from("<HBHB", boot, 11)
    length, cluster = struct.unpack_from("<I4xI", boot, 36)
    disk.seek(start + (reserved + tables * length + max(0, cluster - 2) * sectors) * sector)
    return name in disk.read(512)


def _holds(disk: BinaryIO, start: int, source: Path) -> bool:
    """Tell whether the first and the last block of `source` are at `start`."""
    with source.open("rb") as file:
        for at in (0, max(0, source.stat().st_size - verity.BLOCK)):
            file.seek(at)
            disk.seek(start + at)
            block = file.read(verity.BLOCK)
            if disk.read(len(block)) != block:
                return False
    return True


def _check_fits(image: Path, room_mib: int, what: str, key: str) -> None:
    size = image.stat().st_size
    if size > room_mib * MIB:
        raise UserError(
            f"{what} has {size / MIB:.1f} MiB, its partition {room_mib} MiB",
            where=str(image),
            hint=f"take something out of the image, or raise {key} of the disk layout",
        )


def _check_fits_esp(esp: Path, layout: DiskLayout) -> None:
    """Refuse an ESP that would have no room for the UKI of the next update."""
    used = sum(path.stat().st_size for path in esp.rglob("*") if path.is_file())
    entry = max(path.stat().st_size for path in (esp / "EFI/Linux").iterdir())
    # An update writes its UKI beside the two that are there; FAT itself takes some.
    needed = (used + 2 * entry) * 102 // 100 + MIB
    if needed > layout.esp_mib * MIB:
        raise UserError(
            f"the ESP needs {needed / MIB:.0f} MiB to hold three kernels, it has {layout.esp_mib} MiB",
            hint="raise esp_mib of the disk layout",
        )


def _write_esp(
    esp: Path, *, arch: Architecture, boot: Boot, entry: str, tools: Tools, epoch: int
) -> None:
    suffix = arch.efi_suffix
    programs = {
        f"EFI/BOOT/BOOT{suffix.upper()}.EFI": boot.start,
        f"EFI/systemd/systemd-boot{suffix}.efi": boot.loader,
    }
    for path, source in {**programs, f"EFI/Linux/{entry}": boot.uki}.items():
        target = esp / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if boot.keys is not None and path in programs:
            signing.sign(source, target, keys=boot.keys, tools=tools, epoch=epoch)
        else:
            shutil.copyfile(source, target)
    (esp / "loader").mkdir()
    (esp / "loader/loader.conf").write_text(LOADER_CONF)
    if boot.keys is not None:
        enrol = esp / "loader/keys/auto"
        enrol.mkdir(parents=True)
        for source in boot.keys.enrolment:
            shutil.copyfile(source, enrol / source.name)
    # FAT keeps times, and mtools takes them from these files.
    for made in sorted(esp.rglob("*"), reverse=True):
        os.chmod(made, 0o755 if made.is_dir() else 0o644)
        os.utime(made, (epoch, epoch))
    os.utime(esp, (epoch, epoch))


def _write_definitions(
    definitions: Path,
    *,
    arch: Architecture,
    layout: DiskLayout,
    root_hash: str,
    label: str,
) -> None:
    root_uuid, verity_uuid = verity.partition_uuids(root_hash)
    root_type, verity_type = arch.root_partition_type, arch.verity_partition_type
    rows = [
        ("10-esp", ESP_TYPE, "esp", layout.esp_mib, ["Format=vfat", f"CopyFiles={HERE}/{ESP}:/"]),
        (
            "20-root-a", root_type, label, layout.root_mib,
            [f"UUID={root_uuid}", f"CopyBlocks={HERE}/{ROOT}"],
        ),
        (
            "21-verity-a", verity_type, label, layout.verity_mib,
            [f"UUID={verity_uuid}", f"CopyBlocks={HERE}/{HASH_TREE}"],
        ),
        ("30-root-b", root_type, "_empty", layout.root_mib, []),
        ("31-verity-b", verity_type, "_empty", layout.verity_mib, []),
    ]  # fmt: skip
    definitions.mkdir()
    for file_name, kind, partition_label, mib, more in rows:
        lines = [
            "[Partition]", f"Type={kind}", f"Label={partition_label}",
            f"SizeMinBytes={mib}M", f"SizeMaxBytes={mib}M", *more,
        ]  # fmt: skip
        (definitions / f"{file_name}.conf").write_text("".join(f"{line}\n" for line in lines))
