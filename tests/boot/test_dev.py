"""The dev variant as people use it: it comes up, has its shell, and goes down at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(600)

DOWN_S = 25
"""Less than the 30 s that systemd waits for a program that does not end."""

RESTARTS = f"""[Unit]
After=dbus-broker.service containerd.service
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=systemctl set-property --runtime dbus-broker.service CPUQuota=5%
ExecStart=bash -c 'for i in 1 2 3; do systemctl stop dbus-broker.service; \
(( SECONDS < {DOWN_S} )) || ends="$ends slow"; \
ends="$ends $(systemctl show --value --property=Result dbus-broker.service)"; \
systemctl start dbus-broker.service; SECONDS=0; done; echo bus:$ends'
"""
"""Stops a bus that is so slow that its broker and its launcher do not know each other yet."""


def test_the_machine_goes_down_at_once(tmp_path: Path) -> None:
    """Neither the message bus nor a shell that ignores systemd's signal holds up the end.

    The bus is told to end right after it has said that it is ready, which is when it is not yet.
    """
    image = images.build(tmp_path / "dev", "dev")
    with VM(image.disk, disk_size=images.DISK_SIZE, units={"restarts.service": RESTARTS}) as vm:
        ended = vm.wait_for_line("^bus:(.*)", timeout_s=400)
        vm.wait_until_ready()
        failed = vm.failed_units()
        vm.wait_for_line(r"Started.*debug-console\.service")
        clean = vm.power_off(timeout_s=DOWN_S)

    assert ended[1].split() == ["success"] * 3
    assert (failed, clean) == (0, True)
