"""The one table that knows CPU architectures.

Everything that differs between architectures is a column here: a new
architecture is a new row. Partition types are those of the Discoverable
Partitions Specification (uapi-group.org/specifications).
"""

from __future__ import annotations

import msgspec

from bulkhead.model.errors import UserError


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """What one CPU architecture is called by everyone whom we talk to."""

    debian: str
    """Debian's name, also used in file names and variants."""
    oci: str
    """`architecture` of an OCI image configuration."""
    triplet: str
    """GNU triplet: the directory of shared libraries below `usr/lib`."""
    dynamic_loader: str
    """Path of the ELF interpreter inside a root, without the leading slash."""
    elf_machine: str
    """`e_machine` as pyelftools names it."""
    efi_suffix: str
    """As in `BOOTX64.EFI` and `systemd-bootx64.efi` (UEFI 3.5.1.1)."""
    kernel_package: str
    root_partition_type: str
    verity_partition_type: str
    qemu: str
    """Name of the QEMU system emulator."""
    qemu_machine: str
    qemu_baseline: str
    """Processor with what every program in Debian's packages may count on, and no more."""
    qemu_package: str
    firmware_package: str
    console: str
    """Serial console of the machines that we start."""


AMD64 = Architecture(
    debian="amd64",
    oci="amd64",
    triplet="x86_64-linux-gnu",
    dynamic_loader="lib64/ld-linux-x86-64.so.2",
    elf_machine="EM_X86_64",
    efi_suffix="x64",
    kernel_package="linux-image-cloud-amd64",
    root_partition_type="4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    verity_partition_type="2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
    qemu="qemu-system-x86_64",
    qemu_machine="q35",
    qemu_baseline="qemu64",
    qemu_package="qemu-system-x86",
    firmware_package="ovmf",
    console="ttyS0",
)

ARCHITECTURES = {row.debian: row for row in (AMD64,)}


def architecture(name: str) -> Architecture:
    """Return the row of `name` (Debian's name of the architecture).

    Raises:
        UserError: no such row.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UserError(
            f"architecture {name!r} is not supported", hint=f"supported: {known}"
        ) from None
