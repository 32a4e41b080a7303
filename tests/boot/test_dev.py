"""The dev variant as people use it: it comes up, has its shell, and goes down at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(600)

DOWN_S = 25
"""Less than the 30 s that systemd waits for a program that does not end."""

SLOW_BUS = b"[Unit]\nStartLimitIntervalSec=0\n[Service]\nCPUQuota=5%\nCPUQuotaPeriodSec=20ms\n"
"""So slow that it is told to end while broker and launcher still make each other's acquaintance."""

RESTARTS = f"""[Unit]
After=bulkhead-started.service
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=bash -c 'for i in {{1..6}}; do systemctl start dbus-broker.service; SECONDS=0; \
systemctl stop dbus-broker.service; (( SECONDS < {DOWN_S} )) || echo "bus: $SECONDS s"; done; \
echo bus: $(systemctl show --value --property=Result dbus-broker.service)'
"""


def test_the_machine_goes_down_at_once(tmp_path: Path) -> None:
    """Neither the message bus nor a shell that ignores systemd's signal holds up the end.

    The bus is told to end right after it has said that it is ready, which is when it is not yet.
    """
    image = images.build(tmp_path / "dev", "dev")
    slow = {"systemd.unit-dropin.dbus-broker.service": SLOW_BUS}
    units = {"restarts.service": RESTARTS}
    with VM(image.disk, disk_size=images.DISK_SIZE, units=units, credentials=slow) as vm:
        vm.wait_for_line(r"Started.*debug-console\.service")
        ended = vm.wait_for_line("^bus: (.*)")
        vm.wait_until_ready()
        failed = vm.failed_units()  # was said long ago, with the line before
        clean = vm.power_off(timeout_s=DOWN_S)

    assert ended[1].strip() == "success"
    assert (failed, clean) == (0, True)
