"""Secure Boot: keys enrol themselves, and only what they signed is started."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bulkhead.build import keys as keysets
from bulkhead.build.formats import copy_sparse
from bulkhead.build.keys import Keys
from bulkhead.machine import files
from bulkhead.machine.spec import Accelerator, Firmware, MachineSpec
from bulkhead.testing.vm import VM
from tests.support import images, node
from tests.support.images import Image

pytestmark = pytest.mark.timeout(600)

SECURE = MachineSpec(
    name="test",
    boot=Firmware(secure_boot=True),
    accelerator=Accelerator.TCG,
    baseline_processor=True,
)
KERNEL_STARTED = "Linux version"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the standalone image."""
    return images.build(tmp_path_factory.mktemp("standalone"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Return a new set of keys."""
    directory = tmp_path_factory.mktemp("keys") / "set"
    keysets.make(directory)
    return keysets.load(directory)


@pytest.fixture(scope="module")
def signed(image: Image, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a disk whose EFI programs the keys signed."""
    return images.signed_disk(image, tmp_path_factory.mktemp("signed") / "disk.raw", keys=keys)


class Enrolled(msgspec.Struct, frozen=True):
    """A machine that has taken the keys in by itself."""

    spec: MachineSpec
    console: str
    """Of its first starts."""
    no_parameters: str
    """Why it takes no boot parameters of the settings."""


@pytest.fixture(scope="module")
def enrolled(signed: Path, tmp_path_factory: pytest.TempPathFactory) -> Enrolled:
    """Start a machine in setup mode, and ask it for a boot parameter."""
    variables = tmp_path_factory.mktemp("variables") / "variables.fd"
    with VM(
        signed, spec=SECURE, disk_size=images.DISK_SIZE, forwards=(node.PORT,),
        credentials=node.CREDENTIALS,
    ) as vm:  # fmt: skip
        vm.wait_until_ready()
        console = vm.console
        why = node.why_no_boot_parameters(vm)
        vm.power_off()
        shutil.copyfile(vm.directory / files.VARIABLES, variables)
    boot = Firmware(secure_boot=True, variables=variables)
    spec = msgspec.structs.replace(SECURE, boot=boot, reboots=False, network=False)
    return Enrolled(spec, console, why)


def test_the_first_start_enrols_the_keys_and_the_second_is_secure(enrolled: Enrolled) -> None:
    """A machine in setup mode needs nobody: it restarts once and is locked down."""
    assert "Custom Secure Boot keys successfully enrolled" in enrolled.console
    assert "secureboot: Secure boot enabled" in enrolled.console
    assert "Kernel is locked down from command line" in enrolled.console
    assert enrolled.console.count(KERNEL_STARTED) == 1


def test_boot_parameters_are_refused_with_the_reason(enrolled: Enrolled) -> None:
    """They would not be signed, and the node says so."""
    assert enrolled.no_parameters == (
        "Secure Boot is on, and the command line is part of what the image's key has signed"
    )


def test_a_changed_kernel_image_is_refused_and_the_machine_resets(
    enrolled: Enrolled, signed: Path
) -> None:
    """One bit of the command line: the firmware refuses the UKI, the start program resets."""
    with signed.open("rb") as file:
        file.seek(images.start_of(signed, 1))
        offset = images.start_of(signed, 1) + file.read(64 << 20).index(b"roothash=") + 20
    vm = VM(signed, spec=enrolled.spec)

    with closing(vm):
        vm.prepare()
        vm.corrupt(offset)
        vm.start()
        assert vm.wait_for_end(timeout_s=120) == 0
        console = vm.console

    assert "bulkhead: the boot loader did not start a system, resetting" in console
    assert KERNEL_STARTED not in console


def test_an_unsigned_boot_loader_does_not_run(
    enrolled: Enrolled, image: Image, tmp_path: Path
) -> None:
    """The same disk without signatures ends in the firmware."""
    unsigned = images.signed_disk(image, tmp_path / "disk.raw", keys=None)

    with VM(unsigned, spec=enrolled.spec) as vm:
        refused = vm.wait_for_line(r"failed to load Boot\d+ .*: Access Denied")
        console = vm.console

    assert refused
    assert KERNEL_STARTED not in console


def test_falls_back_to_the_old_kernel_image_when_the_new_one_is_refused(
    enrolled: Enrolled, signed: Path, tmp_path: Path
) -> None:
    """Three refusals use up the tries of the new entry; the old one starts with nobody near."""
    disk, esp = tmp_path / "disk.raw", f"@@{images.start_of(signed, 1)}"
    copy_sparse(signed, disk)
    bad = bytearray(signed.with_suffix(".efi").read_bytes())
    bad[bad.index(b"roothash=") + 20] ^= 1
    (tmp_path / "bad.efi").write_bytes(bad)
    images.image_tools().run(
        ["mcopy", "-i", f"{disk}{esp}", str(tmp_path / "bad.efi"), "::EFI/Linux/test_2+3-0.efi"],
        writes=[tmp_path],
    )
    spec = msgspec.structs.replace(enrolled.spec, reboots=True)

    with VM(disk, spec=spec, disk_size=images.DISK_SIZE) as vm:
        vm.wait_until_ready(timeout_s=400)
        console = vm.console

    assert console.count("the boot loader did not start a system, resetting") == 3
    assert console.count(KERNEL_STARTED) == 1
