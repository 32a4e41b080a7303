"""The hardware watchdog, which resets a machine that hangs."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import Table, whole


class Watchdog(Table, frozen=True):
    """The watchdog."""

    enabled: bool | None = None
    """Whether it is used."""
    hang_seconds: Annotated[int, whole(10, 3600)] | None = None
    """How long the machine may hang."""
    shutdown_seconds: Annotated[int, whole(10, 3600)] | None = None
    """How long a shutdown may take."""


def check(watchdog: Watchdog, *, complete: bool) -> None:
    """Refuse a watchdog that would end every shutdown."""
    if complete and watchdog.enabled and watchdog.shutdown_seconds is None:
        raise SettingsError(("watchdog", "shutdown-seconds"), "is missing; the watchdog is enabled")


Model = Watchdog
