"""The history of a node's settings: who changed what, and when."""

from __future__ import annotations

from datetime import datetime

import msgspec

REDACTED = "********"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key whose own value on the node differs after a commit."""

    key: str
    """In full: `settings.network.hostname`."""
    old: object = None
    """None: the node had no value of its own, so the image's default was live."""
    new: object = None
    """None: the node has no value of its own any more. Secrets are `REDACTED`."""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One state of a node's settings, and how it came about.

    Commit 0 is the image's defaults, before anybody has set anything.
    """

    number: int
    time: datetime
    """In UTC, by the node's clock."""
    who: str
    message: str | None = None
    keys: tuple[str, ...] = ()
    """All keys of the transaction in full, also those whose value stayed as it was."""
    changed: tuple[Change, ...] = ()
    os_version: str = ""
    """Of the image that wrote it."""
    schema: int = 1
    """Of the settings in that image."""
    restores: int | None = None
    """The commit that a rollback brought back."""
