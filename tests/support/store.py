"""A node's store in a directory of the test."""

from __future__ import annotations

from pathlib import Path

from bulkhead.host.store.migrations import SCHEMAS, Schemas
from bulkhead.host.store.store import Store
from bulkhead.model.settings.groups import Groups
from bulkhead.model.settings.keys import Settings

NAMES = ("dns", "kernel", "motd", "network", "ntp")
DEFAULTS: Settings = {"motd": "Welcome", "ntp": {"time-servers": ["time.example"]}}
WHO = "test"


def store(
    directory: Path,
    *,
    schemas: Schemas = SCHEMAS,
    groups: Groups | None = None,
    defaults: Settings | None = None,
    os_version: str = "1.0.0",
) -> Store:
    """Return the store below a directory, as a process would that has just started."""
    (directory / "run").mkdir(parents=True, exist_ok=True)
    return Store(
        directory / "settings",
        pending=directory / "run" / "pending",
        groups=groups or Groups(NAMES),
        defaults=DEFAULTS if defaults is None else defaults,
        os_version=os_version,
        schemas=schemas,
        clock=lambda: 1_795_000_000.0,
    )


def put(node: Store, settings: Settings, *, tx: str = "default", who: str = WHO) -> int:
    """Commit some settings; return the number."""
    node.stage(tx, settings)
    return node.commit(tx, who=who).number
