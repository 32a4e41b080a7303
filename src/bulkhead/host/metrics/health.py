"""Which of the checked units are not as they should be."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.model.errors import HostError

if TYPE_CHECKING:
    from bulkhead.host.systemd import Systemd

log = logging.getLogger(__name__)

# What a unit's name may end with (systemd.unit(5)); without any of these it is a service's.
_KINDS = (".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path",
          ".timer", ".slice", ".scope")  # fmt: skip
_UP = {"active", "reloading"}


def failed(checks: Sequence[str], bus: Path) -> list[str]:
    """Return the units that are not active, each as `name` or, of a service that ended, `name:code`.

    A unit that cannot be asked about is not known to be well, so it is among them.
    """
    if not checks:
        return []
    # Most nodes have nothing to check.
    from bulkhead.host.systemd import Systemd

    try:
        with Systemd(bus, bus=True) as systemd:
            return [bad for name in checks if (bad := _look(systemd, name)) is not None]
    except HostError as error:
        log.warning("units cannot be checked: %s", error)
        return list(checks)


def _look(systemd: Systemd, name: str) -> str | None:
    try:
        unit = systemd.unit(name if name.endswith(_KINDS) else f"{name}.service")
    except HostError as error:
        log.warning("%s cannot be checked: %s", name, error)
        return name
    if unit.active in _UP:
        return None
    return f"{name}:{unit.status}" if unit.status else name
