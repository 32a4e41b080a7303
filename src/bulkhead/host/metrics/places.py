"""Where things are, as the program sees them in its agent tree."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Paths; tests have their own."""

    metrics: Path = Path("/run/metrics.json")
    """The machine's `/etc/bulkhead/metrics.json`."""
    authorities: Path = Path("/run/ca-certificates.crt")
    """The machine's `/etc/ssl/certs/ca-certificates.crt`: the image's and those of the settings."""
    os_release: Path = Path("/run/os-release")
    """The machine's `/usr/lib/os-release`."""
    bus: Path = Path("/run/dbus/system_bus_socket")
    state: Path = Path("/run/bulkhead-metrics")
    """What this program remembers until the machine restarts."""
