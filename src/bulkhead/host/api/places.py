"""Where things are, as the API sees them in its agent tree."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.model.apply import SOCKET
from bulkhead.model.boot import STATE


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Paths; tests have their own."""

    settings: Path = Path("/var/lib/bulkhead/settings")
    """The store, on the data partition."""
    run: Path = Path("/run/bulkhead-api")
    """What lasts until the machine restarts: pending transactions, the status of updates."""
    shipped: Path = Path("/usr/share/bulkhead")
    """The image's default settings and groups, inside the agent tree."""
    os_release: Path = Path("/run/os-release")
    """The machine's `/usr/lib/os-release`."""
    command_line: Path = Path("/run/cmdline")
    """The kernel's, `/proc/cmdline`, of which an agent's own `/proc` has nothing."""
    apply: Path = Path(SOCKET)
    """Who makes settings take effect."""
    applied: Path = Path(SOCKET).parent / "result.json"
    """What came of it the last time."""
    reboot: Path = Path("/run/bulkhead-reboot/reboot.sock")
    """A connection restarts the machine."""
    boot: Path = Path(STATE)
    """Where programs say what came of boot parameters and huge pages."""
    containers: Path = Path("/run/bulkhead/containers.sock")
    """The container service, for `exec`."""
