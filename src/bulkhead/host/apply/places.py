"""Where things are, as the program sees them in its agent tree."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.model.apply import SOCKET
from bulkhead.model.boot import STATE


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Paths; tests have their own."""

    etc: Path = Path("/run/etc")
    """The machine's `/etc`."""
    image: Path = Path("/run/image")
    """Files of the image that others are made from, by their name in `usr/share/bulkhead`."""
    state: Path = Path(SOCKET).parent
    """What this program remembers until the machine restarts."""
    settings: Path = Path("/var/lib/bulkhead/settings")
    """The store."""
    shipped: Path = Path("/usr/share/bulkhead")
    """The image's default settings and groups, inside the agent tree."""
    systemd: Path = Path("/run/systemd-private")
    """The first process's own socket."""
    lockdown: Path = Path("/run/lockdown")
    """The kernel's `/sys/kernel/security/lockdown`."""
    proc: Path = Path("/proc")
    boot: Path = Path(STATE)
    """Where programs say what came of boot parameters and huge pages."""
