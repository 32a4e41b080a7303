"""How a program on the workstation reaches a machine's agent."""

from __future__ import annotations

import msgspec


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """The address of a machine's agent, and what proves that we may use it."""

    host: str
    port: int
    token: str | None = None
    """Sent as `Authorization: Bearer TOKEN`; the machine got it as the credential
    `bulkhead.channel-token`. A loopback port is open to every user of the workstation, so the
    address alone must not be enough."""
