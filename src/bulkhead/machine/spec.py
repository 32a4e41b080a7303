"""What a virtual machine is made of. Data only; `qemu.py` turns it into a command line."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import msgspec


class Accelerator(Enum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


class Board(Enum):
    """The machine that QEMU plays."""

    PC = "pc"
    """A PC with PCI Express: firmware, ACPI, SMBIOS."""
    MICROVM = "microvm"
    """A few virtio devices and nothing else; boots a kernel directly."""


class Bus(Enum):
    """How a disk is attached."""

    VIRTIO = "virtio"
    NVME = "nvme"


class Firmware(msgspec.Struct, frozen=True, kw_only=True, tag="firmware"):
    """UEFI starts what is on the first disk."""

    secure_boot: bool = False
    """Use the firmware that can enforce Secure Boot; it does once keys are enrolled."""
    variables: Path | None = None
    """Start with this variable store, for example one that holds keys, instead of an empty one."""


class DirectKernel(msgspec.Struct, frozen=True, kw_only=True, tag="kernel"):
    """QEMU starts a kernel by itself."""

    kernel: Path
    initrd: Path | None = None
    command_line: str = ""


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk whose writes go to an overlay; the image itself is never written to."""

    image: Path
    format: str = "raw"
    """Of the image: `raw` or `qcow2`."""
    bus: Bus = Bus.VIRTIO
    size: int | None = None
    """Bytes; larger than the image to give the guest room. The image's own size by default."""


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP port of the guest that answers on the workstation's loopback address."""

    host_port: int
    guest_port: int


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual machine.

    Files that belong to the machine itself (overlays, variable store, logs,
    sockets) have fixed names in its directory, see `files.py`.
    """

    name: str
    boot: Firmware | DirectKernel
    accelerator: Accelerator
    board: Board = Board.PC
    memory_mib: int = 1024
    cpus: int = 2
    baseline_processor: bool = False
    """With TCG, emulate the plainest processor that the architecture's packages run on, and not all
    that QEMU can, which is less work."""
    disks: tuple[Disk, ...] = ()
    forwards: tuple[Forward, ...] = ()
    network: bool = True
    ready: bool = True
    """Have the port by which the guest says that it is ready. Its driver keeps 12 MiB of
    buffers (with QEMU 10.0.13, whose queues are all as long as there can be)."""
    credentials: tuple[str, ...] = ()
    """Names of systemd credentials; their values are in the machine's directory, never on a
    command line, which every user can read."""
    uuid: str | None = None
    serial: str | None = None
    """Serial number of the system (SMBIOS)."""
    watchdog: bool = False
    """An Intel 6300ESB that resets the machine when the guest no longer feeds it."""
    reboots: bool = True
    """Without, a reset ends the machine, which is how tests see unwanted ones."""
    instructions_shift: int | None = None
    """Let 2^N ns of virtual time pass with each instruction: the same boot takes the same virtual
    time on any workstation. TCG only."""
    report: bool = False
    """A port whose words go to a file of their own: kernel and systemd write to the console
    whenever they like, in the middle of lines too."""
