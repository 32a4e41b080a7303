"""A machine whose firmware says nothing of it, and whose power button is pressed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(600)

PROBE = Path(__file__).parent / "probe"
# When all devices are there, the power button among them.
SAY = """[Unit]
After=systemd-journal-flush.service containerd.service sockets.target bulkhead-coldplug.service
DefaultDependencies=no
[Service]
Type=oneshot
ExecStartPre=udevadm settle --timeout=60
Environment=MACHINE=%m
StandardOutput=journal+console
ExecStart=systemctl show --property=Environment say.service
ExecStart=journalctl --list-boots --quiet --output=json
"""


def start_and_stop(vm: VM) -> tuple[str, str]:
    """Wait for what the machine says, press its power button, and return its id and its boots."""
    machine = vm.wait_for_line(r"Environment=MACHINE=([0-9a-f]{32})\s*$")[1]
    boots = vm.wait_for_line(r"journalctl.*: (\[\{.*\}\])\s*$")[1]
    with vm.control() as control:
        control.execute("system_powerdown")

    assert vm.wait_for_end(timeout_s=90) == 0
    return machine, boots


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Start one machine twice; QEMU gives it no UUID."""
    image = images.build(tmp_path_factory.mktemp("probe"), str(PROBE))
    with VM(image.disk, disk_size=images.DISK_SIZE, units={"say.service": SAY}) as vm:
        assert vm.spec.uuid is None
        first = start_and_stop(vm)
        vm.start()
        return [first, start_and_stop(vm)]


def test_the_power_button_powers_the_machine_off(said: list[tuple[str, str]]) -> None:
    """An orderly shutdown, twice; otherwise `said` had failed. No process waits for the press."""
    assert len(said) == 2


def test_a_machine_keeps_its_id(said: list[tuple[str, str]]) -> None:
    """At the second start the journal of the first one is still the machine's own."""
    (first, boots), (second, more_boots) = said

    assert second == first
    assert (boots.count("boot_id"), more_boots.count("boot_id")) == (1, 2)
