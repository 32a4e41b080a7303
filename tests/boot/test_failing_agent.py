"""An agent that fails again and again is there again when the reason for it is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(600)

PROBE = Path(__file__).parent / "probe"
FAILURES = 7
"""More than the five in ten seconds after which systemd would give up by default."""

FAILING = f"""[Service]
ExecStartPre=/usr/bin/python3.13 -I -c "import os; \\
  file = os.open('/run/bulkhead/starts', os.O_WRONLY | os.O_APPEND | os.O_CREAT); \\
  os.write(file, b'.'); \\
  raise SystemExit(os.fstat(file).st_size <= {FAILURES})"
"""
ASKING = """[Unit]
After=bulkhead-containers.socket
[Service]
RootDirectory=/usr/lib/bulkhead/agent
MountAPIVFS=yes
BindPaths=/run/bulkhead
StandardOutput=tty
TTYPath=/dev/ttyS0
ExecStart=/usr/bin/python3.13 -I -c "import os, socket; \\
  service = socket.socket(socket.AF_UNIX); \\
  service.connect('/run/bulkhead/containers.sock'); \\
  service.sendall(b'GET / HTTP/1.1\\\\r\\\\nHost: node\\\\r\\\\n\\\\r\\\\n'); \\
  print('answer', service.recv(8), 'at start', os.path.getsize('/run/bulkhead/starts'))"
"""


def test_a_failing_agent_comes_back(tmp_path: Path) -> None:
    """Who asked while the container service kept failing gets an answer once it no longer does."""
    image = images.build(tmp_path, str(PROBE))

    with VM(
        image.disk, spec=images.direct(image), disk_size=images.DISK_SIZE, units={"asking.service": ASKING},
        credentials={"systemd.unit-dropin.bulkhead-containers.service~failing": FAILING.encode()},
    ) as vm:  # fmt: skip
        answer = vm.wait_for_line(r"answer b'(.*)' at start (\d+)", timeout_s=400)

    assert answer.groups() == ("HTTP/1.1", str(FAILURES + 1))
