"""Somebody has taken an agent over and runs in its place: what is out of reach then.

The agents here hold the power that sandboxes of containers take, each a part of it.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from bulkhead.machine.files import REPORT_PORT
from bulkhead.testing.vm import VM
from tests.support import attacks, images

pytestmark = pytest.mark.timeout(600)

PROBE = Path(__file__).parent / "probe"
AGENTS = ("network", "namespaces", "sandboxes", "volumes")

SOURCE = base64.b64encode(Path(attacks.__file__).read_bytes()).decode()
BREACHED = f"""[Unit]
After=containerd.service systemd-tmpfiles-setup.service
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/bin/python3.13 -I -c "import base64; exec(base64.b64decode('{SOURCE}'))" {{agent}}
"""
UNITS = {agent: f"bulkhead-{agent}.service" for agent in AGENTS}
LOOK = f"""[Unit]
Wants={" ".join(UNITS.values())}
After=containerd.service
[Service]
StandardOutput=file:/dev/virtio-ports/{REPORT_PORT}
ExecStart=/usr/bin/journalctl -f -b -n all -o cat -u {" -u ".join(UNITS.values())}
"""


def test_an_agent_that_is_taken_over_has_its_own_power_only(tmp_path: Path) -> None:
    """Each attempt is made in the agent's own sandbox, and the kernel refuses it."""
    image = images.build(tmp_path, str(PROBE))

    with VM(
        image.disk, spec=images.direct(image), disk_size=images.DISK_SIZE, units={"look.service": LOOK},
        credentials={
            f"systemd.unit-dropin.{unit}~breached": BREACHED.format(agent=agent).encode()
            for agent, unit in UNITS.items()
        },
    ) as vm:  # fmt: skip
        said = {
            agent: vm.wait_for_report(rf"^{agent} of \d+ not refused: (.*)", timeout_s=400)[1]
            for agent in AGENTS
        }

    assert said == dict.fromkeys(AGENTS, "[]")
