"""The dev variant as people use it: it comes up, has its shell, and goes down at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(600)

DOWN_S = 25
"""Less than the 30 s that systemd waits for a program that does not end."""


def test_a_shell_that_waits_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """An interactive shell ignores the signal by which systemd asks services to end."""
    image = images.build(tmp_path / "dev", "dev")
    with VM(image.disk, disk_size=images.DISK_SIZE) as vm:
        vm.wait_until_ready()
        vm.wait_for_line(r"Started.*debug-console\.service")
        clean = vm.power_off(timeout_s=DOWN_S)

    assert clean
