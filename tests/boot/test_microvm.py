"""The same image as a microVM: no firmware, no PCI, and a power cut in the middle."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from bulkhead.machine.spec import Accelerator, Board, Disk, MachineSpec
from bulkhead.testing.vm import VM
from tests.support import images, node
from tests.support.images import Image

# A microVM has no SMBIOS to hand them over in.
CREDENTIALS = " ".join(
    f"systemd.set_credential_binary={name}:{base64.b64encode(value).decode()}"
    for name, value in node.CREDENTIALS.items()
)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the standalone image."""
    return images.build(tmp_path_factory.mktemp("standalone"))


def microvm(image: Image) -> MachineSpec:
    """Return a microVM that boots the image's kernel with the image's own command line."""
    return MachineSpec(
        name="test",
        boot=image.kernel(f"{image.manifest.command_line} {CREDENTIALS}"),
        board=Board.MICROVM,
        accelerator=Accelerator.TCG,
        disks=(Disk(image=image.disk, size=images.DISK_SIZE),),
        reboots=False,
        # The kernel tells the speed of a microVM's processor by a timer alone. While other work
        # holds the emulator up, that can fail for ever; counted time does not depend on it.
        instructions_shift=2,
    )


def test_boots_again_after_a_power_cut(image: Image) -> None:
    """Containerd answers with nothing failed, after the first boot and after a cut; the image
    itself is never written to. There is no boot loader that could be given parameters; whoever
    asks is told.
    """
    before = _digest(image.disk)
    with VM(spec=microvm(image), forwards=(node.PORT,)) as vm:
        first = vm.failed_units()
        vm.kill()
        vm.start()
        second = vm.failed_units()
        why = node.why_no_boot_parameters(vm)
        clean = vm.power_off()

    assert (first, second) == (0, 0)
    assert why == "this machine's kernel was not started by the boot loader of its disk"
    assert clean
    assert _digest(image.disk) == before


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
