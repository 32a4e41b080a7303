"""Where things are, as the program sees them in its agent tree."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.model.boot import STATE


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Paths; tests have their own."""

    wanted: Path = Path("/run/boot.json")
    """The machine's `/etc/bulkhead/boot.json`."""
    esp: Path = Path("/run/esp")
    """The partition that the firmware starts from, the machine's `/boot`."""
    variables: Path = Path("/run/efivars")
    """The firmware's variables."""
    command_line: Path = Path("/run/cmdline")
    """The kernel's, `/proc/cmdline`."""
    state: Path = Path(STATE)
    """Where the outcome is left for others, until the machine restarts."""
