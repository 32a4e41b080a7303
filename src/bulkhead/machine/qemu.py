"""From a machine's description to QEMU's command line. Pure: reads and writes nothing.

Everything is given explicitly (`-nodefaults`), so a machine has the devices
that its description says and no others.
"""

from __future__ import annotations

from bulkhead.machine import files
from bulkhead.machine.spec import (
    Accelerator,
    Board,
    Bus,
    DirectKernel,
    Disk,
    Firmware,
    MachineSpec,
)
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError

FIRMWARE_DIRECTORY = "/usr/share/OVMF"
CODE = f"{FIRMWARE_DIRECTORY}/OVMF_CODE_4M.fd"
CODE_SECURE_BOOT = f"{FIRMWARE_DIRECTORY}/OVMF_CODE_4M.secboot.fd"
EMPTY_VARIABLES = f"{FIRMWARE_DIRECTORY}/OVMF_VARS_4M.fd"

GUEST_ADDRESS = "10.0.2.15"
"""What QEMU's own DHCP server gives the first guest."""


TCG_KERNEL_OPTION = "no_timer_check"
"""Of kernels under emulation: on a busy workstation the clock can stand still while the kernel
looks whether its timer works, and it stops with "IO-APIC + timer doesn't work"."""

_PORTS = 4
"""Of virtio serial: the console's that no machine has, readiness, a report, and the one that
asks a machine to power off. The guest sets up two queues for each that there might be; QEMU's 31
would cost it 4 MiB."""


def command_line(spec: MachineSpec, *, arch: Architecture) -> list[str]:
    """Return the command that runs `spec` with the machine's directory as working directory.

    Raises:
        UserError: the parts of `spec` do not go together.
    """
    _check(spec)
    return [
        arch.qemu,
        "-name", f"bulkhead-{spec.name}",
        "-nodefaults", "-no-user-config", "-display", "none",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        *_board(spec, arch),
        "-m", f"{spec.memory_mib}M",
        "-smp", str(spec.cpus),
        *_boot(spec),
        *_disks(spec),
        *_network(spec),
        *_channels(spec),
        *_identity(spec),
        *_behaviour(spec),
    ]  # fmt: skip


def _check(spec: MachineSpec) -> None:
    if spec.board is Board.MICROVM:
        if isinstance(spec.boot, Firmware):
            raise UserError("a microvm has no firmware", hint="boot a kernel directly")
        if any(disk.bus is Bus.NVME for disk in spec.disks):
            raise UserError("a microvm has no PCI bus for an NVMe disk", hint="use virtio")
        if spec.watchdog:
            raise UserError("a microvm has no PCI bus for a watchdog")
    if spec.instructions_shift is not None and spec.accelerator is Accelerator.KVM:
        raise UserError("instructions can only be counted with TCG", hint="use --accel tcg")


def _device(spec: MachineSpec, name: str, *properties: str) -> list[str]:
    """Return a virtio device on the bus that the board has."""
    suffix = "device" if spec.board is Board.MICROVM else "pci"
    return ["-device", ",".join((f"{name}-{suffix}", *properties))]


def _board(spec: MachineSpec, arch: Architecture) -> list[str]:
    kvm = spec.accelerator is Accelerator.KVM
    accelerator = spec.accelerator.value
    if spec.instructions_shift is not None:
        accelerator += ",thread=single"
    emulated = arch.qemu_baseline if spec.baseline_processor else "max"
    arguments = ["-accel", accelerator, "-cpu", "host" if kvm else emulated]
    if spec.board is Board.MICROVM:
        return ["-machine", "microvm,rtc=on", *arguments]
    # System management mode is only needed to protect Secure Boot's variables.
    secure = isinstance(spec.boot, Firmware) and spec.boot.secure_boot
    machine = f"{arch.qemu_machine},smm={'on' if secure else 'off'}"
    # No disk of ours is a SATA disk: the board's empty controller would cost each guest 2.6 MiB
    # and the search of six ports.
    return ["-machine", f"{machine},sata=off", *arguments]


def _boot(spec: MachineSpec) -> list[str]:
    if isinstance(spec.boot, DirectKernel):
        arguments = ["-kernel", str(spec.boot.kernel)]
        if spec.boot.initrd is not None:
            arguments += ["-initrd", str(spec.boot.initrd)]
        return [*arguments, "-append", _command_line(spec, spec.boot)]
    code = CODE_SECURE_BOOT if spec.boot.secure_boot else CODE
    arguments = [
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
        "-drive", f"if=pflash,unit=1,format=raw,file={files.VARIABLES}",
    ]  # fmt: skip
    if spec.boot.secure_boot:
        # edk2's OvmfPkg/README: only SMM may write variables; S3 would get around it.
        arguments += [
            "-global", "driver=cfi.pflash01,property=secure,value=on",
            "-global", "ICH9-LPC.disable_s3=1",
        ]  # fmt: skip
    return arguments


