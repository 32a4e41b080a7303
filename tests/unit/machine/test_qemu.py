"""The command line of a machine, from its description."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bulkhead.machine import qemu
from bulkhead.machine.spec import (
    Accelerator,
    Board,
    Bus,
    DirectKernel,
    Disk,
    Firmware,
    Forward,
    MachineSpec,
)
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import UserError

SPEC = MachineSpec(
    name="one",
    boot=Firmware(),
    accelerator=Accelerator.TCG,
    disks=(Disk(image=Path("/images/a,b.raw")),),
    forwards=(Forward(host_port=40000, guest_port=80),),
    credentials=("token",),
)
KERNEL = DirectKernel(kernel=Path("/k"), initrd=Path("/i"), command_line="roothash=0 quiet")


def options(spec: MachineSpec) -> list[tuple[str, str]]:
    """Return the options and their values."""
    argv = qemu.command_line(spec, arch=AMD64)
    pairs = []
    for index, word in enumerate(argv):
        if word.startswith("-"):
            following = argv[index + 1] if index + 1 < len(argv) else ""
            pairs.append((word, "" if following.startswith("-") else following))
    return pairs


def values(spec: MachineSpec, option: str) -> list[str]:
    """Return all values of one option."""
    return [value for name, value in options(spec) if name == option]


def changed(**fields: object) -> MachineSpec:
    """Return `SPEC` with some fields changed."""
    return msgspec.structs.replace(SPEC, **fields)


def test_a_plain_processor_is_emulated_and_never_asked_of_kvm() -> None:
    """KVM gives the machine the workstation's own, whatever the test would be content with."""
    plain = qemu.command_line(changed(baseline_processor=True), arch=AMD64)
    own = qemu.command_line(
        changed(baseline_processor=True, accelerator=Accelerator.KVM), arch=AMD64
    )

    assert [line[line.index("-cpu") + 1] for line in (plain, own)] == ["qemu64", "host"]


def test_boots_an_image_by_firmware() -> None:
    """The whole command line of the usual machine."""
    assert qemu.command_line(SPEC, arch=AMD64) == [
        "qemu-system-x86_64",
        "-name", "bulkhead-one",
        "-nodefaults", "-no-user-config", "-display", "none",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-machine", "q35,smm=off,sata=off", "-accel", "tcg", "-cpu", "max",
        "-m", "1024M", "-smp", "2",
        "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
        "-drive", "if=pflash,unit=1,format=raw,file=variables.fd",
        "-drive", "if=none,id=disk0,file=disk0.qcow2,format=qcow2,cache=writeback,discard=unmap",
        "-device", "virtio-blk-pci,drive=disk0,serial=disk0,bootindex=0",
        "-netdev", "user,id=network,hostfwd=tcp:127.0.0.1:40000-10.0.2.15:80",
        "-device", "virtio-net-pci,netdev=network,romfile=",
        "-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console",
        "-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off",
        "-mon", "chardev=qmp,mode=control",
        "-device", "virtio-serial-pci,max_ports=4",
        "-chardev", "pipe,id=ready,path=ready",
        "-device", "virtserialport,chardev=ready,name=org.bulkhead.ready",
        "-device", "virtio-rng-pci",
        "-smbios", "type=1,manufacturer=Bulkhead,product=Virtual Machine",
        "-smbios", "type=11,path=credential0",
        "-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=no_timer_check",
    ]  # fmt: skip


def test_never_names_the_image() -> None:
    """The image is behind the overlay: nothing on the command line can write to it."""
    assert not any("a,b.raw" in word for word in qemu.command_line(SPEC, arch=AMD64))


def test_shows_no_secret() -> None:
    """A credential's value is read from a file, since every user can read a command line."""
    assert values(SPEC, "-smbios")[1] == "type=11,path=credential0"


def test_boots_a_kernel_directly() -> None:
    """Kernel, initrd and command line go to QEMU; there is no firmware."""
    spec = changed(boot=KERNEL)

    assert values(spec, "-kernel") == ["/k"]
    assert values(spec, "-initrd") == ["/i"]
    assert values(spec, "-append") == ["roothash=0 quiet no_timer_check"]
    assert not any("pflash" in value for value in values(spec, "-drive"))


