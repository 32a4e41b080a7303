"""The initrd finds its root on every disk, and nothing that was changed is started.

Machines end at a reset here, so an attack that works as it should ends the
machine with a reason on its console, before systemd ran.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bulkhead.machine.spec import Accelerator, Bus, Disk, Firmware, MachineSpec
from bulkhead.testing.vm import VM
from tests.support import images
from tests.support.images import Image

pytestmark = pytest.mark.timeout(400)

ROOT_A, VERITY_A = 2, 3
SUPERBLOCK_AT = 1024
"""Of erofs: the first thing that is read of the root."""
STARTED = "systemd[1]"
MACHINE = MachineSpec(
    name="test", boot=Firmware(), accelerator=Accelerator.TCG, baseline_processor=True, reboots=False,
    network=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the standalone image."""
    return images.build(tmp_path_factory.mktemp("standalone"))


def direct(image: Image, *, command_line: str | None = None) -> MachineSpec:
    """Return a machine whose kernel QEMU starts, with all messages on the console."""
    kernel = image.kernel(command_line or image.command_line())
    return msgspec.structs.replace(MACHINE, boot=kernel)


@pytest.mark.parametrize("bus", list(Bus))
def test_starts_from_the_firmware_on_every_disk(image: Image, bus: Bus) -> None:
    """Firmware, start program, systemd-boot, UKI, init, verity, systemd, containerd."""
    spec = msgspec.structs.replace(
        MACHINE, disks=(Disk(image=image.disk, bus=bus, size=images.DISK_SIZE),)
    )

    with VM(spec=spec) as vm:
        assert vm.failed_units() == 0


@pytest.mark.parametrize("bus", list(Bus))
def test_starts_directly_from_every_disk_and_knows_its_slot(image: Image, bus: Bus) -> None:
    """Without firmware the same initrd and command line do the same."""
    spec = msgspec.structs.replace(
        direct(image), disks=(Disk(image=image.disk, bus=bus, size=images.DISK_SIZE),)
    )

    with VM(spec=spec) as vm:
        slot = vm.wait_for_line(r"bulkhead-init: slot (\w), root (\w+), verity (\w+)")
        vm.wait_until_ready()

    name = {Bus.VIRTIO: "vda", Bus.NVME: "nvme0n1p"}[bus]
    assert slot.groups() == ("a", f"{name}2", f"{name}3")


def test_a_damaged_primary_table_does_not_cost_the_node_its_disk(image: Image) -> None:
    """A power cut while the table is rewritten: the backup in the last block is used."""
    spec = direct(image, command_line=f"{image.command_line()} gpt")
    vm = VM(image.disk, spec=spec)

    with closing(vm):
        vm.prepare()
        vm.corrupt(images.BLOCK + 20)
        vm.start()
        slot = vm.wait_for_line(r"bulkhead-init: slot (\w), root (\w+)")

    assert slot.groups() == ("a", "vda2")


@pytest.fixture
def attacked() -> Callable[[VM], str]:
    """Return a function that starts a machine, waits for its reset, and returns its console."""

    def run(vm: VM) -> str:
        with closing(vm):
            if not (vm.directory / "disk0.qcow2").exists():
                vm.prepare()
            vm.start()
            assert vm.wait_for_end(timeout_s=180) == 0
            return vm.console

    return run


def corrupted(vm: VM, offset: int) -> VM:
    """Change one byte of the machine's disk."""
    vm.prepare()
    vm.corrupt(offset)
    return vm


def test_a_changed_byte_of_the_root_restarts_the_machine(
    image: Image, attacked: Callable[[VM], str]
) -> None:
    """The kernel finds it when it reads the block; the file system is not even mounted."""
    offset = images.start_of(image.disk, ROOT_A) + SUPERBLOCK_AT

    console = attacked(corrupted(VM(image.disk, spec=direct(image)), offset))

    assert "verity: 254:2: data block 0 is corrupted" in console
    assert STARTED not in console


def test_a_changed_byte_of_a_program_restarts_the_machine(
    image: Image, attacked: Callable[[VM], str]
) -> None:
    """PID 1 itself is checked block by block as it is read."""
    root = image.path("root")
    argv = ["dump.erofs", "-e", "--path=/usr/lib/systemd/systemd", str(root)]
    extents = images.image_tools().run(argv, reads=[root]).stdout.decode()
    # "   0:        0..   65536 |   65536 :    8192..   40960 |   32768"
    first = next(line for line in extents.splitlines() if line.lstrip().startswith("0:"))
    inside = int(first.split("|")[1].split(":")[1].split("..")[0])
    offset = images.start_of(image.disk, ROOT_A) + inside + 100

    console = attacked(corrupted(VM(image.disk, spec=direct(image)), offset))

    assert f"verity: 254:2: data block {(inside + 100) // 4096} is corrupted" in console
    assert STARTED not in console


@pytest.mark.parametrize(
    ("offset", "says"),
    [
        (4096 + 5, "verity: 254:2: metadata block 1 is corrupted"),
        (100, "is corrupted"),  # in the salt, which the superblock holds unprotected
        (0, "bulkhead-init: cannot start this slot: /dev/vda3: no verity superblock"),
    ],
)
def test_a_changed_byte_of_the_hash_tree_restarts_the_machine(
    image: Image, attacked: Callable[[VM], str], offset: int, says: str
) -> None:
    """Neither the tree nor its superblock can be changed without notice."""
    at = images.start_of(image.disk, VERITY_A) + offset

    console = attacked(corrupted(VM(image.disk, spec=direct(image)), at))

    assert says in console
    assert STARTED not in console


def test_partitions_that_are_missing_are_told(image: Image, tmp_path: Path) -> None:
    """They are named by the root hash: with another one there are none; and a root alone cannot be
    checked, so it is as good as absent. The machine waits, says so, and restarts.
    """
    other = direct(image, command_line=image.command_line(roothash="0" * 64))
    alone = images.without_partition(image.disk, tmp_path / "disk.raw", VERITY_A)

    # Both wait for half a minute.
    with VM(image.disk, spec=other) as first, VM(alone, spec=direct(image)) as second:
        ends = [vm.wait_for_end(timeout_s=180) for vm in (first, second)]
        consoles = [vm.console for vm in (first, second)]

    assert ends == [0, 0]
    assert "was not found in 30 s: no disk has partitions of this root hash" in consoles[0]
    assert "was not found in 30 s: the verity partition is missing" in consoles[1]
    assert STARTED not in "".join(consoles)


def test_a_command_line_without_root_hash_starts_nothing(
    image: Image, attacked: Callable[[VM], str]
) -> None:
    """There is no default root, and root= is not one."""
    line = image.command_line(root="/dev/vda2").replace("roothash=", "not=")

    console = attacked(VM(image.disk, spec=direct(image, command_line=line)))

    assert "kernel command line: roothash= is missing" in console
    assert STARTED not in console