def _command_line(spec: MachineSpec, boot: DirectKernel) -> str:
    """Return the kernel's command line."""
    if spec.board is Board.MICROVM and spec.credentials:
        raise UserError(
            "a microvm has no SMBIOS for credentials",
            hint="put systemd.set_credential_binary=NAME:BASE64 on the kernel command line",
        )
    extra = [TCG_KERNEL_OPTION] if spec.accelerator is Accelerator.TCG else []
    return " ".join([boot.command_line, *extra])


def _disks(spec: MachineSpec) -> list[str]:
    arguments = []
    for index, disk in enumerate(spec.disks):
        # Writes are in the host's page cache when the guest flushes: a killed QEMU is a fair
        # power cut for the guest as long as the host lives. `unsafe` would not be.
        arguments += [
            "-drive",
            f"if=none,id=disk{index},file={files.overlay(index)},format=qcow2,"
            "cache=writeback,discard=unmap",
            *_disk_device(spec, disk, index),
        ]
    return arguments


def _disk_device(spec: MachineSpec, disk: Disk, index: int) -> list[str]:
    properties = [f"drive=disk{index}", f"serial=disk{index}"]
    if isinstance(spec.boot, Firmware):
        properties.append(f"bootindex={index}")
    if disk.bus is Bus.NVME:
        return ["-device", ",".join(("nvme", *properties))]
    return _device(spec, "virtio-blk", *properties)


def _network(spec: MachineSpec) -> list[str]:
    if not spec.network:
        return []
    forwards = [
        f"hostfwd=tcp:127.0.0.1:{forward.host_port}-{GUEST_ADDRESS}:{forward.guest_port}"
        for forward in spec.forwards
    ]
    # No boot ROM: nobody boots over this network.
    rom = [] if spec.board is Board.MICROVM else ["romfile="]
    return [
        "-netdev", ",".join(("user,id=network", *forwards)),
        *_device(spec, "virtio-net", "netdev=network", *rom),
    ]  # fmt: skip


def _channels(spec: MachineSpec) -> list[str]:
    return [
        # A file and not a socket with a log: when whoever reads the socket is late, QEMU writes
        # characters twice into the log.
        "-chardev", f"file,id=console,path={files.CONSOLE_LOG},append=on",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=qmp,path={files.QMP_SOCKET},server=on,wait=off",
        "-mon", "chardev=qmp,mode=control",
        *_ports(spec),
        *_device(spec, "virtio-rng"),
    ]  # fmt: skip


def _ports(spec: MachineSpec) -> list[str]:
    """Return the bus for ports of virtio serial and what is on it from the start."""
    if not (spec.ready or spec.report):
        return []
    return [
        *_device(spec, "virtio-serial", f"max_ports={_PORTS}"),
        *(_ready() if spec.ready else []),
        *(_report() if spec.report else []),
    ]


def _ready() -> list[str]:
    return [
        # A FIFO and not a socket: while no one is connected to a socket, the guest's write blocks.
        "-chardev", f"pipe,id=ready,path={files.READY}",
        "-device", f"virtserialport,chardev=ready,name={files.READY_PORT}",
    ]  # fmt: skip


def _report() -> list[str]:
    return [
        "-chardev", f"file,id=report,path={files.REPORT},append=on",
        "-device", f"virtserialport,chardev=report,name={files.REPORT_PORT}",
    ]  # fmt: skip


def _identity(spec: MachineSpec) -> list[str]:
    if spec.board is Board.MICROVM:
        return []
    system = ["type=1", "manufacturer=Bulkhead", "product=Virtual Machine"]
    if spec.serial:
        system.append(f"serial={_escape(spec.serial)}")
    if spec.uuid:
        system.append(f"uuid={spec.uuid}")
    arguments = ["-smbios", ",".join(system)]
    for index in range(len(spec.credentials)):
        arguments += ["-smbios", f"type=11,path={files.credential(index)}"]
    if spec.accelerator is Accelerator.TCG and isinstance(spec.boot, Firmware):
        # systemd-stub(7); it takes no options from outside once Secure Boot is on.
        option = f"io.systemd.stub.kernel-cmdline-extra={TCG_KERNEL_OPTION}"
        arguments += ["-smbios", f"type=11,value={option}"]
    return arguments


def _behaviour(spec: MachineSpec) -> list[str]:
    arguments = []
    if spec.watchdog:
        arguments += ["-device", "i6300esb", "-action", "watchdog=reset"]
    if not spec.reboots:
        arguments.append("-no-reboot")
    if spec.instructions_shift is not None:
        arguments += ["-icount", f"shift={spec.instructions_shift}"]
    return arguments


def _escape(value: str) -> str:
    """Return `value` as QEMU's option parser wants it: a comma is written twice."""
    return value.replace(",", ",,")
