"""What a node sends about itself: `/etc/bulkhead/metrics.json`, from the settings to the program."""

from __future__ import annotations

import msgspec

PATH = "/etc/bulkhead/metrics.json"
"""Its presence lets the timers run (`ConditionPathExists=`)."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where to, and what of the settings goes along."""

    url: str
    """`http://` or `https://`; no user or password in it."""
    checks: tuple[str, ...] = ()
    """Units that have to be active."""
    seed: int | None = None
    version_lock: str = "latest"
    ignore_waves: bool = False
