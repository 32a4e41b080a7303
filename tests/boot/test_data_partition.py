"""A data partition with damage: repaired at the next start, with nobody there to be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(600)

PROBE = Path(__file__).parent / "probe"
# Says what the check of this start found, and then makes the kernel mark the file system as damaged:
# any text does (ext4's sysfs file trigger_fs_error).
SAY = """[Unit]
After=containerd.service
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=journal+console
ExecStart=journalctl --boot --unit=bulkhead-data-check.service --output=cat
ExecStart=systemctl show --property=ActiveState containerd.service
"""
HARM = """[Unit]
After=say.service
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=file:/sys/fs/ext4/vda6/trigger_fs_error
ExecStart=systemctl --version
ExecStart=systemctl poweroff
"""


def start(vm: VM) -> str:
    """Return what the check of the data partition said at a start; the machine ends itself."""
    vm.wait_for_line(r"ActiveState=active")
    assert vm.wait_for_end(timeout_s=120) == 0
    return vm.console


def test_a_damaged_file_system_is_repaired_at_the_next_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The second start finds the mark, checks everything, and the node comes up with its data."""
    image = images.build(tmp_path_factory.mktemp("probe"), str(PROBE))
    units = {"say.service": SAY, "harm.service": HARM}
    spec = images.direct(image)
    with VM(image.disk, spec=spec, disk_size=images.DISK_SIZE, units=units) as vm:
        first = start(vm)
        vm.start()
        second = start(vm)

    assert "contains a file system with errors" not in first
    assert "contains a file system with errors, check forced" in second
