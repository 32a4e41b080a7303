"""Where things are, as the program sees them in its agent tree."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.model.boot import STATE


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Paths; tests have their own."""

    wanted: Path = Path("/run/hugepages.json")
    """The machine's `/etc/bulkhead/hugepages.json`."""
    memory: Path = Path("/run/mm")
    """The kernel's `/sys/kernel/mm`."""
    nodes: Path = Path("/run/node")
    """The kernel's `/sys/devices/system/node`."""
    meminfo: Path = Path("/run/meminfo")
    """The kernel's `/proc/meminfo`."""
    state: Path = Path(STATE)
    """Where the outcome is left for others, until the machine restarts."""