def test_microvm_has_no_pci() -> None:
    """All devices of a microvm are on its own bus."""
    spec = changed(boot=KERNEL, board=Board.MICROVM, credentials=())

    assert values(spec, "-machine") == ["microvm,rtc=on"]
    assert not any("-pci" in value for value in values(spec, "-device"))


def test_attaches_an_nvme_disk() -> None:
    """The disk's bus is chosen for each disk."""
    spec = changed(disks=(Disk(image=Path("/a"), bus=Bus.NVME), Disk(image=Path("/b"))))

    assert values(spec, "-device")[:2] == [
        "nvme,drive=disk0,serial=disk0,bootindex=0",
        "virtio-blk-pci,drive=disk1,serial=disk1,bootindex=1",
    ]


def test_secure_boot_protects_the_variables() -> None:
    """With Secure Boot only system management mode may write to the variable store."""
    spec = changed(boot=Firmware(secure_boot=True))

    assert values(spec, "-machine") == ["q35,smm=on,sata=off"]
    assert "OVMF_CODE_4M.secboot.fd" in values(spec, "-drive")[0]
    assert values(spec, "-global") == [
        "driver=cfi.pflash01,property=secure,value=on",
        "ICH9-LPC.disable_s3=1",
    ]


def test_leaves_out_the_port_for_readiness() -> None:
    """A machine whose memory is measured has no virtio serial device."""
    with_port, without = options(SPEC), options(changed(ready=False))

    assert [option for option in with_port if option not in without] == [
        ("-device", "virtio-serial-pci,max_ports=4"),
        ("-chardev", "pipe,id=ready,path=ready"),
        ("-device", "virtserialport,chardev=ready,name=org.bulkhead.ready"),
    ]


def test_counts_instructions_on_one_thread() -> None:
    """Comparable times need one thread and a fixed step."""
    spec = changed(instructions_shift=3)

    assert values(spec, "-accel") == ["tcg,thread=single"]
    assert values(spec, "-icount") == ["shift=3"]


def test_resets_by_watchdog_and_ends_on_reset() -> None:
    """Tests see a reset as the machine's end."""
    spec = changed(watchdog=True, reboots=False)

    assert ("-device", "i6300esb") in options(spec)
    assert ("-action", "watchdog=reset") in options(spec)
    assert ("-no-reboot", "") in options(spec)


def test_gives_the_system_an_identity() -> None:
    """Serial number and UUID are the system's; a comma in them does not end the value."""
    spec = changed(serial="a,b", uuid="12345678-1234-1234-1234-123456789abc")

    assert values(spec, "-smbios")[0].endswith(
        "serial=a,,b,uuid=12345678-1234-1234-1234-123456789abc"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"board": Board.MICROVM}, "a microvm has no firmware\n  hint: boot a kernel directly"),
        (
            {
                "board": Board.MICROVM,
                "boot": KERNEL,
                "disks": (Disk(image=Path("/a"), bus=Bus.NVME),),
            },
            "a microvm has no PCI bus for an NVMe disk\n  hint: use virtio",
        ),
        (
            {"board": Board.MICROVM, "boot": KERNEL, "watchdog": True},
            "a microvm has no PCI bus for a watchdog",
        ),
        (
            {"board": Board.MICROVM, "boot": KERNEL},
            "a microvm has no SMBIOS for credentials\n"
            "  hint: put systemd.set_credential_binary=NAME:BASE64 on the kernel command line",
        ),
        (
            {"accelerator": Accelerator.KVM, "instructions_shift": 1},
            "instructions can only be counted with TCG\n  hint: use --accel tcg",
        ),
    ],
)
def test_refuses_what_does_not_go_together(fields: dict[str, object], message: str) -> None:
    """Contradictions are told before QEMU is started."""
    with pytest.raises(UserError) as failure:
        qemu.command_line(changed(**fields), arch=AMD64)

    assert str(failure.value) == message
