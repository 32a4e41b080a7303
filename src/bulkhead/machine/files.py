"""Names of the files in a machine's directory.

QEMU runs with that directory as its working directory, so that names are
short: a Unix socket's path has 108 bytes at most (unix(7)).
"""

from __future__ import annotations

CONSOLE_LOG = "console.log"
ERRORS = "qemu.log"
QMP_SOCKET = "qmp.sock"
READY = "ready"
READY_IN = "ready.in"
READY_OUT = "ready.out"
"""FIFO with what the guest writes to its readiness port; lines wait in it until they are read."""
REPORT = "report"
"""What the guest writes to its report port."""
VARIABLES = "variables.fd"

READY_PORT = "org.bulkhead.ready"
"""Name of the virtio port, /dev/virtio-ports/NAME in the guest."""

REPORT_PORT = "org.bulkhead.report"
"""For tests: what is written here stays apart from the messages of the console."""


def overlay(index: int) -> str:
    """Return the name of the overlay of disk `index`."""
    return f"disk{index}.qcow2"


def credential(index: int) -> str:
    """Return the name of the file with the SMBIOS string of credential `index`."""
    return f"credential{index}"


POWEROFF_PORT = "org.bulkhead.poweroff"
"""When this port is plugged in, the guest powers off (80-bulkhead-machine.rules)."""
